"""The CPU's own counter, tested on a software event: most test machines have no hardware one."""

from __future__ import annotations

import mmap
import platform
from itertools import repeat

import pytest

from pytest_energy.counting.count import WorkCounter
from pytest_energy.counting.cpu_counter import SOFTWARE_PAGE_FAULTS, CpuCounter
from pytest_energy.errors import CountingUnavailable


@pytest.fixture
def counter():
    try:
        counter = CpuCounter(SOFTWARE_PAGE_FAULTS, "test")
    except CountingUnavailable as error:
        pytest.skip(str(error))
    yield counter
    counter.close()


def touch(pages):
    """Fault in that many fresh pages."""
    with mmap.mmap(-1, pages * mmap.PAGESIZE) as memory:
        for page in range(pages):
            memory[page * mmap.PAGESIZE] = 1


def test_it_counts_what_the_call_does(counter):
    work = WorkCounter(counter).count_prepared(repeat(lambda: touch(300)))
    assert work.instructions == pytest.approx(300, abs=3)
    assert work.tool == "cpu test"


def test_it_counts_again_from_zero(counter):
    first, second = (counter.count(lambda: touch(100)).events["instructions"] for _ in range(2))
    assert second < first + 10


def test_it_stops_counting_when_the_call_fails(counter):
    with pytest.raises(ZeroDivisionError):
        counter.count(lambda: 1 / 0)
    touch(500)
    assert counter.count(lambda: None).events["instructions"] < 50


def test_an_event_that_the_machine_lacks_is_unavailable():
    with pytest.raises(CountingUnavailable, match="apt-get install valgrind"):
        CpuCounter((0, 10_000))


def test_another_architecture_is_unavailable(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "s390x")
    with pytest.raises(CountingUnavailable, match="s390x"):
        CpuCounter()
