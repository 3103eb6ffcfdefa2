"""Downloads from the UCR/UEA archive into the cache: resumable, checked, whole or not at all.

A download goes to a file of its own under `partial`, where nothing looks for data; it is
unpacked into a temporary folder, read there once, and only then takes its place. sktime's
and aeon's own loaders neither resume nor check, and unpack in place.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from tsbench.data import cache
from tsbench.errors import DataFormatError, DownloadError

ARCHIVE_SITE = "https://www.timeseriesclassification.com"
ARCHIVE_URL = (
    "https://timeseriesclassification.com/aeon-toolkit"  # where sktime and aeon get it: /NAME.zip
)
ARCHIVE_URL_VARIABLE = "TSBENCH_ARCHIVE_URL"  # a mirror of one's own
OFFLINE_VARIABLE = "TSBENCH_OFFLINE"

TIMEOUT_S = 15  # without a byte: long for a slow server, short enough to wait for
CHUNK_BYTES = 64 * 1024
MAX_UNPACKED_BYTES = (
    4 * 2**30
)  # the archive's largest set unpacks to below 3 GiB: more is no dataset

# The archive publishes no checksums (its zips hold CRCs, which are checked). These are of the
# values and labels that our shipped checkpoints were trained on: `Dataset.fingerprint`.
KNOWN_FINGERPRINTS = {
    "PLAID": "6204a52cbf3bcc6962e0a5b4d91e307ea580472b4964750bb93e16d1505e6fe8",
    "RefrigerationDevices": "1fe909c36462f55ba7f74f0ed727555f3b04d5cc305bb212d7fb74dab7d03639",
}

OnBytes = Callable[[int, "int | None"], None]


def folder() -> Path:
    """Where downloaded datasets lie, each in a folder of its own name."""
    return cache.folder() / "datasets"


def fetch(name: str, check: Callable[[Path], None], on_bytes: OnBytes | None = None) -> Path:
    """Downloads the dataset and unpacks it; its folder in the cache.

    `check(folder)` looks at what was unpacked before it is put in place, and raises what it
    finds wrong. Raises DownloadError; what came before a broken connection is kept, and the
    next call goes on from there.
    """
    if re.fullmatch(r"\w+", name, re.ASCII) is None:
        raise DownloadError(name, "not a name of the archive's: letters, digits and _ only")
    base = os.environ.get(ARCHIVE_URL_VARIABLE, ARCHIVE_URL)
    part = cache.folder() / "partial" / f"{name}.zip"
    _download(f"{base}/{name}.zip", part, on_bytes or (lambda done, total: None))
    try:
        return _unpack(name, part, check)
    finally:
        part.unlink()  # put in place, or no good: never to be gone on with


def _download(url: str, part: Path, on_bytes: OnBytes) -> None:
    """Completes `part` from where an earlier call got to, if it is still the same file."""
    part.parent.mkdir(parents=True, exist_ok=True)
    version_file = part.with_suffix(".json")
    done = part.stat().st_size if part.is_file() else 0
    version = json.loads(version_file.read_text()) if done and version_file.is_file() else None
    headers = {"User-Agent": "tsbench"}
    if version is not None:
        # The server sends the rest only if the file is still the one that the first part is of.
        headers.update({"Range": f"bytes={done}-", "If-Range": version})
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S
        ) as reply:
            resumed = reply.status == http.HTTPStatus.PARTIAL_CONTENT
            done = done if resumed else 0
            length = reply.headers.get("Content-Length")
            total = None if length is None else done + int(length)
            cache.write_atomically(version_file, json.dumps(_version(reply.headers)).encode())
            with part.open("ab" if resumed else "wb") as file:
                while chunk := reply.read(CHUNK_BYTES):
                    file.write(chunk)
                    done += len(chunk)
                    on_bytes(done, total)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink()  # all of it was there, or it shrank: start afresh next time
        raise DownloadError(url, f"the server says {error.code} {error.reason}") from error
    except (
        OSError,
        http.client.HTTPException,
    ) as error:  # URLError, timeouts and resets are OSErrors
        if not done:
            reason = getattr(error, "reason", error)
            raise DownloadError(url, f"no connection ({reason})") from error
        raise DownloadError(url, f"broke off after {done} bytes ({error})", began=True) from error
    if total is not None and done < total:
        raise DownloadError(url, f"ended after {done} of {total} bytes", began=True)
    version_file.unlink()


def _version(headers: http.client.HTTPMessage) -> str | None:
    """What tells this file from a later one under the same address; weak ETags do not."""
    etag = headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")


def _unpack(name: str, archive: Path, check: Callable[[Path], None]) -> Path:
    target = folder() / name
    folder().mkdir(parents=True, exist_ok=True)
    # Beside `folder()`, on the same file system, so that one rename puts it in place.
    made = Path(tempfile.mkdtemp(dir=archive.parent))
    try:
        (made / name).mkdir()
        _extract(archive, made / name)
        check(made / name)
        try:
            os.replace(made / name, target)
        except OSError:  # another process was first; what is there has passed the same check
            if not target.is_dir():
                raise
    # zipfile lets these through from a damaged member, RuntimeError from an encrypted one.
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, DataFormatError) as error:
        raise DownloadError(
            f"{name}.zip", f"damaged: {error}; nothing of it was kept", began=True
        ) from error
    finally:
        shutil.rmtree(made)
    return target


def _extract(archive: Path, to: Path) -> None:
    """The zip's data files, whatever folders it has them in; each one's CRC is checked."""
    with zipfile.ZipFile(archive) as packed:
        wanted = [
            member
            for member in packed.infolist()
            if re.search(r"_(TRAIN|TEST)(\.\w+)?$", member.filename)
        ]
        if not wanted:
            raise zipfile.BadZipFile("it holds no _TRAIN and _TEST files")
        if sum(member.file_size for member in wanted) > MAX_UNPACKED_BYTES:
            raise zipfile.BadZipFile(f"it would unpack to more than {MAX_UNPACKED_BYTES} bytes")
        for member in wanted:
            with (
                packed.open(member) as source,
                (to / Path(member.filename).name).open("wb") as file,
            ):
                shutil.copyfileobj(source, file)
