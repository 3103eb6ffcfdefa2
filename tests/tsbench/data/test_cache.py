"""Files of the cache that go to another machine's cache."""

from __future__ import annotations

import io
import zipfile

import pytest

from tsbench.data import cache


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(cache.CACHE_FOLDER_VARIABLE, str(tmp_path / "one"))
    return tmp_path


def test_the_files_that_were_used_are_packed_and_unpacked(folder, monkeypatch):
    model, side, other = (
        cache.folder() / cache.BUILT / name for name in ("a-[1].pt2", "a-[1].txt", "b.pt2")
    )
    for path in (model, side, other):
        cache.write_atomically(path, path.name.encode())
    with cache.recording() as files:
        assert cache.used(model) == model
    cache.used(other)  # nobody records
    assert files == [model, side]
    packed = cache.pack(files * 2)
    assert packed == cache.pack(reversed(files))
    monkeypatch.setenv(cache.CACHE_FOLDER_VARIABLE, str(folder / "two"))
    there = cache.folder() / cache.BUILT / "a-[1].txt"
    cache.write_atomically(there, b"made here")
    cache.unpack(packed)
    assert there.read_bytes() == b"made here"
    assert (there.parent / model.name).read_bytes() == b"a-[1].pt2"
    assert sorted(path.name for path in there.parent.iterdir()) == ["a-[1].pt2", "a-[1].txt"]


@pytest.mark.parametrize(
    "name",
    ["../a", "built/../../a", "/built/a", "built/..", "built/c/a", "other/a", "built\\..\\a", "a"],
)
def test_an_archive_writes_nowhere_else(folder, name):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), b"x")
    with pytest.raises(ValueError, match="must not contain"):
        cache.unpack(packed.getvalue())
    assert list(folder.rglob("*")) == []


def test_what_is_no_archive_is_refused(folder):
    with pytest.raises(ValueError, match="not an archive of built models"):
        cache.unpack(b"PK nothing")
