"""One measurement at a time on a machine: its counters count everybody's joules.

The lock is a ``flock`` on the root folder. Every user can open it, whatever TMPDIR is. Nobody can
plant another file in its place. The kernel drops the lock when its process ends, in any way. All
processes with the same root share it. Containers have roots of their own: `LOCK_VARIABLE` names a
file or folder that they share.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

from pytest_energy.clock import now_s, sleep
from pytest_energy.descriptors import OwnDescriptor
from pytest_energy.errors import MachineBusy

# A file or folder to lock in place of the root, such as one on a volume that containers share.
LOCK_VARIABLE = "PYTEST_ENERGY_LOCK"
# The process that holds the lock, for processes that it starts: they measure inside it.
HOLDER_VARIABLE = "PYTEST_ENERGY_LOCK_HOLDER"
EVERYBODYS_MODE = 0o666
RETRY_S = 0.2
# Opening a path takes microseconds. On a network mount that hangs, the timeout ends it, or this.
OPEN_LIMIT_S = 1.0
_LOCKED = re.compile(rb"^lock:.*\bFLOCK\b", re.MULTILINE)  # in /proc/PID/fdinfo/FD
BUSY = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)

_pid = os.getpid()  # changes in children that Python forks, not in those of a C library
_entered: dict[Path, int] = {}  # how often this process is inside each lock
_held: list[OwnDescriptor] = []  # those that hold a lock


def lock_path() -> Path:
    """The file or folder that is locked."""
    if os.environ.get(LOCK_VARIABLE):
        return Path(os.environ[LOCK_VARIABLE])
    if os.name == "nt":  # which opens no folders
        return Path(os.environ.get("ProgramData", "C:\\ProgramData")) / "pytest-energy.lock"
    return Path("/")


@contextmanager
def machine_lock(timeout_s: float, on_wait: Callable[[str], object]) -> Iterator[None]:
    """Hold the lock: no other process measures on this machine meanwhile.

    If another process holds the lock, this calls ``on_wait`` once with a line that names it, and
    waits. It does not wait for its own process, nor for one that started it. Forked children do not
    keep the lock, whether Python or a C library forks them. Raises `MachineBusy` after
    ``timeout_s``, and if the path cannot be locked.
    """
    path = lock_path()
    if path in _entered or _inside_holder(path):
        with _counted(path):
            yield
        return
    descriptor = _open(path, timeout_s)
    try:
        _lock(descriptor, path, timeout_s, on_wait)
        with _counted(path), _named_holder(path):
            yield
    finally:
        _unlock(descriptor)


@contextmanager
def _counted(path: Path) -> Iterator[None]:
    _entered[path] = _entered.get(path, 0) + 1
    try:
        yield
    finally:
        _entered[path] -= 1
        if not _entered[path]:
            del _entered[path]


@contextmanager
def _named_holder(path: Path) -> Iterator[None]:
    """Processes that start in the block find this one's number in their environment."""
    outer = os.environ.get(HOLDER_VARIABLE)
    os.environ[HOLDER_VARIABLE] = f"{os.getpid()} {path}"
    try:
        yield
    finally:
        os.environ.pop(HOLDER_VARIABLE, None)
        if outer is not None:
            os.environ[HOLDER_VARIABLE] = outer


def _inside_holder(path: Path) -> bool:
    """Whether a process that started this one holds the lock."""
    pid, _, held_path = os.environ.get(HOLDER_VARIABLE, "").partition(" ")
    return pid.isdecimal() and held_path == str(path) and int(pid) in _ancestors()


def _ancestors() -> list[int]:
    """The numbers of the processes that started this one; without /proc the parent's only."""
    pids = [os.getppid()]
    with suppress(OSError, ValueError, IndexError):
        while pids[-1] > 1:
            stat_line = Path(f"/proc/{pids[-1]}/stat").read_text(encoding="utf8", errors="replace")
            pids.append(int(stat_line.rpartition(")")[2].split()[1]))
    return pids


def _holder(descriptor: int) -> int | None:
    """The number of the process that holds the lock, if the system shows it (Linux)."""
    status = os.fstat(descriptor)
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/locks").read_text(encoding="utf8").splitlines():
            fields = line.split()
            if fields[1] == "FLOCK" and fields[5] == f"{device}:{status.st_ino}":
                return int(fields[4]) if int(fields[4]) > 0 else None
    return None


def _open(path: Path, timeout_s: float) -> OwnDescriptor:
    """A descriptor of the path, within the timeout even if its file system hangs."""
    opened: list[int | OSError] = []

    def target() -> None:
        try:
            opened.append(_open_now(path))
        except OSError as error:
            opened.append(error)

    thread = Thread(target=target, daemon=True)
    thread.start()
    thread.join(max(timeout_s, OPEN_LIMIT_S))
    result = opened[0] if opened else OSError(errno.ETIMEDOUT, "its file system does not answer")
    if isinstance(result, OSError):
        linked = result.errno == errno.ELOOP
        raise _cannot_lock(path, "it is a symbolic link" if linked else str(result.strerror))
    status = os.fstat(result)
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        os.close(result)
        raise _cannot_lock(path, "it is neither a file nor a folder")
    descriptor = OwnDescriptor(result)
    _held.append(descriptor)
    return descriptor


def _unlock(descriptor: OwnDescriptor) -> None:
    """Drop the lock and close its file.

    Closing alone drops it only when the last copy is closed, and a child that a C library forked
    has one: no hook of Python runs in it. Such a child does not unlock what its parent holds.
    """
    if descriptor in _held:
        _held.remove(descriptor)
        if _pid == os.getpid() and descriptor.is_ours():
            _flock_free(descriptor.number)
        descriptor.close()


def _close_in_child() -> None:
    """A forked child shares the lock, and would keep it for as long as the child lives."""
    global _pid
    _pid = os.getpid()
    while _held:
        _held.pop().close()
    _entered.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)


def _open_now(path: Path) -> int:
    # NONBLOCK: a FIFO would wait for its other end. NOFOLLOW: a link may point at anything. The
    # file's content and owner do not matter, and a read-only descriptor suffices for flock.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
    try:
        return os.open(path, flags)
    except FileNotFoundError:
        # Without O_EXCL the kernel refuses O_CREAT for others' files in a sticky folder.
        with suppress(FileExistsError):
            descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, EVERYBODYS_MODE)
            os.chmod(descriptor, EVERYBODYS_MODE)  # the umask took some of it
            return descriptor
        return os.open(path, flags)


def _lock(
    descriptor: OwnDescriptor, path: Path, timeout_s: float, on_wait: Callable[[str], object]
) -> None:
    ends_s = now_s() + timeout_s
    reported = False
    while not _try_lock(descriptor.number, path):
        holder = _holder(descriptor.number)
        if holder is not None and holder in _ancestors():
            return  # a parent process measures: this one is part of what it measures
        killed = holder is not None and not Path(f"/proc/{holder}").exists()
        name = f"process {holder}" if holder else "another process"
        if now_s() >= ends_s:
            raise MachineBusy(
                f"{_keeper(descriptor)} keeps the lock of {name}, which was killed while it "
                "measured and had forked it; end it"
                if killed
                else f"{name} has been measuring on this machine for longer than {timeout_s:g} s; "
                "wait for it, end it, or raise --energy-lock-timeout"
            )
        if not reported:
            waited_for = (
                f"{_keeper(descriptor)} to end, which {name} forked before it was killed"
                if killed
                else f"{name} to finish measuring on this machine"
            )
            on_wait(f"waiting for {waited_for} (at most {timeout_s:g} s)")
            reported = True
        sleep(min(RETRY_S, max(0.0, ends_s - now_s())))


def _try_lock(descriptor: int, path: Path) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in BUSY:
            return False
        raise _cannot_lock(path, error.strerror or str(error)) from None
    return True


def _flock_free(descriptor: int) -> None:
    with suppress(OSError):
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_UN)


def _keeper(descriptor: OwnDescriptor) -> str:
    """A process that has the lock's file open and locked, if this user may see it (Linux)."""
    status = os.fstat(descriptor.number)
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            for file in (process / "fd").iterdir():
                if os.path.samestat(file.stat(), status) and _LOCKED.search(
                    (process / "fdinfo" / file.name).read_bytes()
                ):
                    return f"process {process.name}"
    return "a process"


def _cannot_lock(path: Path, reason: str) -> MachineBusy:
    return MachineBusy(
        f"{path} cannot be locked: {reason}; name a file or folder that all who measure here can "
        f"read in {LOCK_VARIABLE}"
    )
