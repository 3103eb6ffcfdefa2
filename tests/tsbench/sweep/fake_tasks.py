"""Tasks that worker processes run, in a module that is imported quickly."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from tsbench.sweep.task import Done


def unlucky(task, inputs):
    """Gives its inputs; one training and one measurement fail."""
    if (task.kind, task.seed) in (("train", 1), ("measure", 2)):
        raise ValueError("no luck\nat all")
    return Done(task, {"inputs": [each.decode() for each in inputs]})


def slow_or_killed(task, inputs):
    """Seed 0 hangs, seed 1 kills its process, seed 2 does so once. Gives the tries before."""
    tries = Path(task.dataset) / str(task.seed)
    tries.touch()
    before = tries.stat().st_size
    if task.seed == 0:
        time.sleep(300)
    if task.seed == 1 or (task.seed == 2 and before == 0):
        with tries.open("a") as file:
            file.write("x")
        time.sleep(0.5)  # the pool has to know that the task runs
        os.kill(os.getpid(), signal.SIGKILL)
    return Done(task, {"tries": before})
