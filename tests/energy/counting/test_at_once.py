"""Several counting workers at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_energy.commits import counted
from pytest_energy.commits.counted import (
    FEWEST_TESTS_A_WORKER,
    CountSettings,
    count_sides,
    parts,
)
from pytest_energy.commits.worker_arguments import Side
from pytest_energy.counting import at_once
from pytest_energy.counting.process import CountOrder
from pytest_energy.errors import CountingUnavailable


def order_of(*tests):
    return CountOrder(
        *("python", Path(), (), (), (), Path(), "", tests, 300.0, Path()),
    )


@pytest.fixture
def workers(monkeypatch):
    """What a worker does, by its first test; it starts a process that would sleep for ever."""
    behaviours, ended = {}, []

    def count_tests(order):
        process = subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True
        )
        try:
            order.on_start(process.pid)
            yield from behaviours.get(order.tests[0], lambda order, process: [])(order, process)
        finally:
            process.kill()
            ended.append((order.tests[0], process.wait()))

    monkeypatch.setattr(at_once, "count_tests", count_tests)
    return behaviours, ended


def test_workers_count_at_once_and_answer_in_the_order_asked(workers):
    both = threading.Barrier(2, timeout=30)

    def meet(order, process):
        both.wait()  # neither would come here if they counted one after the other
        for test in order.tests:
            yield test, {"number": test}

    workers[0].update(a=meet, c=meet)
    found = at_once.count_at_once([order_of("a", "b"), order_of("c")], 2)
    assert found == [{"a": {"number": "a"}, "b": {"number": "b"}}, {"c": {"number": "c"}}]


def test_what_one_order_raises_ends_the_other_workers(workers):
    behaviours, ended = workers
    hangs = threading.Event()

    def refuse(order, process):
        hangs.wait()
        raise CountingUnavailable("no tests")

    def hang(order, process):
        hangs.set()
        process.wait()  # until it is killed
        yield "b", {}

    behaviours.update(a=refuse, b=hang)
    with pytest.raises(CountingUnavailable, match="no tests"):
        at_once.count_at_once([order_of("a"), order_of("b"), order_of("c")], 2)
    assert ("b", -signal.SIGKILL) in ended


def test_ctrl_c_before_all_workers_have_begun_starts_none(workers, monkeypatch):
    _, ended = workers
    submit, begun = at_once.ThreadPoolExecutor.submit, []

    def submit_one(pool, *args):
        if begun:
            raise KeyboardInterrupt
        begun.append(submit(pool, *args))
        return begun[0]

    monkeypatch.setattr(at_once.ThreadPoolExecutor, "submit", submit_one)
    with pytest.raises(KeyboardInterrupt):
        at_once.count_at_once([order_of("a"), order_of("b")], 2)
    assert begun and ended == []


def test_ctrl_c_ends_all_workers(workers):
    behaviours, ended = workers
    # A shell starts a job in the background with this signal ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def interrupt(order, process):
        os.kill(os.getpid(), signal.SIGINT)
        process.wait()
        yield "a", {}

    behaviours.update(a=interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            at_once.count_at_once([order_of("a")], 1)
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended == [("a", -signal.SIGKILL)]


@pytest.mark.parametrize(
    ("tests", "workers", "sizes"), [(50, 2, [25, 25]), (7, 4, [7]), (0, 2, [0])]
)
def test_a_worker_counts_neighbouring_tests(tests, workers, sizes):
    names = [str(number) for number in range(tests)]
    found = list(parts(names, workers))
    assert [len(each) for each in found] == sizes
    assert [name for part in found for name in part] == names


@pytest.mark.parametrize(
    ("workers", "tolerance", "orders"), [(1, 0.01, 2), (2, 0.01, 2), (4, 0.01, 4), (8, 0.005, 8)]
)
def test_sides_and_processes_share_the_workers(monkeypatch, workers, tolerance, orders):
    """No more workers than can count at once, and one that keeps the dumps of a test."""
    asked = []

    def count_at_once(orders, workers):
        asked.extend(orders)
        return [{test: {"failed": "canned"} for test in order.tests} for order in orders]

    monkeypatch.setattr(counted, "count_at_once", count_at_once)
    sides = [
        Side(name, "python", Path(name), (), (), (), Path(name), "") for name in ("old", "new")
    ]
    names = [str(number) for number in range(24)]
    settings = CountSettings(300.0, tolerance, keep=Path("kept"), workers=workers)
    janitor = SimpleNamespace(folder=Path(), watch=int)
    found = count_sides(sides, names, settings, janitor)
    assert [list(side) for side in found] == [names, names]
    assert len(asked) == orders
    keeping = [order for order in asked if order.keep]
    assert sorted((test for order in keeping for test in order.tests), key=int) == names
    assert {order.folder for order in keeping} == {Path("new")}


def test_few_tests_are_not_worth_a_worker_more():
    names = [str(number) for number in range(10 * FEWEST_TESTS_A_WORKER)]
    assert min(len(part) for part in parts(names, 64)) >= FEWEST_TESTS_A_WORKER
