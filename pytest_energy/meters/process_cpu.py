"""The CPU seconds of this process and its descendants: cumulative and cheap to read.

The sum has three parts:

- this process: ``time.process_time_ns`` (CLOCK_PROCESS_CPUTIME_ID);
- reaped children and their reaped children: ``RUSAGE_CHILDREN``;
- on Linux, living descendants: the process CPU clock of each, and its reaped children.

A process moves from the third part to the second when its parent waits for it, so it counts once.
CPU seconds that a descendant used before the clock was opened do not count.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from pytest_energy.clock import cpu_times, now_s, process_cpu_ns
from pytest_energy.descriptors import OwnDescriptor, fstat

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

# A process's CPU clock id is (~pid << 3) | 2 and a thread's (~tid << 3) | 6: CPUCLOCK_SCHED of
# Linux's include/linux/posix-timers.h. glibc's clock_getcpuclockid and pthread_getcpuclockid return
# the same ids.
_PROCESS_CLOCK = 2
_THREAD_CLOCK = 6

# The unit of the user and system times of reaped children in /proc/<pid>/stat, each rounded down.
_TICK_S = 1.0 / os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 0.01

# The two roundings can lower the children's sum by this much for each living descendant.
_ROUNDING_S = 2 * _TICK_S

_CUTIME_FIELD, _CSTIME_FIELD = 13, 14  # in /proc/<pid>/stat, after the command's name
_PPID_FIELD = 1

# Code under test may replace these in their modules.
_open_folder, _listdir = partial(os.open), partial(os.listdir)
_open: Any = partial(open, mode="rb")
_getpid = partial(os.getpid)
_waitid: Any = getattr(os, "waitid", None)  # Windows has none of these
_clock_gettime_ns: Any = getattr(time, "clock_gettime_ns", None)
_getrusage: Any = getattr(resource, "getrusage", None)


class ProcessTreeClock:
    """CPU seconds of this process tree since the clock was created. Never decreases.

    ::

        clock = ProcessTreeClock()
        at_s, cpu_s = clock.read()
    """

    def __init__(self) -> None:
        self.follows_descendants = os.path.isdir("/proc/self/task") and hasattr(os, "waitid")
        # Linux without CONFIG_PROC_CHILDREN lacks this file; the clock then searches all of /proc.
        self._has_children_files = os.path.exists(f"/proc/self/task/{_getpid()}/children")
        self._tasks = _open_tasks() if self.follows_descendants else None
        self._own_start_ns = process_cpu_ns()
        self._children_last_s, _ = self._children_s()
        self._children_counted_s = 0.0

    def read(self) -> tuple[float, float]:
        """The instant on the monotonic clock, and the CPU seconds since the start."""
        self._count_children()
        if self._tasks is not None:
            if not self._tasks.is_ours():  # code under test has closed all descriptors
                self._tasks = _open_tasks()
            # The folder has 2 links and one per thread.
            if fstat(self._tasks.number).st_nlink > 3:
                self._bring_threads_up_to_date(self._tasks.number)
        own_ns = process_cpu_ns()
        return now_s(), (own_ns - self._own_start_ns) * 1e-9 + self._children_counted_s

    def close(self) -> None:
        """Close the clock's open files. Closing twice is harmless."""
        if self._tasks is not None:
            self._tasks.close()
            self._tasks = None

    def _bring_threads_up_to_date(self, tasks: int) -> None:
        # The kernel adds the seconds of other running threads to the process clock at scheduler
        # ticks (4 ms at HZ=250). With two busy threads and windows of 200 us, the clock showed 1.0
        # busy CPUs in 95 % of windows and 21 in 1 %. Reading a thread's own clock updates its
        # seconds, and the process clock then shows 2.0. This costs about 1 us per thread.
        for tid in _listdir(tasks):
            try:
                _clock_gettime_ns((~int(tid) << 3) | _THREAD_CLOCK)
            except OSError:
                continue  # the thread has ended: the process clock has its seconds

    def _count_children(self) -> None:
        children_s, living = self._children_s()
        if children_s < self._children_last_s - _ROUNDING_S * living:
            # A child may have been reaped between the two halves of the sum; a second read counts
            # it. Or no process waits for it (orphaned, or SIGCHLD ignored), and it is gone.
            children_s, living = self._children_s()
            if children_s < self._children_last_s - _ROUNDING_S * living:
                self._children_last_s = children_s  # its seconds stay counted
                return
        if children_s > self._children_last_s:
            self._children_counted_s += children_s - self._children_last_s
            self._children_last_s = children_s

    def _children_s(self) -> tuple[float, int]:
        """CPU seconds of all descendants, dead and alive, and the number of living ones."""
        # Reaped children first: a child reaped in between is then missed, and not counted twice.
        seconds, living = _reaped_children_s(), 0
        if not self.follows_descendants or not _has_children():
            return seconds, living
        for pid in self._descendants():
            try:
                # reaped children first, here too
                seconds += (
                    _reaped_by_s(pid) + _clock_gettime_ns((~pid << 3) | _PROCESS_CLOCK) * 1e-9
                )
                living += 1
            except OSError:
                continue  # it was reaped: the next read counts it there
        return seconds, living

    def _descendants(self) -> Iterator[int]:
        children_of = (
            _children_from_task_files if self._has_children_files else _children_from_stat_files()
        )
        waiting = list(children_of(_getpid()))
        while waiting:
            pid = waiting.pop()
            yield pid
            waiting.extend(children_of(pid))


def _open_tasks() -> OwnDescriptor:
    return OwnDescriptor(_open_folder("/proc/self/task", os.O_RDONLY))


def _has_children() -> bool:
    # This call neither waits nor reaps. It takes 2 us; the first children file alone takes 16 us.
    try:
        _waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _reaped_children_s() -> float:
    if resource is None:
        times = cpu_times()
        return times.children_user + times.children_system
    usage = _getrusage(resource.RUSAGE_CHILDREN)
    return float(usage.ru_utime + usage.ru_stime)


def _reaped_by_s(pid: int) -> float:
    fields = _stat_fields(pid)
    return (int(fields[_CUTIME_FIELD]) + int(fields[_CSTIME_FIELD])) * _TICK_S


def _stat_fields(pid: int | str) -> list[bytes]:
    """The fields after the command's name, which may contain blanks and brackets."""
    with _open(f"/proc/{pid}/stat") as file:
        content: bytes = file.read()
    return content.rpartition(b")")[2].split()


def _children_from_task_files(pid: int) -> list[int]:
    children: list[int] = []
    try:
        for tid in _listdir(f"/proc/{pid}/task"):
            with _open(f"/proc/{pid}/task/{tid}/children") as file:
                children.extend(map(int, file.read().split()))
    except OSError:
        pass  # the process ended: keep the children found so far
    return children


def _children_from_stat_files() -> Callable[[int], list[int]]:
    """A function from a pid to its children. Reads /proc once, if there are no children files."""
    children: dict[int, list[int]] = {}
    for name in _listdir("/proc"):
        if name.isdigit():
            try:
                children.setdefault(int(_stat_fields(name)[_PPID_FIELD]), []).append(int(name))
            except OSError:
                continue  # the process ended
    return lambda pid: children.get(pid, [])
