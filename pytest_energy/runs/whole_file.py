"""Write files atomically: after a kill or on a full disk, a file is complete or absent."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

# Readers look for *.json and *.jsonl, and so never find a part.
PART_SUFFIX = ".part"


def write_whole(path: Path, content: bytes) -> None:
    """Write the file, or replace it. Raises `OSError`, and then the old file is unchanged.

    A link is followed. A device or a pipe, such as /dev/stdout, is written to and not replaced.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    part = _write_part(path, content)
    try:
        os.replace(part, path)
    except OSError:
        _delete(part)
        raise
    sync_folder(path.parent)


def write_new(path: Path, content: bytes) -> None:
    """As `write_whole`, but raises `FileExistsError` if the file exists, however new it is."""
    part = _write_part(path, content)
    try:
        # A link, unlike a rename, never replaces a file.
        os.link(part, path)
    except FileExistsError:
        raise
    except (OSError, NotImplementedError):  # a file system without hard links
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        os.replace(part, path)
    finally:
        _delete(part)
    sync_folder(path.parent)


def write_all(descriptor: int, content: bytes) -> None:
    """Write every byte. Raises `OSError`, also if the system writes nothing without an error."""
    view = memoryview(content)
    while view:
        written = os.write(descriptor, view)
        if written == 0:
            raise OSError(errno.EIO, "the system wrote 0 bytes")
        view = view[written:]


def sync_folder(folder: Path) -> None:
    """Make a new name in the folder survive a power cut, as far as the file system can."""
    with suppress(OSError):  # Windows and some network file systems cannot sync folders
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _write_part(path: Path, content: bytes) -> Path:
    part = path.with_name(f".{path.name}.{os.getpid()}{PART_SUFFIX}")
    # The user's umask decides the mode, as for any other file.
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _CLOSE_ON_EXEC, 0o666)
    try:
        try:
            write_all(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError:
        _delete(part)
        raise
    return part


def _delete(part: Path) -> None:
    with suppress(OSError):
        os.unlink(part)


_CLOSE_ON_EXEC = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
