"""Workers in fresh processes that the tests of one file share."""

import os
import random
import sys
from contextlib import closing

import pytest

from pytest_energy.commits import kept_workers
from pytest_energy.commits.janitor import Janitor
from pytest_energy.commits.kept_workers import KeptWorkers, own_bytes
from pytest_energy.commits.worker_arguments import WORKER_ARGUMENTS, Side
from pytest_energy.commits.worker_process import ReplicateFailed

TEST = """
def test_one(energy):
    energy(sum, range(100))

def test_two(energy):
    energy(sum, range(100))
"""
ONE, TWO, ELSEWHERE = "test_a.py::test_one", "test_a.py::test_two", "test_b.py::test_one"


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:hypothesispytest")
    for name in ("test_a.py", "test_b.py"):
        (tmp_path / name).write_text(TEST)
    options = (*WORKER_ARGUMENTS, "--energy-meter=estimate")
    side = Side("this tree", sys.executable, tmp_path, options, (), (), tmp_path, root=tmp_path)
    with Janitor() as janitor, closing(KeptWorkers({"B": side}, janitor, random.Random(1))) as kept:
        yield kept


def process_of(kept, test, number):
    with kept.of(test, number) as workers, workers["B"].replicate(test):
        return workers["B"].pid


def lives(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_two_tests_of_a_file_share_processes_and_two_numbers_never_do(kept):
    first, second = (process_of(kept, ONE, number) for number in (0, 1))
    assert first != second
    assert process_of(kept, TWO, 0) == first
    assert process_of(kept, TWO, 1) == second
    assert kept.kept_for(ONE) == kept.kept_for(TWO) == 2
    assert kept.kept_for(ELSEWHERE) == 0


def test_another_file_ends_them(kept):
    first = process_of(kept, ONE, 0)
    assert lives(first)
    other = process_of(kept, ELSEWHERE, 0)
    assert other != first
    assert not lives(first)
    kept.close()
    assert not lives(other)


def test_what_takes_too_much_memory_ends_with_its_test(kept, monkeypatch):
    monkeypatch.setattr(kept_workers, "KEPT_SHARE", 1e-9)
    first = process_of(kept, ONE, 0)
    assert not lives(first)
    assert kept.kept_for(ONE) == 0
    assert process_of(kept, TWO, 0) != first


def test_a_worker_that_fails_is_not_kept(kept):
    with pytest.raises(ReplicateFailed):
        process_of(kept, "test_a.py::test_missing", 0)
    assert kept.kept_for(ONE) == 0


def test_the_memory_of_a_process():
    before = own_bytes(os.getpid())
    filled = bytearray(b"x" * 50_000_000)
    assert 45_000_000 < own_bytes(os.getpid()) - before < 60_000_000
    del filled
    assert own_bytes(-1) == 0
