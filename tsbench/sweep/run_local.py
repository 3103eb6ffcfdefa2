"""Tasks on this machine: trainings in a pool of processes, then measurements one at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

from tsbench.sweep import pool_worker
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
        try:
            for place, done in _in_one_pool(left, execute, jobs):
                del left[place]
                yield done
        except BrokenProcessPool:
            continue
    for task, _ in left.values():
        yield Failed(
            task, f"its process was killed {POOLS} times; try --jobs 1, or check the memory"
        )


def _in_one_pool(
    calls: dict[int, tuple[Task, bytes]], execute: Callable[..., Done], jobs: int
) -> Iterator[tuple[int, Done | Failed]]:
    """Each call's place and result. Raises BrokenProcessPool if a worker is killed."""
    # spawn: a fork of a process with torch's threads can hang.
    context, parent = get_context("spawn"), os.getpid()
    alive, ours = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(min(jobs, len(calls)), context, pool_worker.start, (parent, alive))
    try:
        waiting = {pool.submit(attempt, execute, *call): place for place, call in calls.items()}
        for future in as_completed(waiting):
            yield waiting[future], future.result()
    except BaseException:
        # Ctrl-C, say. A training may take hours: its process ends now, and its file resumes it.
        ours.close()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        ours.close()
        alive.close()
        pool_worker.delete_temporary(parent)
