"""One measurement at a time on a machine: its counters count everybody's joules.

The lock is a file that the operating system locks (flock, by filelock) for as long as a process has it open. The lock of a process that
died, however it died, is therefore gone with it, and there is nothing stale to clean up.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from pytest_energy.clock import now_s
from pytest_energy.errors import MachineBusy

# Where all users of a machine find it. Another place, such as a folder that a group shares, by this variable.
LOCK_VARIABLE = "PYTEST_ENERGY_LOCK"
LOCK_NAME = "pytest-energy.lock"
EVERYBODYS_MODE = 0o666
LOOK_AGAIN_S = 0.2

_held: dict[Path, int] = {}  # how often this process has each


def lock_path() -> Path:
    """The file that is locked."""
    named = os.environ.get(LOCK_VARIABLE)
    return Path(named) if named else Path(tempfile.gettempdir()) / LOCK_NAME


@contextmanager
def machine_lock(timeout_s: float, tell: Callable[[str], object]) -> Iterator[None]:
    """Have this machine to oneself inside.

    Where another process has it, ``tell`` is called once with a line that names it, and this waits. Inside of itself in the
    same process it waits for nothing. Processes forked inside do not keep it. Raises `MachineBusy` after
    ``timeout_s``, and where the file cannot be locked at all.
    """
    path = lock_path()
    if _held.get(path):
        _held[path] += 1
        try:
            yield
        finally:
            _held[path] -= 1
        return
    lock = _acquired(path, timeout_s, tell)
    _held[path] = 1
    holder = _holder_path(path)
    with suppress(OSError):  # it only serves the line that a waiting process says
        _write_holder(holder)
    try:
        yield
    finally:
        del _held[path]
        with suppress(OSError):
            holder.unlink()
        lock.release()


def _acquired(path: Path, timeout_s: float, tell: Callable[[str], object]) -> Any:
    import filelock

    # A link in a folder that everybody writes to may point at anything, and locking opens what it points at.
    if path.is_symlink():
        raise MachineBusy(
            f"{path} is a symbolic link, and will not be locked; remove it, or name another file in {LOCK_VARIABLE}"
        )
    lock = filelock.FileLock(path, mode=EVERYBODYS_MODE, thread_local=False)
    try:
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            began_s = now_s()
            tell(
                f"waiting for {_holder(path)} to finish measuring on this machine (at most {timeout_s:g} s)"
            )
            lock.acquire(
                timeout=max(0.0, timeout_s - (now_s() - began_s)),
                poll_interval=LOOK_AGAIN_S,
            )
    except filelock.Timeout:
        raise MachineBusy(
            f"{_holder(path)} has been measuring on this machine for longer than {timeout_s:g} s; wait for it, end it, or "
            "allow more by --energy-lock-timeout"
        ) from None
    except OSError as error:
        raise MachineBusy(
            f"{path} cannot be locked: {error.strerror}; name a file that all who measure here may write in {LOCK_VARIABLE}"
        ) from None
    _let_go_in_children(lock)
    return lock


def _let_go_in_children(lock: Any) -> None:
    """A forked child has the file open as well, and the lock would live as long as the child does."""

    def close() -> None:
        descriptor = lock._context.lock_file_fd
        if descriptor is not None and lock.is_locked:
            with suppress(OSError):
                os.close(descriptor)
            lock._context.lock_file_fd = None
        _held.clear()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=close)


def _holder_path(path: Path) -> Path:
    return path.with_name(path.name + ".holder")


def _write_holder(path: Path) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    with open(descriptor, "w", encoding="utf8") as file:
        json.dump(
            {
                "pid": os.getpid(),
                "since": datetime.now().astimezone().isoformat(timespec="seconds"),
            },
            file,
        )


def _holder(path: Path) -> str:
    """Who has it, as far as that can be read."""
    try:
        said = json.loads(_holder_path(path).read_text(encoding="utf8"))
        return (
            f"process {int(said['pid'])} (since {datetime.fromisoformat(said['since']):%H:%M:%S})"
        )
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
