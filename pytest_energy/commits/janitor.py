"""A process that cleans up after the main process ends: by success, failure, Ctrl-C or ``kill -9``.

It kills the worker processes that are left and deletes the temporary folder. It runs this file as
a script, so this file imports the standard library only.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from functools import partial
from pathlib import Path

# A process that a test forked in C may hold the pipe open. So the janitor also checks this often
# whether its parent still runs.
PARENT_CHECK_S = 5.0
# How long workers may tear down their fixtures after the main process was killed.
TEAR_DOWN_LIMIT_S = 10.0
POLL_S = 0.05
# How long the main process waits for the janitor when the run ends.
CLOSE_LIMIT_S = 30.0
# Partials, as in clock.py, which a script cannot import: a test cannot replace these.
_now_s, _sleep = partial(time.monotonic), partial(time.sleep)
_fstat, _write = partial(os.fstat), partial(os.write)


class Janitor:
    """A temporary folder and the processes that must not outlive this one. A context manager."""

    def __init__(self) -> None:
        self.folder = (
            Path(tempfile.gettempdir()).resolve() / f"pytest-energy-{secrets.token_hex(6)}"
        )
        theirs, self._pipe = os.pipe()
        self._pipe_file = _file_of(self._pipe)
        try:
            # The janitor starts first: a kill between the two would leave the folder.
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", __file__, self.folder, str(os.getpid())],
                stdin=theirs,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C reaches the main process only
            )
        finally:
            os.close(theirs)
        self.folder.mkdir(mode=0o700)
        (self.folder / "tmp").mkdir()
        close_in_children(self)

    @property
    def temporary(self) -> Path:
        """Where the workers put their temporary files."""
        return self.folder / "tmp"

    def __enter__(self) -> Janitor:
        return self

    def __exit__(self, *exception: object) -> None:
        self._send("done")
        if not self._pipe_is_ours():
            self._process.kill()  # it waits for the end of this process
        self.close_in_child()
        try:
            self._process.wait(CLOSE_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def watch(self, session: int) -> None:
        """Kill the processes of this session when the main process ends."""
        self._send(f"+{session}")

    def unwatch(self, session: int) -> None:
        """Stop watching a session, because it has ended."""
        self._send(f"-{session}")

    def close_in_child(self) -> None:
        """Close this process's end of the pipe."""
        if self._pipe_is_ours():
            os.close(self._pipe)

    def _pipe_is_ours(self) -> bool:
        """False once code under test has closed all descriptors: another file may have the number
        (descriptors.py, which a script cannot import)."""
        try:
            return _file_of(self._pipe) == self._pipe_file
        except OSError:
            return False

    def _send(self, line: str) -> None:
        if self._pipe_is_ours():
            with contextlib.suppress(OSError):
                _write(self._pipe, line.encode() + b"\n")


def _file_of(descriptor: int) -> tuple[int, int]:
    status = _fstat(descriptor)
    return status.st_dev, status.st_ino


def close_in_children(holder: Janitor) -> None:
    """Close the pipe in processes that the code under test forks: they may outlive this one."""
    reference = weakref.ref(holder)

    def close() -> None:
        holder = reference()
        if holder is not None:
            holder.close_in_child()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=close)


def kill_session(session: int) -> None:
    """Kill all processes of a session, whichever process group each is in, and their descendants,
    whichever session those are in."""
    for _ in range(3):  # a process may fork while the others are killed
        members = _members(session)
        for process in members:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        if not members:
            return
        _sleep(POLL_S)


def _members(session: int) -> list[int]:
    """The living processes of a session and their descendants; only its leader if /proc cannot
    be read."""
    try:
        names = os.listdir("/proc")
    except OSError:
        names = []
    if "self" not in names:
        return [session] if _alive(session) else []
    found: set[int] = set()
    parents: dict[int, int] = {}
    for name in names:
        if not name.isdigit():
            continue
        try:
            stat = Path("/proc", name, "stat").read_bytes()
        except OSError:
            continue  # it ended meanwhile
        # proc(5): the program's name may hold spaces and ends with a bracket; then the state, the
        # parent, the process group and the session.
        state, parent, _, its_session = stat.rpartition(b")")[2].split()[:4]
        if state != b"Z":
            parents[int(name)] = int(parent)
            if int(its_session) == session:
                found.add(int(name))
    new = found
    while new:
        new = {child for child, parent in parents.items() if parent in new} - found
        found |= new
    return sorted(found)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except OSError:
        return False
    return True


def _wait_for_end(parent: int) -> set[int]:
    """Read messages until the main process ends. Returns the sessions that are left.

    The main process may end before this one has begun: the system names another parent then.
    """
    sessions: set[int] = set()
    unread = b""
    while True:
        readable, _, _ = select.select([0], [], [], PARENT_CHECK_S)
        if not readable:
            if os.getppid() != parent:
                return sessions
            continue
        more = os.read(0, 4096)
        if not more:
            # The main process has ended, or code under test has closed all its descriptors.
            while os.getppid() == parent:
                _sleep(POLL_S)
            return sessions
        *lines, unread = (unread + more).split(b"\n")
        for line in lines:
            if line == b"done":
                return sessions
            (sessions.add if line.startswith(b"+") else sessions.discard)(int(line[1:]))


def main(folder: str, parent: int) -> None:
    """Wait for the parent process, end the sessions that it left, and delete the folder."""
    sessions = _wait_for_end(parent)
    until_s = _now_s() + TEAR_DOWN_LIMIT_S
    while any(map(_members, sessions)) and _now_s() < until_s:
        _sleep(POLL_S)
    for session in sessions:
        kill_session(session)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
