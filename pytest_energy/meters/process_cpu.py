"""The CPU seconds of this process and all that it started, cumulative and cheap to read.

What is added up, and where it comes from:

- this process: ``time.process_time_ns`` (CLOCK_PROCESS_CPUTIME_ID);
- children that were waited for, with theirs: ``RUSAGE_CHILDREN``;
- on Linux, living descendants: each one's process CPU clock, and the children it waited for.

A process moves from the third to the second at the moment that its parent waits for it, so it is
counted once all along. What a descendant had used up before the clock was opened is not counted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

from pytest_energy.clock import cpu_times, now_s, process_cpu_ns

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

# A process's CPU clock id is (~pid << 3) | 2 and a thread's (~tid << 3) | 6: CPUCLOCK_SCHED of
# Linux's include/linux/posix-timers.h, the same ids that glibc's clock_getcpuclockid and
# pthread_getcpuclockid give.
_PROCESS_CLOCK = 2
_THREAD_CLOCK = 6

# /proc/<pid>/stat gives the user and the system time of reaped children in these, each rounded
# down.
_TICK_S = 1.0 / os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 0.01

# A fall of the children's sum within this, for each living descendant, is rounding of those two
# figures.
_ROUNDING_S = 2 * _TICK_S

_CUTIME_FIELD, _CSTIME_FIELD = 13, 14  # in /proc/<pid>/stat, counted behind the command's name
_PPID_FIELD = 1


class ProcessTreeClock:
    """CPU seconds of this process tree since the clock was made. Never runs backwards.

    ::

        clock = ProcessTreeClock()
        at_s, cpu_s = clock.read()
    """

    def __init__(self) -> None:
        self.follows_descendants = os.path.isdir("/proc/self/task") and hasattr(os, "waitid")
        # Linux without CONFIG_PROC_CHILDREN has no such file; then all of /proc is searched.
        self._has_children_files = os.path.exists(f"/proc/self/task/{os.getpid()}/children")
        self._tasks_fd = (
            os.open("/proc/self/task", os.O_RDONLY) if self.follows_descendants else None
        )
        self._own_start_ns = process_cpu_ns()
        self._children_last_s, _ = self._children_s()
        self._children_counted_s = 0.0

    def read(self) -> tuple[float, float]:
        """The instant on the monotonic clock, and the CPU seconds used up since the start."""
        self._count_children()
        if (
            self._tasks_fd is not None and os.fstat(self._tasks_fd).st_nlink > 3
        ):  # 2, and one a thread
            self._bring_threads_up_to_date()
        own_ns = process_cpu_ns()
        return now_s(), (own_ns - self._own_start_ns) * 1e-9 + self._children_counted_s

    def close(self) -> None:
        """Let go of what the clock holds open. Closing twice does no harm."""
        if self._tasks_fd is not None:
            os.close(self._tasks_fd)
            self._tasks_fd = None

    def _bring_threads_up_to_date(self) -> None:
        # A process's clock holds the seconds of its other running threads only up to the last
        # scheduler tick (4 ms at HZ=250): over 200 us windows beside one busy thread, it gave 1.0
        # busy CPUs in 95 % and 21 in 1 %, where 2.0 was true. Reading a thread's own clock makes
        # the kernel bring that thread's seconds up to date, and then it gave 2.0. It costs about 1
        # us a thread.
        for tid in os.listdir(self._tasks_fd):
            try:
                time.clock_gettime_ns((~int(tid) << 3) | _THREAD_CLOCK)
            except OSError:
                continue  # the thread has ended since: its seconds are in the process's clock

    def _count_children(self) -> None:
        children_s, living = self._children_s()
        if children_s < self._children_last_s - _ROUNDING_S * living:
            # Either a child was waited for between the two halves of the sum, and a second look
            # finds it among the reaped; or nobody waits for it (orphaned, or SIGCHLD ignored), and
            # it is gone.
            children_s, living = self._children_s()
            if children_s < self._children_last_s - _ROUNDING_S * living:
                self._children_last_s = children_s  # what is gone stays counted
                return
        if children_s > self._children_last_s:
            self._children_counted_s += children_s - self._children_last_s
            self._children_last_s = children_s

    def _children_s(self) -> tuple[float, int]:
        """CPU seconds of all descendants, dead and alive, and how many are alive."""
        seconds, living = (
            _reaped_children_s(),
            0,
        )  # first: who is reaped in between is missed, not counted twice
        if not self.follows_descendants or not _has_children():
            return seconds, living
        for pid in self._descendants():
            try:
                # the reaped first here too
                seconds += (
                    _reaped_by_s(pid) + time.clock_gettime_ns((~pid << 3) | _PROCESS_CLOCK) * 1e-9
                )
                living += 1
            except OSError:
                continue  # gone since, and waited for: among the reaped at the next read
        return seconds, living

    def _descendants(self) -> Iterator[int]:
        children_of = (
            _children_from_task_files if self._has_children_files else _children_from_stat_files()
        )
        waiting = list(children_of(os.getpid()))
        while waiting:
            pid = waiting.pop()
            yield pid
            waiting.extend(children_of(pid))


def _has_children() -> bool:
    # 2 us, against 16 us for the first children file alone. Looks without waiting and without
    # reaping.
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _reaped_children_s() -> float:
    if resource is None:
        times = cpu_times()
        return times.children_user + times.children_system
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _reaped_by_s(pid: int) -> float:
    fields = _stat_fields(pid)
    return (int(fields[_CUTIME_FIELD]) + int(fields[_CSTIME_FIELD])) * _TICK_S


def _stat_fields(pid: int | str) -> list[bytes]:
    """What stands behind the command's name, which may itself hold blanks and brackets."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()


def _children_from_task_files(pid: int) -> list[int]:
    children: list[int] = []
    try:
        for tid in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{tid}/children", "rb") as file:
                children.extend(map(int, file.read().split()))
    except OSError:
        pass  # ended while we looked: what was found so far stands
    return children


def _children_from_stat_files() -> Callable[[int], list[int]]:
    """A function from pid to children, for kernels without children files: reads /proc once."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                children.setdefault(int(_stat_fields(name)[_PPID_FIELD]), []).append(int(name))
            except OSError:
                continue  # ended while we looked
    return lambda pid: children.get(pid, [])
