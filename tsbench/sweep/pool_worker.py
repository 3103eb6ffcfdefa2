"""What a worker process of a sweep leaves when it or its parent ends: nothing.

A worker of `ProcessPoolExecutor` waits for tasks for ever if its parent is killed. And a task's
temporary files stay if its process is killed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
from multiprocessing.connection import Connection
from multiprocessing.util import Finalize
from pathlib import Path

from tsbench.data import cache

PREFIX = "tsbench-"
# Inductor's cache. Its default is in the folder of temporary files, which ends with the worker.
INDUCTOR_CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


def start(parent: int, alive: Connection) -> None:
    """Gives this process a temporary folder, and ends both when the pipe's other end is closed.

    The parent has the other end: the system closes it when the parent ends, however it does.
    """
    os.environ.setdefault(INDUCTOR_CACHE_VARIABLE, str(cache.folder() / "inductor"))
    folder = tempfile.mkdtemp(prefix=f"{PREFIX}{parent}-")
    # The process may end before the thread does: the pool ends it too when the parent is gone.
    Finalize(None, _delete, args=(folder,), exitpriority=0)
    threading.Thread(target=_end_with_parent, args=(alive, folder), daemon=True).start()
    tempfile.tempdir = os.environ["TMPDIR"] = folder


def delete_temporary(parent: int) -> None:
    """Deletes the temporary folders of this parent's workers, all of which have ended."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}{parent}-*"):
        shutil.rmtree(folder, ignore_errors=True)


def _end_with_parent(alive: Connection, folder: str) -> None:
    with contextlib.suppress(EOFError, OSError):
        alive.recv_bytes()
    _delete(folder)
    os._exit(1)


def _delete(folder: str) -> None:
    # The task may create files meanwhile: take the folder away first.
    gone = f"{folder}.gone"
    with contextlib.suppress(OSError):
        os.rename(folder, gone)
    shutil.rmtree(gone, ignore_errors=True)
