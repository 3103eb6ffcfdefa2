"""What one start of the processes gives: how many blocks, in which orders."""

import random
from dataclasses import replace
from types import SimpleNamespace

import pytest

from pytest_energy.commits import starts
from pytest_energy.commits.starts import WindowSizes, blocks_of_start, looks
from pytest_energy.model import Window
from pytest_energy.plan import Plan


class Clock:
    def __init__(self, monkeypatch):
        self.now_s = 0.0
        monkeypatch.setattr(starts, "now_s", lambda: self.now_s)

    def side(self, seconds_of_window):
        def window(calls, meter, plan, warms_up):
            seconds = next(seconds_of_window)
            self.now_s += seconds
            return Window(seconds, {}, calls)

        return SimpleNamespace(
            calls_per_window=lambda: SimpleNamespace(calls=1, seconds_per_call=0.002),
            window=window,
            waiting_share=lambda: 0.4,
        )


def take(monkeypatch, seconds_of_window):
    clock = Clock(monkeypatch)
    sides = {letter: clock.side(seconds_of_window) for letter in "AB"}
    return blocks_of_start(sides, "BAAB", 3, None, WindowSizes(), Plan(), random.Random(1))


def test_an_alarm_of_a_large_suite_needs_more_starts():
    assert looks(0.01, 0.01) == [11, 16, 22, 33]
    assert looks(0.01, 0.001) == [11, 16, 28, 42]


def test_each_order_as_often_as_the_other(monkeypatch):
    blocks = take(monkeypatch, iter(lambda: 0.002, None))
    assert len(blocks) == pytest.approx(2 + starts.SHORTEST_S / 0.008, abs=2)
    orders = [block.order for block in blocks]
    assert orders[0] == "BAAB"
    assert orders.count("ABBA") == orders.count("BAAB")
    assert {block.replicate for block in blocks} == {3}


def test_threads_that_wait_in_half_of_the_starts_are_reported(monkeypatch):
    sizes = WindowSizes()
    assert sizes.waiting_share == 0.0
    clock = Clock(monkeypatch)
    sides = {letter: clock.side(iter(lambda: 0.05, None)) for letter in "AB"}
    for number in range(3):
        blocks_of_start(sides, "ABBA", number, None, sizes, Plan(), random.Random(1))
    assert sizes.waiting_shares == [0.4] * 6
    assert sizes.waiting_share == 0.4


def test_a_neighbour_in_the_first_block_alone_does_not_make_the_start_short(monkeypatch):
    """0.1 s for that block once left one block of 24."""
    first = iter([0.025] * 4)
    blocks = take(monkeypatch, iter(lambda: next(first, 0.002), None))
    assert len(blocks) >= 2 + starts.SHORTEST_S / 0.008


@pytest.mark.parametrize("seconds", [{"A": 0.002, "B": 0.001}, {"A": 0.001, "B": 0.002}])
def test_a_start_lasts_until_its_median_is_known_whichever_side_is_slower(monkeypatch, seconds):
    coin, clock = random.Random(2), Clock(monkeypatch)

    def noisy(usual_s):
        return clock.side(iter(lambda: usual_s * coin.uniform(1.0, 1.3), None))

    sides = {letter: noisy(usual_s) for letter, usual_s in seconds.items()}

    def spent_s(tolerance):
        plan = replace(Plan(), tolerance=tolerance)
        began_s = clock.now_s
        for _ in range(20):
            blocks_of_start(sides, "ABBA", 0, None, WindowSizes(), plan, random.Random(1))
        return (clock.now_s - began_s) / 20

    assert spent_s(0.4) < 0.06 < spent_s(0.12) < 0.1 < spent_s(0.001) < 0.13


def test_a_busy_machine_gives_fewer_blocks_in_the_same_time(monkeypatch):
    blocks = take(monkeypatch, iter(lambda: 0.02, None))
    assert len(blocks) == 4
    assert sum(window.seconds for block in blocks for window in block.windows) < 0.4


def test_a_window_that_takes_long_has_one_block(monkeypatch):
    sizes = WindowSizes({"A": 1, "B": 1})
    clock = Clock(monkeypatch)
    sides = {letter: clock.side(iter(lambda: 0.075, None)) for letter in "AB"}
    blocks = blocks_of_start(sides, "ABBA", 0, None, sizes, Plan(), random.Random(1))
    assert [block.order for block in blocks] == ["ABBA"]
