"""Downloads from the UCR/UEA archive into the cache: resumable, checked, all or nothing.

A download goes to a file of its own under `partial`, where nothing looks for data. It is
unpacked into a temporary folder, read there once, and then renamed to its place. sktime's and
aeon's loaders neither resume nor check, and unpack in place.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import stat
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath

import filelock

from tsbench.data import cache
from tsbench.errors import DataFormatError, DownloadError

ARCHIVE_SITE = "https://www.timeseriesclassification.com"
# Where sktime and aeon download: /NAME.zip
ARCHIVE_URL = "https://timeseriesclassification.com/aeon-toolkit"
ARCHIVE_URL_VARIABLE = "TSBENCH_ARCHIVE_URL"  # another mirror
OFFLINE_VARIABLE = "TSBENCH_OFFLINE"

TIMEOUT_S = 15  # without a byte: long for a slow server, short enough to wait for
OTHER_DOWNLOAD_TIMEOUT_S = 3600.0  # for a download of the same dataset by another process
CHUNK_BYTES = 64 * 1024
# The archive's largest set unpacks to below 3 GiB.
MAX_DOWNLOAD_BYTES = 2 * 2**30
MAX_UNPACKED_BYTES = 4 * 2**30
# Numbers as text compress to a third; a column of zeros may reach 100 times. Zip bombs have 1000.
MAX_COMPRESSION = 200
ALWAYS_UNPACKED_BYTES = 2**20  # however well it is compressed

# The archive publishes no checksums (its zips hold CRCs, which are checked). These are the
# fingerprints of the datasets that the shipped models were trained on.
KNOWN_FINGERPRINTS = {
    "ElectricDevices": "4250f7f500ea74952be4bea3b4bdb172f4c070806d8bda7f54d02b20cf17d6db",
    "PLAID": "6204a52cbf3bcc6962e0a5b4d91e307ea580472b4964750bb93e16d1505e6fe8",
    "RefrigerationDevices": "1fe909c36462f55ba7f74f0ed727555f3b04d5cc305bb212d7fb74dab7d03639",
}

OnBytes = Callable[[int, "int | None"], None]


def folder() -> Path:
    """Where downloaded datasets are, each in a folder of its own name."""
    return cache.folder() / "datasets"


def fetch(name: str, check: Callable[[Path], None], on_bytes: OnBytes | None = None) -> Path:
    """Downloads and unpacks the dataset. Returns its folder in the cache.

    `check(folder)` raises DataFormatError for unpacked files that are wrong; they then do not
    reach the cache. Raises DownloadError. After a broken connection the next call resumes. If
    another process downloads the same dataset, this waits for it.
    """
    if re.fullmatch(r"\w+", name, re.ASCII) is None:
        raise DownloadError(name, "a name in the archive has letters, digits and _ only")
    base = os.environ.get(ARCHIVE_URL_VARIABLE, ARCHIVE_URL)
    part = cache.folder() / "partial" / f"{name}.zip"
    part.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(part.with_suffix(".lock"), timeout=OTHER_DOWNLOAD_TIMEOUT_S)
    try:
        with lock:
            if (folder() / name).is_dir():  # the other process has downloaded it
                return folder() / name
            _download(f"{base}/{name}.zip", part, on_bytes or (lambda done, total: None))
            try:
                return _unpack(name, part, check)
            finally:
                part.unlink()  # unpacked or useless: the next call must not resume it
    except filelock.Timeout:
        raise DownloadError(
            name, f"another process has been downloading it for {OTHER_DOWNLOAD_TIMEOUT_S:.0f} s"
        ) from None


def _download(url: str, part: Path, on_bytes: OnBytes) -> None:
    """Completes `part`, from where an earlier call ended if the server still has that file."""
    version_file = part.with_suffix(".json")
    done = part.stat().st_size if part.is_file() else 0
    version = json.loads(version_file.read_text()) if done and version_file.is_file() else None
    headers = {"User-Agent": "tsbench"}
    if version is not None:
        # With If-Range the server sends the rest only if the file is unchanged.
        headers.update({"Range": f"bytes={done}-", "If-Range": version})
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S
        ) as reply:
            resumed = reply.status == http.HTTPStatus.PARTIAL_CONTENT
            done = done if resumed else 0
            length = reply.headers.get("Content-Length")
            total = None if length is None else done + int(length)
            _limit(url, total or done, part)
            cache.write_atomically(version_file, json.dumps(_version(reply.headers)).encode())
            with part.open("ab" if resumed else "wb") as file:
                while chunk := reply.read(CHUNK_BYTES):
                    done += len(chunk)
                    _limit(url, done, part)
                    file.write(chunk)
                    on_bytes(done, total)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink()  # it was complete, or the file shrank: the next call starts over
        raise DownloadError(url, f"the server answers {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        # URLError, timeouts and resets are OSErrors; ValueError is a malformed header.
        if not done:
            reason = getattr(error, "reason", error)
            raise DownloadError(url, f"no connection ({reason})") from error
        raise DownloadError(url, f"ended after {done} bytes ({error})", began=True) from error
    if total is not None and done < total:
        raise DownloadError(url, f"ended after {done} of {total} bytes", began=True)
    version_file.unlink()


def _limit(url: str, n_bytes: int, part: Path) -> None:
    if n_bytes > MAX_DOWNLOAD_BYTES:
        part.unlink(missing_ok=True)
        part.with_suffix(".json").unlink(missing_ok=True)
        raise DownloadError(
            url, f"has more than {MAX_DOWNLOAD_BYTES} bytes, which no dataset of the archive has"
        )


def _version(headers: http.client.HTTPMessage) -> str | None:
    """A header that changes with the file. Weak ETags may not."""
    etag = headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")


def _unpack(name: str, archive: Path, check: Callable[[Path], None]) -> Path:
    target = folder() / name
    folder().mkdir(parents=True, exist_ok=True)
    # Beside `folder()`, on the same file system: a rename puts it in place.
    made = Path(tempfile.mkdtemp(dir=archive.parent))
    try:
        (made / name).mkdir()
        _extract(archive, made / name)
        check(made / name)
        try:
            os.replace(made / name, target)
        except OSError:  # another process was first, with a dataset that passed the same check
            if not target.is_dir():
                raise
    except OSError as error:  # a full disk, a name that is too long, or an offset beyond the file
        raise DownloadError(
            f"{name}.zip", f"cannot be unpacked: {error.strerror or error}", began=True
        ) from error
    # zipfile raises the others for damaged members, and RuntimeError for encrypted ones.
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        ValueError,  # a name that is not UTF-8
        RuntimeError,
        NotImplementedError,
        DataFormatError,
    ) as error:
        raise DownloadError(
            f"{name}.zip", f"damaged: {error}; nothing of it was kept", began=True
        ) from error
    finally:
        shutil.rmtree(made)
    return target


def _extract(archive: Path, to: Path) -> None:
    """Writes the zip's data files, without their folders. Each one's CRC is checked."""
    with zipfile.ZipFile(archive) as packed:
        wanted = [
            member
            for member in packed.infolist()
            if re.search(r"_(TRAIN|TEST)(\.\w+)?$", member.filename)
        ]
        if not wanted:
            raise zipfile.BadZipFile("it holds no _TRAIN and _TEST files")
        _check_members(wanted)
        for member in wanted:
            with (
                packed.open(member) as source,
                (to / PurePosixPath(member.filename).name).open("xb") as file,
            ):
                shutil.copyfileobj(source, file)


def _check_members(members: list[zipfile.ZipInfo]) -> None:
    """Raises BadZipFile for what no dataset has: links, paths that leave the folder, bombs."""
    seen = set()
    for member in members:
        path = PurePosixPath(member.filename)
        if path.is_absolute() or ".." in path.parts or PureWindowsPath(path).drive:
            raise zipfile.BadZipFile(f"{member.filename!r} is outside of the archive's folder")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise zipfile.BadZipFile(f"{member.filename!r} is a link")
        if path.name.lower() in seen:
            raise zipfile.BadZipFile(f"it holds two files called {path.name!r}")
        seen.add(path.name.lower())
        allowed = max(member.compress_size * MAX_COMPRESSION, ALWAYS_UNPACKED_BYTES)
        if member.file_size > allowed:
            raise zipfile.BadZipFile(
                f"{member.filename!r} would unpack {member.compress_size} bytes to "
                f"{member.file_size}, more than {MAX_COMPRESSION} times as many"
            )
    if sum(member.file_size for member in members) > MAX_UNPACKED_BYTES:
        raise zipfile.BadZipFile(f"it would unpack to more than {MAX_UNPACKED_BYTES} bytes")
