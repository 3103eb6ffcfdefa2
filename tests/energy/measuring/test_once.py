"""Code that runs once: a window for each time, as a block and as a decorator."""

import asyncio

import pytest

from pytest_energy import figures, once
from pytest_energy.errors import FixtureMisuse
from pytest_energy.measuring.once import NothingMeasured
from tests.energy.rigs.clock_meter import ClockMeter, VirtualClock


@pytest.fixture
def rig():
    clock = VirtualClock()
    return clock, ClockMeter(watts=20.0, clock=clock)


def test_a_block_is_one_window_without_an_interval(rig):
    clock, meter = rig
    with once("load", meter=meter) as load:
        clock.work(0.5)
    (window,) = load.measurement.windows
    assert window.calls == 1
    assert window.seconds == pytest.approx(0.5, rel=1e-3)
    assert window.joules["package-0"] == pytest.approx(10.0, rel=1e-3)
    assert figures(load.measurement).seconds.high == float("inf")
    assert load.measurement.warnings == (
        "measured once, so there is no interval; 6 times give one",
    )


def test_a_decorated_function_returns_its_result_and_adds_a_window_a_call(rig):
    clock, meter = rig
    training = once(meter=meter)

    @training
    def train(steps):
        clock.work(steps)
        return steps

    assert [train(1 + step / 100) for step in range(6)][-1] == 1.05
    assert training.name.endswith("train")
    assert len(training.measurement.windows) == 6
    assert training.measurement.warnings == ()
    assert figures(training.measurement).seconds.high < 2


def test_an_error_in_the_block_is_the_users_and_leaves_no_window(rig):
    _, meter = rig
    load = once("load", meter=meter)
    with pytest.raises(ZeroDivisionError), load:
        1 / 0  # noqa: B018
    with pytest.raises(NothingMeasured, match="load has not run to its end yet"):
        _ = load.measurement
    assert str(load) == "load: not measured yet"
    with load:
        pass  # it can be used again


def test_a_block_cannot_contain_itself(rig):
    _, meter = rig
    load = once("load", meter=meter)
    with load, pytest.raises(FixtureMisuse, match="measured already"), load:
        pass


def test_a_coroutine_function_is_refused(rig):
    _, meter = rig

    @once("later", meter=meter)
    async def later(): ...

    with pytest.raises(FixtureMisuse, match="returns a coroutine"):
        asyncio.run(later())


def test_a_counter_that_stands_still_or_is_coarse_is_a_warning(rig):
    clock, _ = rig
    still = ClockMeter(frozen_after_s=0.0, clock=clock)
    with once("still", meter=still) as block:
        clock.work(0.5)
    assert "did not move in this block" in block.measurement.warnings[0]
    coarse = ClockMeter(update_interval_s=0.1, clock=clock)
    with once("coarse", meter=coarse) as block:
        clock.work(0.5)
    assert "too coarse for this block" in block.measurement.warnings[0]


def test_without_a_meter_one_is_opened_for_each_block():
    with once("sum") as block:
        sum(range(1000))
    assert block.measurement.meter.name
