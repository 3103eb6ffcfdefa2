"""Code under test that replaces the clocks changes no measurement, its own or a later one."""

from __future__ import annotations

import importlib
import json
import pkgutil
import time
from functools import partial
from pathlib import Path

import pytest

import pytest_energy
from pytest_energy.errors import MeterFailed
from pytest_energy.measuring.single import MOST_BATCHES, warm_up
from pytest_energy.measuring.window import plain_window
from pytest_energy.model import Reading
from tests.energy.rigs.clock_meter import ClockMeter

CLOCKS = ("perf_counter", "monotonic", "sleep", "process_time_ns", "thread_time_ns")
# This module runs as a script in a process without tests.
OWN_PROCESS = {"pytest_energy.commits.janitor"}

WORK = """
import time
from unittest import mock
import pytest
def work(): return sum(range(20_000))
"""
# freezegun replaces clocks the same way: in `time`, and in each module that imported the function.
SCAN = """
import sys
def replace_everywhere(monkeypatch, name, fake):
    real = getattr(time, name)
    monkeypatch.setattr(time, name, fake)
    for module in list(sys.modules.values()):
        for attribute, value in list(vars(module).items()):
            if value is real:
                monkeypatch.setattr(module, attribute, fake)
"""


def modules():
    for module in pkgutil.walk_packages(pytest_energy.__path__, "pytest_energy."):
        if not module.name.endswith("__main__"):
            yield importlib.import_module(module.name)


def test_no_module_holds_a_replaceable_clock():
    replaceable = {id(getattr(time, name)): name for name in CLOCKS}
    held = [
        f"{module.__name__}.{attribute}"
        for module in modules()
        for attribute, value in vars(module).items()
        if id(value) in replaceable
    ]
    assert held == []


def test_only_the_clock_module_reads_time():
    calls = [f"time.{name}(" for name in (*CLOCKS, "process_time", "thread_time")]
    readers = [
        module.__name__
        for module in modules()
        if module.__name__ not in OWN_PROCESS
        and any(call in Path(module.__file__).read_text(encoding="utf8") for call in calls)
    ]
    assert readers == []


def seconds_of(suite) -> dict[str, float]:
    """Median seconds per call of each test in the saved run."""
    run = json.loads((suite.path / "run.json").read_text())
    return {b["name"]: b["energy"]["seconds"]["value"] for b in run["benchmarks"]}


def measured(suite, text, tests):
    suite.makepyfile(WORK + text)
    done = suite.runpytest_subprocess(
        "--energy", "--energy-max-time=0.5", "--benchmark-json=run.json", timeout=60
    )
    done.assert_outcomes(passed=tests)
    return seconds_of(suite)


@pytest.mark.parametrize(
    "fake", ["lambda: 7.25", "iter(range(0, 10**9, 30)).__next__"], ids=["frozen", "jumping"]
)
def test_a_clock_replaced_everywhere_changes_no_measurement(suite, fake):
    seconds = measured(
        suite,
        SCAN
        + f"""
@pytest.mark.parametrize("name", ["perf_counter", "monotonic", "time", "process_time"])
def test_fake(energy, monkeypatch, name):
    replace_everywhere(monkeypatch, name, {fake})
    energy(work)
def test_plain(energy): energy(work)
""",
        5,
    )
    assert len(seconds) == 5
    plain = seconds["test_plain"]
    assert all(plain / 5 < value < plain * 5 for value in seconds.values())


@pytest.mark.slow
def test_freezegun_changes_no_measurement_in_any_mode(suite):
    pytest.importorskip("freezegun")
    seconds = measured(
        suite,
        """
from freezegun import freeze_time
@freeze_time("1999-12-31", tick=True)
def test_tick(energy): energy.versus(work, work)
@freeze_time("2031-05-06", auto_tick_seconds=15)
@pytest.mark.energy(max_seconds=1.0)
def test_auto_tick(energy): energy(work)
@freeze_time("1985-10-26")
def test_benchmark(benchmark): benchmark.pedantic(work, rounds=3)
def test_plain(energy): energy(work)
""",
        4,
    )
    plain = seconds["test_plain"]
    assert all(plain / 5 < value < plain * 5 for value in seconds.values())


def test_a_meter_with_a_replaced_clock_is_refused():
    class Frozen(ClockMeter):
        def read(self):
            return Reading(3.5, {"package-0": 1.0, "core-0": 0.5})

    with pytest.raises(MeterFailed, match=r"clock moved by 0 s in 10 calls"):
        plain_window(Frozen(), partial(sum, range(100)), 10, None)


def test_warm_up_ends_when_the_clock_stands_still(monkeypatch):
    calls = []
    for module in ("single", "window"):
        monkeypatch.setattr(f"pytest_energy.measuring.{module}.now_s", lambda: 1.0, raising=False)
    warm_up(partial(calls.append, None), 1e-4)
    assert len(calls) <= MOST_BATCHES * 1000
