"""Tasks on this machine: trainings and builds in a pool of processes, then measurements."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, TimeoutError, wait
from multiprocessing import get_context

from tsbench.sweep import pool_worker
from tsbench.sweep.task import KINDS, Done, Failed, Task, attempt, too_long, without_input

TRIES = 4  # of a task whose process is killed


def run(
    tasks: Sequence[Task],
    execute: Callable[..., Done],
    inputs: Callable[[Task], tuple[bytes, ...]],
    jobs: int,
    limit_s: float,
) -> Iterator[Done | Failed]:
    """Yields each task when it finishes. The caller saves it before it asks for the next."""
    failed: set[Task] = set()
    for kind in KINDS:
        able = []
        for task in tasks:
            if task.kind == kind and (without := without_input(task, failed)):
                failed.add(task)
                yield without
            elif task.kind == kind:
                able.append(task)
        at_once = 1 if kind == "measure" else jobs
        for done in _pooled(able, execute, inputs, at_once, limit_s):
            if isinstance(done, Failed):
                failed.add(done.task)
            yield done


def _pooled(
    tasks: Sequence[Task],
    execute: Callable[..., Done],
    inputs: Callable[[Task], tuple[bytes, ...]],
    jobs: int,
    limit_s: float,
) -> Iterator[Done | Failed]:
    """The tasks in worker processes, `jobs` at once. Each process that measures is a new one."""
    # The standard library's pool has no limit for a task, and one killed worker ends it.
    from pebble import ProcessExpired, ProcessPool

    if not tasks:
        return
    # spawn: a fork of a process with torch's threads can hang.
    context, parent = get_context("spawn"), os.getpid()
    alive, ours = context.Pipe(duplex=False)
    pool = ProcessPool(
        min(jobs, len(tasks)),
        max_tasks=int(tasks[0].kind == "measure"),
        initializer=pool_worker.start,
        initargs=(parent, alive),
        context=context,
    )
    left = deque(tasks)
    tries: dict[Task, int] = dict.fromkeys(tasks, 0)
    waiting: dict[Future[Done | Failed], Task] = {}
    try:
        while left or waiting:
            while left and len(waiting) < 2 * jobs:  # inputs of all at once may be gigabytes
                task = left.popleft()
                tries[task] += 1
                call = (execute, task, inputs(task))
                waiting[pool.schedule(attempt, call, timeout=limit_s)] = task
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                task = waiting.pop(future)
                try:
                    yield future.result()
                except TimeoutError:
                    yield too_long(task, limit_s)
                except ProcessExpired:
                    if tries[task] < TRIES:
                        left.append(task)
                        continue
                    yield Failed(
                        task,
                        f"its process was killed {TRIES} times; try --jobs 1, or check the memory",
                    )
    finally:
        # After Ctrl-C, say. A training may take hours: its process ends now, and its file
        # resumes it.
        ours.close()
        pool.stop()
        pool.join()
        alive.close()
        pool_worker.delete_temporary(parent)
