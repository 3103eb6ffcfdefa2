"""Downloads from a server on loopback that can fail."""

from __future__ import annotations

import http.server
import io
import re
import stat
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tsbench.data import cache, datasets, download
from tsbench.errors import DatasetUnavailable, DownloadError

SET = "@problemName Made\n@univariate true\n@classLabel true a b\n@data\n1,2:a\n3,4:b\n"


def packed(files, name="Made"):
    """A zip of these files in a folder, as some of the archive's zips are."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for half, text in files.items():
            archive.writestr(f"{name}/{name}_{half}", text)
    return buffer.getvalue()


class Server(http.server.BaseHTTPRequestHandler):
    """Serves /Made.zip, with ranges; the connection ends after `breaks_after` bytes."""

    content = b""
    etag = '"1"'
    breaks_after = None
    with_length = True
    path_served = "/Made.zip"
    ranges: list = []

    def do_GET(self):
        if self.path != self.path_served:
            self.send_error(404)
            return
        start, asked = 0, self.headers.get("Range")
        self.ranges.append(asked)
        if asked and self.headers.get("If-Range") == self.etag:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
        body = self.content[start:]
        self.send_response(206 if start else 200)
        if self.with_length:
            self.send_header("Content-Length", str(len(body)))
        if self.etag:
            self.send_header("ETag", self.etag)
        self.end_headers()
        self.wfile.write(body if self.breaks_after is None else body[: self.breaks_after])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    """The handler class of a running server, which is the archive for the test."""
    handler = type(
        "Handler",
        (Server,),
        {"content": packed({"TRAIN.ts": SET, "TEST.ts": SET, "notes.txt": "x"}), "ranges": []},
    )
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv(download.ARCHIVE_URL_VARIABLE, f"http://127.0.0.1:{running.server_port}")
        monkeypatch.delenv(download.OFFLINE_VARIABLE)
        yield handler
        running.shutdown()
        thread.join()


def kept():
    """The files in the cache but for locks, as paths relative to it."""
    return sorted(
        str(path.relative_to(cache.folder()))
        for path in cache.folder().rglob("*")
        if path.is_file() and path.suffix != ".lock"
    )


WHOLE = ["datasets/Made/Made_TEST.ts", "datasets/Made/Made_TRAIN.ts"]


def test_a_download_ends_in_the_cache_and_is_not_repeated(server):
    seen = []
    data = datasets.load("Made", on_bytes=lambda done, total: seen.append((done, total)))
    assert (data.name, len(data.train)) == ("Made", 2)
    assert seen[-1] == (len(server.content), len(server.content))
    assert kept() == WHOLE
    assert datasets.load("made").fingerprint == data.fingerprint
    assert server.ranges == [None]


def test_an_interrupted_download_is_no_dataset_and_resumes(server):
    server.breaks_after = 100
    with pytest.raises(
        DownloadError,
        match=rf"Made\.zip: ended after 100 of {len(server.content)} bytes; run it again",
    ):
        datasets.load("Made")
    assert kept() == ["partial/Made.json", "partial/Made.zip"]
    assert not download.folder().exists()
    server.breaks_after = None
    datasets.load("Made")
    assert server.ranges == [None, "bytes=100-"]
    assert kept() == WHOLE


@pytest.mark.parametrize("etag", ['"2"', None])
def test_an_interrupted_download_of_an_older_version_starts_over(server, etag):
    server.breaks_after, server.etag = 100, '"1"' if etag else None
    with pytest.raises(DownloadError):
        datasets.load("Made")
    server.breaks_after, server.etag = None, etag
    datasets.load("Made")
    assert kept() == WHOLE


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"<html>not here", "File is not a zip file"),
        (packed({"readme.md": "x"}), "holds no _TRAIN and _TEST"),
        (packed({"TRAIN.ts": SET}), "has no Made_TRAIN and Made_TEST"),
        (packed({"TRAIN.ts": SET, "TEST.ts": SET + "1,x:a\n"}), r"Made_TEST\.ts:7: value 2 is 'x'"),
        (packed({"TRAIN.ts": SET, "TEST.ts": SET}).replace(b"3,4:b", b"3,5:b"), "Bad CRC-32"),
    ],
)
def test_damage_names_the_file_and_leaves_nothing(server, content, problem):
    server.content = content
    with pytest.raises(
        DownloadError, match=rf"Made\.zip: damaged: .*{problem}.*nothing of it was kept"
    ):
        datasets.load("Made")
    assert kept() == []
    assert [path.name for path in (cache.folder() / "partial").iterdir()] == ["Made.lock"]


def test_a_wrong_checksum_leaves_nothing(server, monkeypatch):
    monkeypatch.setitem(download.KNOWN_FINGERPRINTS, "Made", "0" * 64)
    with pytest.raises(
        DownloadError, match=r"Made\.zip: damaged: .*checksum of its values is .*, expected 0000"
    ):
        datasets.load("Made")
    assert kept() == []


def test_known_checksums_are_those_of_the_real_data(plaid, refrigeration_devices):
    for data in (plaid, refrigeration_devices):
        assert download.KNOWN_FINGERPRINTS[data.name] == data.fingerprint


def test_no_connection_names_the_folder_layout(monkeypatch):
    monkeypatch.delenv(download.OFFLINE_VARIABLE)
    monkeypatch.setenv(download.ARCHIVE_URL_VARIABLE, "http://127.0.0.1:9")  # nothing listens there
    with pytest.raises(
        DatasetUnavailable, match=r"Made/Made_TRAIN\.ts .*; no download: .*no connection"
    ):
        datasets.load("Made")
    assert kept() == []


def test_unknown_and_invalid_names_are_not_downloaded(server):
    with pytest.raises(DatasetUnavailable, match="the server answers 404"):
        datasets.load("Unheard")
    with pytest.raises(DatasetUnavailable, match="letters, digits and _ only"):
        datasets.load("../Made")


def zipped(*members):
    """A zip of these (name, content, mode)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content, mode in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = mode << 16
            archive.writestr(info, content)
    return buffer.getvalue()


FILE, LINK = stat.S_IFREG | 0o644, stat.S_IFLNK | 0o777
GOOD_TEST = ("Made_TEST.ts", SET, FILE)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (zipped(("../../up/Made_TRAIN.ts", SET, FILE), GOOD_TEST), "outside of the archive's"),
        (zipped(("/abs/Made_TRAIN.ts", SET, FILE), GOOD_TEST), "outside of the archive's"),
        (zipped(("C:/Made_TRAIN.ts", SET, FILE), GOOD_TEST), "outside of the archive's"),
        (zipped(("Made_TRAIN.ts", "/etc/hosts", LINK), GOOD_TEST), "is a link"),
        (zipped(("a/Made_TRAIN.ts", SET, FILE), ("b/MADE_TRAIN.ts", SET, FILE)), "two files"),
        (zipped(("Made_TRAIN.ts", SET + " " * 20_000_000, FILE), GOOD_TEST), "200 times"),
    ],
    ids=["climbs", "absolute", "drive", "link", "twice", "bomb"],
)
def test_a_hostile_archive_is_refused_and_leaves_nothing(server, content, problem):
    server.content = content
    with pytest.raises(DownloadError, match=rf"Made\.zip: damaged: .*{problem}"):
        datasets.load("Made")
    assert kept() == []


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (zipped((f"{'A' * 300}_TRAIN.ts", SET, FILE)), "cannot be unpacked: File name too long"),
        (zipped(("é_TRAIN.ts", SET, FILE)).replace(b"\xc3\xa9", b"\xc3("), "damaged: .*utf-8"),
        (zipped(("Made_TRAIN.ts", SET, FILE))[10:], "(cannot be unpacked|damaged)"),
    ],
    ids=["long name", "not UTF-8", "offset before the file"],
)
def test_an_archive_that_zipfile_fails_on_is_one_line(server, content, problem):
    server.content = content
    with pytest.raises(DownloadError, match=rf"Made\.zip: .*{problem}"):
        datasets.load("Made")
    assert kept() == []


@pytest.mark.parametrize("with_length", [True, False])
def test_a_download_beyond_the_limit_ends_and_leaves_nothing(server, with_length, monkeypatch):
    monkeypatch.setattr(download, "MAX_DOWNLOAD_BYTES", 100)
    server.with_length = with_length
    with pytest.raises(DownloadError, match=r"Made\.zip: has more than 100 bytes"):
        download.fetch("Made", lambda folder: None)
    assert kept() == []


def test_two_downloads_at_once_are_one(server):
    with ThreadPoolExecutor(4) as pool:
        loaded = list(pool.map(datasets.load, ["Made"] * 4))
    assert len({data.fingerprint for data in loaded}) == 1
    assert server.ranges == [None]
    assert kept() == WHOLE


CASES = Path(__file__).parents[4] / "shared" / "cases" / "hostile"


@pytest.mark.skipif(not CASES.is_dir(), reason="the collected hostile archives are not here")
@pytest.mark.parametrize("name", ["Badlen", "Bomb", "Link", "Slip"])
def test_collected_hostile_archives_are_refused(server, name):
    server.content, server.path_served = (CASES / f"{name}.zip").read_bytes(), f"/{name}.zip"
    with pytest.raises(DownloadError, match="damaged"):
        datasets.load(name)
    assert kept() == []
