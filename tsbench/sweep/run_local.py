"""Tasks on this machine: trainings in a pool of processes, then measurements one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

from tsbench.sweep.task import Done, Failed, Task, attempt

POOLS = 4  # a killed worker ends its pool; after the fourth, the remaining tasks fail


def run(
    tasks: Sequence[Task], execute: Callable[..., Done], weights: Callable[[Task], bytes], jobs: int
) -> Iterator[Done | Failed]:
    """Yields each task when it finishes. The caller saves it before it asks for the next."""
    without_model = set()
    for done in _pooled([(task, b"") for task in tasks if task.kind == "train"], execute, jobs):
        if isinstance(done, Failed):
            without_model.add(done.task)
        yield done
    for task in tasks:
        if task.kind == "measure":
            if task.training in without_model:
                yield Failed(task, "its training failed")
            else:
                yield from _pooled([(task, weights(task.training))], execute, 1)


def _pooled(
    calls: list[tuple[Task, bytes]], execute: Callable[..., Done], jobs: int
) -> Iterator[Done | Failed]:
    left = dict(enumerate(calls))
    for _ in range(POOLS):
        if not left:
            return
        # spawn: a fork of a process with torch's threads can hang.
        with ProcessPoolExecutor(min(jobs, len(left)), get_context("spawn")) as pool:
            waiting = {pool.submit(attempt, execute, *call): place for place, call in left.items()}
            try:
                for future in as_completed(waiting):
                    done = future.result()
                    del left[waiting[future]]
                    yield done
            except BrokenProcessPool:
                continue
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
    for task, _ in left.values():
        yield Failed(
            task, f"its process was killed {POOLS} times; try --jobs 1, or check the memory"
        )
