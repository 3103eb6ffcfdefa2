"""The cache folder, and atomic writes."""

from __future__ import annotations

import os
import platform
import secrets
import zlib
from pathlib import Path

CACHE_FOLDER_VARIABLE = "TSBENCH_CACHE"
PART_SUFFIX = ".part"


def folder() -> Path:
    """The cache folder: `TSBENCH_CACHE`, else `tsbench` in the user's cache folder."""
    chosen = os.environ.get(CACHE_FOLDER_VARIABLE)
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tsbench"


def write_atomically(path: Path, content: bytes) -> None:
    """Writes `content` to `path` completely, or leaves `path` as it was.

    Each process writes a temporary file of its own and renames it; the last one wins.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.parent / (
        f".{path.name}.{_machine()}.{os.getpid()}.{secrets.token_hex(4)}{PART_SUFFIX}"
    )
    handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:  # on Ctrl-C too, no temporary file stays
        os.unlink(name)
        raise


def delete_parts(folder: Path) -> None:
    """Deletes the temporary files that killed processes of this machine left in the folder."""
    for part in folder.glob(f".*{PART_SUFFIX}"):
        # The folder may be shared: another machine's processes have other numbers.
        _, *rest = part.name.rsplit(".", maxsplit=4)
        if len(rest) < 4:
            continue
        machine, pid = rest[:2]
        if machine == _machine() and pid.isdecimal() and not _is_alive(int(pid)):
            part.unlink(missing_ok=True)


def _machine() -> str:
    return f"{zlib.crc32(platform.node().encode()):08x}"


def _is_alive(pid: int) -> bool:
    if os.name != "posix":
        return True  # signal 0 would be Ctrl-C
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True  # another user's process
    return True
