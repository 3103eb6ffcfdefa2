"""A sweep of one long task, as a program of its own: tests kill it."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from tsbench.sweep import run_local
from tsbench.sweep.task import Done, Task


def sleep(task, inputs):
    """Writes its process's number and its temporary folder to a file, and sleeps."""
    folder = tempfile.mkdtemp()
    written = Path(task.dataset)
    written.with_suffix(".part").write_text(f"{os.getpid()} {folder}", encoding="utf8")
    written.with_suffix(".part").rename(written)
    time.sleep(300)
    return Done(task, {})


if __name__ == "__main__":
    # A shell's background job ignores Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    tasks = [Task("train", sys.argv[1], "0", "t1", 0, 1)]
    list(run_local.run(tasks, sleep, lambda task: (), 1, 600.0))
