"""The cache folder, atomic writes, and files that go from one machine's cache to another's."""

from __future__ import annotations

import glob
import io
import os
import platform
import secrets
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path, PurePosixPath

CACHE_FOLDER_VARIABLE = "TSBENCH_CACHE"
PART_SUFFIX = ".part"
MODELS, BUILT = "models", "built"
_recorded: ContextVar[list[Path] | None] = ContextVar("recorded", default=None)


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


@contextmanager
def recording() -> Iterator[list[Path]]:
    """A list that grows with each file of the cache that is used inside the block."""
    files: list[Path] = []
    token = _recorded.set(files)
    try:
        yield files
    finally:
        _recorded.reset(token)


def used(path: Path) -> Path:
    """The path, recorded with the files beside it that differ by their suffix."""
    files = _recorded.get()
    if files is not None:
        files += sorted(path.parent.glob(f"{glob.escape(path.stem)}.*"))
    return path


def pack(files: Iterable[Path]) -> bytes:
    """A zip archive of files of the cache, the same bytes for the same files."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(set(files)):
            name = zipfile.ZipInfo(path.relative_to(folder()).as_posix())
            archive.writestr(name, path.read_bytes(), zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def unpack(packed: bytes) -> None:
    """Puts the files of `pack` into this machine's cache, except those that are there.

    Raises ValueError for an archive that `pack` does not write.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            for each in archive.infolist():
                _check_name(each.filename)
                path = folder() / each.filename
                if not path.exists():
                    write_atomically(path, archive.read(each))
    except zipfile.BadZipFile as error:
        raise ValueError(f"not an archive of built models: {error}") from None


def _check_name(name: str) -> None:
    parts = PurePosixPath(name).parts
    plain = len(parts) == 2 and parts[0] in (MODELS, BUILT) and name == "/".join(parts)
    if not plain or parts[1] == ".." or any(each in name for each in "\\\0"):
        raise ValueError(f"an archive of built models must not contain {name!r}")


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
