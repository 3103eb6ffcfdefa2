"""Windows, warm-up and calls per window, with a meter that has known joules."""

import asyncio
import concurrent.futures
import gc
import itertools
import math
import sys
from functools import partial

import pytest

from pytest_energy import figures, measure
from pytest_energy.errors import FixtureMisuse, MeterFailed, OptionError
from pytest_energy.measuring.single import (
    FEWEST_WINDOWS,
    call_once,
    calls_per_window,
    find_warnings,
    measure_prepared,
    warm_up,
)
from pytest_energy.measuring.window import aligned_window, idle_windows, is_slow, plain_window
from pytest_energy.meters import info
from pytest_energy.model import Domain, Measurement, Reading, window_between
from pytest_energy.plan import Plan
from tests.energy.rigs.clock_meter import ClockMeter, VirtualClock

SHORT = Plan(max_time_s=1.0)


@pytest.fixture
def clock(monkeypatch):
    """A virtual clock for single.py and window.py. Only `work` and readings advance it."""
    clock = VirtualClock()
    for module in ("pytest_energy.measuring.single", "pytest_energy.measuring.window"):
        monkeypatch.setattr(sys.modules[module], "now_s", clock)
    monkeypatch.setattr(sys.modules["pytest_energy.measuring.window"], "sleep", clock.work)
    # The CPU seconds of other processes come from the real machine, which may be busy.
    monkeypatch.setattr(sys.modules["pytest_energy.measuring.window"], "cpu_seconds", lambda: None)
    return clock


def test_joules_per_call_are_power_times_time(clock):
    seen = figures(
        measure(clock.work, 0.002, meter=ClockMeter(watts=30.0, clock=clock), plan=SHORT)
    )
    assert seen.joules.value == pytest.approx(30.0 * seen.seconds.value, rel=0.02)
    assert seen.seconds.low <= seen.seconds.value <= seen.seconds.high
    assert seen.watts.value == pytest.approx(30.0, rel=0.02)


def test_a_domain_inside_another_is_not_counted_twice(clock):
    seen = figures(measure(clock.work, meter=ClockMeter(watts=10.0, clock=clock), plan=SHORT))
    assert seen.domains["core-0"] == pytest.approx(seen.joules.value / 2, rel=0.01)
    assert seen.watts.value == pytest.approx(10.0, rel=0.02)


@pytest.mark.parametrize(
    "counter",
    [
        {"update_interval_s": 1e-3},
        {"watts": 1.0, "update_interval_s": 1e-4, "resolution_joules": 1e-3},
        {"watts": 0.5, "update_interval_s": 1e-4, "resolution_joules": 4e-3},
    ],
    ids=["lag", "coarse steps", "no step in the trial window"],
)
def test_windows_are_long_enough_for_the_counter(counter, clock):
    meter = ClockMeter(clock=clock, **counter)
    plan = Plan(max_time_s=5.0, max_quantisation=0.02)
    calls = calls_per_window(meter, clock.work, 0.001, plan)
    window = plain_window(meter, clock.work, calls, None)
    assert info(meter).quantisation(window) <= plan.max_quantisation * 1.5


@pytest.mark.parametrize("update_interval_s", [0.02, 0.1])
def test_windows_on_a_slow_counter_err_by_at_most_a_call(update_interval_s, clock):
    """Without alignment, a 100 ms counter changes a 300 ms window by up to a third."""
    meter = ClockMeter(watts=50.0, update_interval_s=update_interval_s, clock=clock)
    call_s = 0.002
    window = aligned_window(meter, lambda: clock.work(call_s), int(0.3 / call_s), None)
    joules = window.joules["package-0"]
    assert joules == pytest.approx(50.0 * window.seconds, rel=3 * call_s / window.seconds)
    assert window.seconds_per_call == pytest.approx(call_s, rel=0.3)


def test_short_calls_on_a_slow_counter_never_read_zero(clock):
    meter = ClockMeter(watts=50.0, update_interval_s=0.1, clock=clock)
    measurement = measure(clock.work, 0.0001, meter=meter, plan=SHORT)
    assert all(window.joules["package-0"] > 0 for window in measurement.windows)


def test_a_frozen_counter_is_an_error(clock):
    meter = ClockMeter(update_interval_s=0.02, frozen_after_s=0.0, clock=clock)
    with pytest.raises(MeterFailed, match="package-0.*did not move.*frozen"):
        measure(clock.work, meter=meter, plan=SHORT)


def test_a_counter_that_never_moves_gives_no_joules_and_a_warning(clock):
    measurement = measure(clock.work, meter=ClockMeter(watts=1e-9, clock=clock), plan=SHORT)
    assert figures(measurement).joules is None
    assert figures(measurement).watts is None
    assert any("did not move" in warning for warning in measurement.warnings)


def test_a_call_shorter_than_the_loop_overhead_gets_a_warning(clock):
    measurement = measure(clock.work, 1e-7, meter=ClockMeter(clock=clock), plan=SHORT)
    assert any("for the call itself" in warning for warning in measurement.warnings)


def test_the_garbage_collector_is_off_within_windows_only(clock):
    seen = []
    measure(
        lambda: (seen.append(gc.isenabled()), clock.work()),
        meter=ClockMeter(clock=clock),
        plan=Plan(max_time_s=0.2),
    )
    assert gc.isenabled()
    assert seen[-1] is False


def test_an_exception_of_the_code_reaches_the_caller_unchanged(clock):
    calls = []

    def fails_later():
        calls.append(None)
        clock.work(0.0002)
        if len(calls) > 50:
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        measure(fails_later, meter=ClockMeter(clock=clock), plan=SHORT)
    assert gc.isenabled()


def test_slow_calls_get_fewer_windows_and_a_warning(clock):
    measurement = measure(
        clock.work, 0.1, meter=ClockMeter(clock=clock), plan=Plan(max_time_s=0.25)
    )
    assert 1 <= len(measurement.windows) < FEWEST_WINDOWS
    assert any("too few for an interval" in warning for warning in measurement.warnings)
    assert figures(measurement).seconds.high == float("inf")


def test_a_call_of_ten_minutes_runs_at_most_four_times(clock):
    calls = []
    measurement = measure(
        lambda: calls.append(clock.work(600.0)), meter=ClockMeter(clock=clock, watts=30.0)
    )
    assert len(calls) <= 4
    assert figures(measurement).joules.value == pytest.approx(18_000.0, rel=0.001)
    assert any("too few for an interval" in warning for warning in measurement.warnings)


def test_setup_and_teardown_run_outside_the_windows(clock):
    log = []

    def calls():
        while True:
            log.append("setup")
            yield lambda: (log.append("call"), clock.work())
            log.append("teardown")

    measurement = measure_prepared(
        calls(), ClockMeter(clock=clock), Plan(max_time_s=0.05), "prepared"
    )
    assert log[:3] == ["setup", "call", "teardown"]
    assert log.count("call") == len(measurement.windows) + 1
    assert all(window.calls == 1 for window in measurement.windows)


def test_each_reading_waits_for_queued_work(clock):
    waits = []
    plan = Plan(max_time_s=0.2, synchronize=lambda: waits.append(None))
    meter = ClockMeter(clock=clock)
    measure(clock.work, meter=meter, plan=plan)
    assert len(waits) == meter.reads


def test_idle_windows_hold_no_calls(clock):
    windows = idle_windows(ClockMeter(watts=7.0, clock=clock))
    assert {window.calls for window in windows} == {0}
    assert sum(w.joules["package-0"] for w in windows) / sum(
        w.seconds for w in windows
    ) == pytest.approx(7.0, rel=0.02)


def test_net_joules_subtract_the_idle_power(clock):
    measurement = measure(clock.work, meter=ClockMeter(watts=7.0, clock=clock), plan=SHORT)
    with_idle = type(measurement)(
        measurement.name,
        measurement.meter,
        measurement.windows,
        idle_windows(ClockMeter(watts=7.0, clock=clock)),
    )
    assert figures(measurement).net_joules is None
    assert abs(figures(with_idle).net_joules.value) < 0.05 * figures(with_idle).joules.value


def test_warm_up_returns_the_settled_time_of_a_call(clock):
    slow_first = iter([0.05, 0.03])
    assert warm_up(lambda: clock.work(next(slow_first, 0.001)), 0.5) == pytest.approx(
        0.001, rel=0.2
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_time_s", 0),
        ("max_time_s", float("inf")),
        ("alpha", 0.5),
        ("tolerance", 0),
        ("max_quantisation", 2),
    ],
)
def test_an_invalid_plan_is_refused(field, value):
    with pytest.raises(OptionError, match=repr(value).replace("(", r"\(")):
        Plan(**{field: value})


def test_windows_do_not_wait_for_a_domain_that_stands_still(clock):
    """One GPU is busy and another is idle; windows align with the counter that moves."""

    class Uneven(ClockMeter):
        domains = (Domain("gpu-0"), Domain("gpu-1"))

        def read(self):
            at_s, joules = super().read()
            return Reading(at_s, {"gpu-0": joules["package-0"], "gpu-1": 5.0})

    meter = Uneven(watts=50.0, update_interval_s=0.1, clock=clock)
    meter.domains = Uneven.domains
    window = aligned_window(meter, clock.work, 300, None)
    assert window.joules["gpu-0"] == pytest.approx(50.0 * window.seconds, rel=0.01)
    assert window.joules["gpu-1"] == 0


class SampledMeter(ClockMeter):
    """Integrates watts that are refreshed every 100 ms: each reading differs, without ticks."""

    ticks = False

    def __init__(self, clock, watts_at):
        super().__init__(update_interval_s=0.1, clock=clock)
        self._watts_at = watts_at
        self._joules, self._at_s = 0.0, clock()

    def read(self):
        now_s = self._clock()
        self._joules += (now_s - self._at_s) * self._watts_at(math.floor(now_s / 0.1) * 0.1)
        self._at_s = now_s
        return Reading(now_s, {"package-0": self._joules, "core-0": 0.0})


def test_windows_without_ticks_err_by_the_age_of_the_register(clock):
    meter = SampledMeter(clock, lambda at_s: 20.0)
    window = plain_window(meter, clock.work, 500, None)
    assert info(meter).quantisation(window) == pytest.approx(0.1 / window.seconds, rel=0.01)
    assert not is_slow(meter)


def test_a_meter_without_ticks_gets_enough_windows_and_a_warning(clock):
    measurement = measure(
        clock.work, meter=SampledMeter(clock, lambda at_s: 20.0), plan=Plan(max_time_s=5.0)
    )
    assert len(measurement.windows) >= FEWEST_WINDOWS
    assert all(window.seconds >= 0.5 for window in measurement.windows)
    assert any(
        "too coarse" in warning and "--energy-max-time" in warning
        for warning in measurement.warnings
    )
    patient = measure(
        clock.work, meter=SampledMeter(clock, lambda at_s: 20.0), plan=Plan(max_time_s=100.0)
    )
    assert patient.warnings == ()


def test_long_calls_on_a_slow_counter_need_few_calls_per_window(clock):
    """A call as long as three updates does not need windows of a hundred calls."""
    meter = ClockMeter(update_interval_s=0.1, clock=clock)
    calls = calls_per_window(meter, lambda: clock.work(0.3), 0.3, Plan())
    assert calls * 0.3 == pytest.approx(0.1 / Plan().max_quantisation, rel=0.05)


def test_one_window_without_joules_gets_a_warning(clock):
    meter = ClockMeter(watts=50.0, update_interval_s=0.1, clock=clock)
    windows = [plain_window(meter, lambda: clock.work(0.15), 1, None) for _ in range(8)]
    quiet = type(windows[0])(0.005, {"package-0": 0.0, "core-0": 0.0}, 1)
    measurement = Measurement("m", info(meter), (*windows, quiet), ())
    assert figures(measurement).joules is None
    assert any(
        "did not move in 1 of 9 windows" in warning
        for warning in find_warnings(meter, measurement.windows, SHORT)
    )


def test_the_time_of_the_readings_is_subtracted_from_the_window(clock):
    class Slow(ClockMeter):
        def read(self):
            reading = super().read()
            clock.work(0.001)  # a slow driver
            return reading

    meter = Slow(watts=10.0, clock=clock)
    window = plain_window(meter, lambda: clock.work(0.01), 1, None)
    assert window.seconds == pytest.approx(0.01, rel=0.01)
    assert window.joules["package-0"] == pytest.approx(0.1, rel=0.02)
    assert meter.reads == 2


def test_negligible_reading_time_is_not_subtracted(clock):
    meter = ClockMeter(watts=10.0, clock=clock)
    before_s = clock.now_s
    window = plain_window(meter, lambda: clock.work(0.5), 1, None)
    assert window.seconds == pytest.approx(clock.now_s - before_s, abs=5 * clock.LOOK_S)
    assert window.joules["package-0"] % meter.resolution_joules == pytest.approx(0, abs=1e-9)


def test_overlapping_windows_on_one_meter_are_both_correct(clock):
    """Windows may nest and overlap, because a reading does not change the meter."""
    meter = ClockMeter(watts=8.0, clock=clock)
    outer = meter.read()
    clock.work(0.5)
    inner = meter.read()
    clock.work(0.25)
    outer_end = meter.read()  # the first window ends before the second
    clock.work(0.25)
    inner_end = meter.read()
    assert window_between(outer, outer_end, 1).joules["package-0"] == pytest.approx(
        8.0 * 0.75, rel=0.001
    )
    assert window_between(inner, inner_end, 1).joules["package-0"] == pytest.approx(
        8.0 * 0.5, rel=0.001
    )


def test_nested_measurements_are_both_correct(clock):
    meter = ClockMeter(watts=8.0, clock=clock)
    inner = []

    def nested():
        inner.append(plain_window(meter, clock.work, 50, None))
        clock.work(0.05)

    outer = plain_window(meter, nested, 1, None)
    assert inner[0].joules["package-0"] == pytest.approx(8.0 * 0.05, rel=0.02)
    assert outer.joules["package-0"] == pytest.approx(8.0 * 0.1, rel=0.02)


def test_an_exception_in_a_window_does_not_affect_the_next(clock):
    meter = ClockMeter(watts=8.0, clock=clock)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            plain_window(meter, lambda: clock.work(0.01) or 1 / 0, 1, None)
    assert plain_window(meter, clock.work, 100, None).joules["package-0"] == pytest.approx(
        0.8, rel=0.02
    )


class FailingMeter(ClockMeter):
    """Raises in reading number n, from 1, if ``fails(n)`` is true."""

    def __init__(self, fails, **keywords):
        super().__init__(**keywords)
        self.fails = fails

    def read(self):
        if self.fails(self.reads + 1):
            self.reads += 1
            raise MeterFailed(f"reading {self.reads} went wrong")
        return super().read()


@pytest.mark.parametrize("update_interval_s", [1e-4, 0.1])
def test_a_void_window_is_taken_again_and_reported(clock, update_interval_s):
    meter = FailingMeter(
        lambda number: number in (9, 40),
        watts=30.0,
        clock=clock,
        update_interval_s=update_interval_s,
    )
    measurement = measure(clock.work, 0.002, meter=meter, plan=Plan(max_time_s=5.0))
    assert figures(measurement).watts.value == pytest.approx(30.0, rel=0.02)
    assert "2 windows were void and taken again: reading 40 went wrong" in measurement.warnings[0]


def test_a_void_window_loses_only_one_prepared_call(clock):
    meter = FailingMeter(lambda number: number == 6, watts=30.0, clock=clock)
    measurement = measure_prepared(
        (lambda: clock.work(0.02) for _ in range(60)), meter, Plan(max_time_s=1.0), "prepared"
    )
    assert all(
        window.joules["package-0"] / window.seconds == pytest.approx(30.0, rel=0.02)
        for window in measurement.windows
    )
    assert "a window was void and taken again: reading 6 went wrong" in measurement.warnings[0]


def test_a_meter_that_keeps_failing_ends_the_measurement(clock):
    calls = []
    meter = FailingMeter(lambda number: number > 4, clock=clock)
    with pytest.raises(MeterFailed, match="reading .* went wrong"):
        measure(lambda: calls.append(clock.work(0.02)), meter=meter, plan=SHORT)
    assert len(calls) < 200 and gc.isenabled()


def test_idle_windows_survive_a_failed_reading(clock):
    windows = idle_windows(FailingMeter(lambda number: number == 4, watts=7.0, clock=clock))
    assert [window.joules["package-0"] / window.seconds for window in windows] == [
        pytest.approx(7.0, rel=0.05)
    ] * len(windows)


class Ticket:
    """An awaitable of a type that the plugin does not know."""

    def __await__(self):
        yield


async def a_coroutine():
    return 1


async def an_async_generator():
    yield 1


def a_task():
    """A finished task, since asyncio warns of an unfinished one."""
    loop = asyncio.new_event_loop()
    task = loop.create_task(a_coroutine())
    loop.run_until_complete(task)
    loop.close()
    return task


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (a_coroutine, "a coroutine"),
        (an_async_generator, "an async generator"),
        (lambda: (step for step in range(3)), "a generator"),
        (partial(map, str, range(3)), "a lazy map"),
        (partial(zip, range(3), range(3)), "a lazy zip"),
        (partial(enumerate, "abc"), "a lazy enumerate"),
        (partial(itertools.starmap, pow, [(1, 2)]), "a lazy starmap"),
        (partial(itertools.islice, range(3), 2), "a lazy islice"),
        (concurrent.futures.Future, "a Future"),
        (a_task, "a Task"),
        (Ticket, "an awaitable Ticket"),
    ],
)
def test_a_call_that_returns_before_its_work_is_refused_with_a_remedy(call, kind):
    with pytest.raises(FixtureMisuse, match=f"returns {kind}, .*; measure lambda: "):
        measure(call, meter=ClockMeter(), plan=SHORT)


@pytest.mark.parametrize("result", [[1], iter([1]), zip, range(3), b"", None, Ticket])
def test_a_finished_result_is_returned(result):
    assert call_once(lambda: result) is result
