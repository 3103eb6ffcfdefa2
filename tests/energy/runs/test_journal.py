"""The journal: each finished benchmark is on disk, and a failed write is repaired by the next."""

from __future__ import annotations

import errno
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_energy.errors import RunUnreadable
from pytest_energy.runs import journal, json_format, whole_file
from pytest_energy.runs.journal import Journal, to_document, unfinished_runs


def names(path) -> list[str]:
    return [each["name"] for each in to_document(path.read_text(encoding="utf8"))["benchmarks"]]


@pytest.mark.parametrize("module", [journal, whole_file])
@pytest.mark.parametrize("call", ["open", "write", "fsync", "ftruncate", "lseek"])
def test_the_next_benchmark_writes_what_a_failed_write_lost(tmp_path, monkeypatch, module, call):
    kept = Journal(tmp_path, {})
    kept.add({"name": "first"})

    def failing(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module.os, call, failing)
        kept.add({"name": "second"})
        assert kept.problem == "No space left on device"
    assert names(kept.path) in (["first"], ["first", "second"])
    kept.add({"name": "third"})
    assert kept.problem is None
    assert names(kept.path) == ["first", "second", "third"]


def test_a_line_that_a_failed_write_cut_is_written_again(tmp_path, monkeypatch):
    kept = Journal(tmp_path, {})
    kept.add({"name": "first"})
    write = os.write

    def half(descriptor: int, content: memoryview) -> int:
        if len(content) < 8:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, content[: len(content) // 2])

    with monkeypatch.context() as patch:
        patch.setattr(whole_file.os, "write", half)
        kept.add({"name": "second"})
    assert names(kept.path) == ["first"]
    kept.flush()
    assert names(kept.path) == ["first", "second"]


def test_a_failed_close_is_no_error(tmp_path, monkeypatch):
    close = os.close

    def failing(descriptor: int) -> None:
        close(descriptor)
        raise OSError(errno.EIO, "Input/output error")

    kept = Journal(tmp_path, {})
    with monkeypatch.context() as patch:
        patch.setattr(journal.os, "close", failing)
        kept.add({"name": "first"})
    assert kept.problem is None
    assert names(kept.path) == ["first"]


def test_no_descriptor_is_open_between_two_benchmarks(tmp_path):
    """Code under test may close every descriptor, and open others with the same numbers."""
    kept = Journal(tmp_path, {})
    before = os.open(tmp_path, os.O_RDONLY)
    os.close(before)
    kept.add({"name": "first"})
    after = os.open(tmp_path / "theirs", os.O_WRONLY | os.O_CREAT)
    try:
        assert after == before
        kept.add({"name": "second"})
    finally:
        os.close(after)
    assert (tmp_path / "theirs").read_bytes() == b""
    assert names(kept.path) == ["first", "second"]


def test_a_journal_that_another_program_deleted_is_written_again(tmp_path):
    kept = Journal(tmp_path, {})
    kept.add({"name": "first"})
    kept.path.unlink()
    kept.add({"name": "second"})
    assert names(kept.path) == ["first", "second"]


@given(st.integers(0, 400))
def test_a_journal_cut_anywhere_has_its_complete_lines(cut):
    lines = [{"energy": {"schema": 1}, "commit_info": {}}, {"name": "a"}, {"name": "b\n\u2028"}]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    try:
        document = to_document(text[:cut])
    except ValueError:
        assert cut <= len(json.dumps(lines[0]))
        return
    assert document["benchmarks"] == lines[1:][: len(document["benchmarks"])]
    assert document["commit_info"] == {}


@given(st.binary(max_size=200))
def test_other_bytes_are_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("x") / "unfinished_x_1.jsonl"
    path.write_bytes(content)
    with pytest.raises(RunUnreadable):
        json_format.read_run(path)


def test_a_line_that_is_not_an_object_is_refused():
    with pytest.raises(ValueError, match="a line that is not an object"):
        to_document('{"energy": {}}\n[1]\n')


def test_journals_of_running_processes_are_not_unfinished(tmp_path):
    for pid in (os.getpid(), 2**22 + 1):  # Linux has no pid above 2**22
        (tmp_path / f"unfinished_x_{pid}.jsonl").touch()
    assert [path.name for path in unfinished_runs(tmp_path)] == [f"unfinished_x_{2**22 + 1}.jsonl"]


def test_the_mode_is_that_of_the_users_umask(tmp_path):
    before = os.umask(0o027)
    try:
        kept = Journal(tmp_path, {})
        kept.add({"name": "first"})
    finally:
        os.umask(before)
    assert kept.path.stat().st_mode & 0o777 == 0o640
    kept.delete()
    assert not kept.path.exists()
