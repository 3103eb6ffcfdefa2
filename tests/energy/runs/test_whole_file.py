"""Files are complete or absent, whatever fails."""

from __future__ import annotations

import errno
import os

import pytest

from pytest_energy.runs import whole_file
from pytest_energy.runs.whole_file import write_new, write_whole

CONTENT = b"x" * 70_000


def fail(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*arguments: object, **keywords: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(whole_file.os, call, failing)


@pytest.mark.parametrize("write", [write_whole, write_new])
@pytest.mark.parametrize("call", ["open", "write", "fsync", "replace"])
def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch, write, call):
    with monkeypatch.context() as patch:
        fail(call, patch)
        if call == "replace":
            fail("link", patch)
        with pytest.raises(OSError, match="No space left"):
            write(tmp_path / "run.json", CONTENT)
    assert list(tmp_path.iterdir()) == []
    write(tmp_path / "run.json", CONTENT)
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
    assert (tmp_path / "run.json").read_bytes() == CONTENT


def test_a_failed_replacement_leaves_the_old_file(tmp_path, monkeypatch):
    (tmp_path / "run.json").write_bytes(b"old")
    fail("fsync", monkeypatch)
    with pytest.raises(OSError, match="No space left"):
        write_whole(tmp_path / "run.json", CONTENT)
    assert (tmp_path / "run.json").read_bytes() == b"old"


def test_a_new_file_never_replaces_another(tmp_path, monkeypatch):
    (tmp_path / "run.json").write_bytes(b"old")
    for without_links in (False, True):
        if without_links:
            fail("link", monkeypatch)
        with pytest.raises(FileExistsError):
            write_new(tmp_path / "run.json", CONTENT)
        assert (tmp_path / "run.json").read_bytes() == b"old"
        assert len(list(tmp_path.iterdir())) == 1


def test_short_writes_are_continued(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(whole_file.os, "write", lambda fd, data: write(fd, data[:1000]))
    write_whole(tmp_path / "run.json", CONTENT)
    assert (tmp_path / "run.json").read_bytes() == CONTENT


def test_a_write_of_0_bytes_is_an_error_and_no_endless_loop(tmp_path, monkeypatch):
    monkeypatch.setattr(whole_file.os, "write", lambda fd, data: 0)
    with pytest.raises(OSError, match="wrote 0 bytes"):
        write_whole(tmp_path / "run.json", CONTENT)


def test_the_mode_is_that_of_the_users_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write_new(tmp_path / "run.json", CONTENT)
    finally:
        os.umask(before)
    assert (tmp_path / "run.json").stat().st_mode & 0o777 == 0o640


def test_a_link_is_followed_and_stays_a_link(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link.json").symlink_to(tmp_path / "there" / "run.json")
    write_whole(tmp_path / "link.json", CONTENT)
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "there" / "run.json").read_bytes() == CONTENT


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_whole(pipe, b"a run")
        assert os.read(reader, 100) == b"a run"
    finally:
        os.close(reader)
    assert pipe.is_fifo()
