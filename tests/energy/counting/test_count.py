"""The least of a few counts, less the cost of counting; and Python functions by their bytecodes."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
from itertools import chain, repeat
from pathlib import Path
from typing import ClassVar

import pytest

from pytest_energy.counting import count, python_functions
from pytest_energy.counting.callgrind import Dump
from pytest_energy.counting.count import (
    FEWEST_INSTRUCTIONS,
    FEWEST_WARM_UP_CALLS,
    MOST_COUNTS,
    MOST_WARM_UP_CALLS,
    WARM_UP_INSTRUCTIONS,
    WorkCounter,
    merge_counts,
)
from pytest_energy.counting.python_functions import bytecodes_by_function
from pytest_energy.model import CountedWork
from pytest_energy.plan import PROCESS_SPREAD


class ListedCounter:
    """Counts what a list says, and the last of it for ever. A call that does nothing costs 100."""

    tool = "a list"
    conditions: ClassVar = {"cache": "none"}

    def __init__(self, *instructions: int):
        self._instructions = chain(instructions, repeat(instructions[-1]))
        self.overhead = True

    def count(self, call):
        call()
        count = 100 if self.overhead else next(self._instructions)
        head = f"\nevents: Ir Dr\nsummary: {count} {count // 4}\n"
        lines = f"{head}fn=(1) f\n1 {count - 10}\nfn=(2) g\n1 10\n"
        return Dump(count, lines.encode())


def counter_of(*instructions, repeats=1):
    """A `WorkCounter` that knows already what counting costs."""
    listed = ListedCounter(*instructions)
    counter = WorkCounter(listed)
    counter._overhead(repeats)
    listed.overhead = False
    return counter


MILLION = 1_000_000


def nothing():
    pass


def test_the_least_count_is_kept_once_two_agree():
    counts = [1.4 * MILLION + 100, 1.1 * MILLION, MILLION + 100, MILLION + 700]
    work = counter_of(*map(int, counts)).count(nothing)
    assert (work.instructions, work.spread, work.counts) == (MILLION, PROCESS_SPREAD, 4)


def test_two_counts_are_enough():
    assert counter_of(MILLION).count(nothing).counts == 2


def test_counts_that_never_agree_end_and_leave_their_spread():
    work = counter_of(*range(21 * MILLION, 10 * MILLION, -MILLION)).count(nothing)
    assert work.counts == MOST_COUNTS
    assert work.spread == pytest.approx(1 / 12, rel=1e-4)


def test_the_cost_of_counting_is_taken_off():
    work = counter_of(MILLION + 100).count(nothing)
    assert work.events["instructions"] == MILLION
    assert work.events["data_reads"] == MILLION // 4
    assert work.functions == {"f": MILLION}  # g did nothing beyond the counting
    assert work.conditions == {"cache": "none"}


def test_a_tiny_call_is_repeated_in_one_count_and_given_per_call():
    calls = []
    counter = counter_of(FEWEST_INSTRUCTIONS // 8, 8100, repeats=8)
    work = counter.count(lambda: calls.append(1))
    assert work.instructions == 1000
    assert len(calls) > 2 * 8


@pytest.mark.parametrize(
    ("instructions", "warm_up_calls"),
    [
        (MILLION, MOST_WARM_UP_CALLS),
        (WARM_UP_INSTRUCTIONS // 10, 10),
        (WARM_UP_INSTRUCTIONS * 10, FEWEST_WARM_UP_CALLS),
    ],
)
def test_the_work_decides_how_many_calls_come_first_and_no_clock(instructions, warm_up_calls):
    calls = []
    counter_of(instructions).count(lambda: calls.append(1))
    first = count.FIRST_CALLS + FEWEST_WARM_UP_CALLS + 1
    assert len(calls) == first + warm_up_calls + 1


def test_a_call_that_waits_is_called_seldom_however_few_instructions_it_takes():
    calls = []

    def wait():
        calls.append(1)
        time.sleep(0.001)

    counter_of(FEWEST_INSTRUCTIONS // 100).count(wait)
    assert len(calls) == count.FIRST_CALLS + 2 * (FEWEST_WARM_UP_CALLS + 1)


def test_the_collector_is_off_in_a_count_and_on_again_after_it():
    seen = []
    counter_of(5).count_prepared(repeat(lambda: seen.append(gc.isenabled())))
    assert not any(seen)
    assert gc.isenabled()


def test_an_exception_is_the_callers_and_leaves_the_collector_on():
    with pytest.raises(ZeroDivisionError):
        counter_of(5).count(lambda: 1 / 0)
    assert gc.isenabled()


def test_preparation_is_not_counted_and_each_count_has_its_own():
    events = []

    def calls():
        while True:
            events.append("setup")
            yield lambda: events.append("call")
            events.append("teardown")

    counter_of(1100).count_prepared(calls())
    assert events[:3] == ["setup", "call", "teardown"]
    assert events.count("setup") - events.count("call") in (0, 1)


def counted(instructions, spread=0.002):
    return CountedWork("a list", {"instructions": instructions}, spread, 4, {"f": instructions})


def test_counts_of_several_processes_give_the_least_and_how_far_they_differ():
    merged = merge_counts([counted(1010), counted(1000), counted(1040)])
    assert (merged.instructions, merged.processes, merged.counts) == (1000, 3, 12)
    assert merged.spread == pytest.approx(0.01)
    assert merge_counts([counted(7)]) == counted(7)


def notes_of(call):
    counter = counter_of(1100)
    return counter.count_prepared(repeat(call)).notes


def test_a_call_that_starts_processes_is_noted():
    assert any(
        "starts processes" in note
        for note in notes_of(lambda: subprocess.run([sys.executable, "-c", ""], check=True))
    )
    assert not any("starts processes" in note for note in notes_of(lambda: None))


def test_a_call_in_several_threads_is_noted():
    going = threading.Event()
    thread = threading.Thread(target=going.wait)
    thread.start()
    try:
        assert any("threads" in note for note in notes_of(lambda: None))
    finally:
        going.set()
        thread.join()


def test_an_open_gpu_is_noted(tmp_path, monkeypatch):
    (tmp_path / "7").symlink_to("/dev/nvidia0")
    (tmp_path / "8").symlink_to("/dev/null")
    monkeypatch.setattr(count, "PROCESS_FILES", tmp_path)
    assert any("GPU" in note for note in notes_of(lambda: None))


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
def test_bytecodes_leave_out_the_collector():
    def callback(phase, info):
        outer(3)

    gc.callbacks.append(callback)
    before = gc.get_threshold()
    gc.set_threshold(1)
    try:
        counted = bytecodes_by_function(lambda: [[] for _ in range(100)])
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(callback)
    assert not any("callback" in function for function in counted)
    assert gc.isenabled()


@pytest.mark.usefixtures("untraced")
def test_a_call_of_too_many_bytecodes_is_given_up(monkeypatch):
    monkeypatch.setattr(python_functions, "MOST_BYTECODES", 100)
    assert bytecodes_by_function(lambda: outer(1000)) == {}
    assert sys.gettrace() is None
