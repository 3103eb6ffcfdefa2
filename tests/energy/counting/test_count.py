"""The least of a few counts, less the cost of counting; and Python functions by their bytecodes."""

from __future__ import annotations

import gc
import sys
from itertools import chain, repeat
from pathlib import Path

import pytest

from pytest_energy.counting import python_functions
from pytest_energy.counting.callgrind import Dump
from pytest_energy.counting.count import (
    MOST_COUNTS,
    MOST_WARM_UP_CALLS,
    count_overhead,
    count_work,
)
from pytest_energy.counting.python_functions import bytecodes_by_function

NOTHING = Dump({"instructions": 0}, {})


class ListedCounter:
    """Counts what a list says, and the last of it for ever."""

    tool = "a list"

    def __init__(self, *instructions: int):
        self._instructions = chain(instructions, repeat(instructions[-1]))

    def count(self, call):
        call()
        count = next(self._instructions)
        return Dump({"instructions": count, "data_reads": count // 4}, {"f": count - 10, "g": 10})


def test_the_least_count_is_kept_once_two_agree():
    calls = []
    work = count_work(lambda: calls.append(1), ListedCounter(1300, 1000, 1100, 1000), NOTHING)
    assert (work.instructions, work.spread, work.counts) == (1000, 0.0, 4)
    assert len(calls) == MOST_WARM_UP_CALLS + 4


def test_counts_that_never_agree_end_and_leave_their_spread():
    work = count_work(lambda: None, ListedCounter(*range(2000, 900, -100)), NOTHING)
    assert work.counts == MOST_COUNTS
    assert work.spread == pytest.approx(100 / 1100)


def test_the_cost_of_counting_is_taken_off():
    overhead = count_overhead(ListedCounter(120))
    work = count_work(lambda: None, ListedCounter(1120), overhead)
    assert work.events == {"instructions": 1000, "data_reads": 280 - 30}
    assert work.functions == {"f": 1000}  # g did nothing beyond the counting


def test_the_collector_is_off_in_a_count_and_on_again_after_it():
    seen = []
    count_work(lambda: seen.append(gc.isenabled()), ListedCounter(5), NOTHING)
    assert not any(seen[MOST_WARM_UP_CALLS:])
    assert gc.isenabled()


def test_an_exception_is_the_callers_and_leaves_the_collector_on():
    with pytest.raises(ZeroDivisionError):
        count_work(lambda: 1 / 0, ListedCounter(5), NOTHING)
    assert gc.isenabled()


def inner(n):
    return [i for i in range(n) if i % 3]


def outer(n):
    return len(inner(n)) + len(inner(2))


@pytest.fixture
def untraced():
    """Coverage traces these tests too."""
    before = sys.gettrace()
    sys.settrace(None)
    yield
    sys.settrace(before)


@pytest.mark.usefixtures("untraced")
def test_the_function_that_does_more_has_more_bytecodes():
    def of(name, n):
        return sum(
            count
            for function, count in bytecodes_by_function(lambda: outer(n)).items()
            if function.startswith(f"{Path(__file__).name}::{name}")  # with its comprehensions
        )

    assert of("outer", 50) == of("outer", 80)
    assert of("inner", 80) > of("inner", 50) * 1.3


@pytest.mark.usefixtures("untraced")
def test_bytecodes_are_the_same_each_time_and_leave_no_tracer():
    assert bytecodes_by_function(lambda: outer(30)) == bytecodes_by_function(lambda: outer(30))
    assert sys.gettrace() is None


@pytest.mark.usefixtures("untraced")
def test_a_call_of_too_many_bytecodes_is_given_up(monkeypatch):
    monkeypatch.setattr(python_functions, "MOST_BYTECODES", 100)
    assert bytecodes_by_function(lambda: outer(1000)) == {}
    assert sys.gettrace() is None
