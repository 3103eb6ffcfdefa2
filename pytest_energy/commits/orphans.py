"""Processes that the code under test leaves behind in a worker, in whichever session they are.

A test runs once for each replicate, so a server that it starts and never ends would be there
dozens of times. Linux gives a process whose parent ended to the nearest "subreaper" above it: the
worker is one, so whatever a fork leaves becomes the worker's child.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Set as AbstractSet
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
# Killing a process makes its children ours. So deep may they be nested.
MOST_GENERATIONS = 100


def adopt_orphans() -> None:
    """Make this process the parent of what its descendants leave, where the system can (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children() -> frozenset[int]:
    """The children of this process; none where the system does not show them."""
    found: set[int] = set()
    with contextlib.suppress(OSError):
        for task in Path("/proc/self/task").iterdir():
            with contextlib.suppress(OSError):
                found |= set(map(int, (task / "children").read_bytes().split()))
    return frozenset(found)


def kill_children(but: AbstractSet[int] = frozenset()) -> None:
    """Kill the children of this process and their descendants, except the children in ``but``."""
    for _ in range(MOST_GENERATIONS):
        left = children() - but
        if not left:
            return
        for child in left:
            with contextlib.suppress(OSError):
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
