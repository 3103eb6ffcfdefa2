"""The cache folder, and atomic writes."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

CACHE_FOLDER_VARIABLE = "TSBENCH_CACHE"


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
    name = path.parent / f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}"
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
