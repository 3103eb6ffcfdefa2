"""Where results that take long are kept between runs, and how files get there whole."""

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
    """Writes `path` so that it holds all of `content` or is not touched at all.

    Two processes that train the same model at once each write their own temporary file; the
    last one wins, with the same content.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.parent / f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}"
    handle = os.open(
        name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666
    )  # less the user's umask
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:  # even on Ctrl-C nothing half-written stays
        os.unlink(name)
        raise
