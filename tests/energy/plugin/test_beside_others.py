"""What the user reads where other programs, or a limit of the GPU, disturb a comparison."""

import importlib
import time

import pytest

from pytest_energy.meters.machine_cpu import MachineCpu
from pytest_energy.meters.nvml_clocks import ClockState
from tests.energy.rigs.clock_meter import ClockMeter

COMPARISON = """
def work():
    return sum(range(5000))

def test_v(energy):
    energy.versus(work, work)

def test_m(energy):
    energy(work)
"""
OPTIONS = (
    "--energy",
    "--energy-meter",
    "clock",
    "--energy-max-time",
    "0.5",
    "-p",
    "no:cacheprovider",
)


@pytest.fixture
def run(suite, monkeypatch):
    """Run both tests with a meter of a package, and return what the terminal shows."""

    def run_it(*options: str):
        suite.makepyfile(COMPARISON)
        return suite.runpytest_inprocess(*OPTIONS, *options)

    return run_it


def meter_class() -> type:
    """The rig as the entry point imports it, which is not the tests' own module."""
    found: type = importlib.import_module("clock_meter").ClockMeter
    return found


def test_others_joules_are_a_warning_and_their_share_a_detail(run, monkeypatch):
    """Others use as much CPU time as the code."""

    def cpu_seconds() -> MachineCpu:
        now_s = time.perf_counter()
        return MachineCpu(now_s, 2 * now_s)

    monkeypatch.setattr(meter_class(), "counts_other_processes", True)
    window = importlib.import_module("pytest_energy.measuring.window")
    monkeypatch.setattr(window, "cpu_seconds", cpu_seconds)
    result = run("-vv")
    counted = "other programs used 50% of the CPU time, and clock counts their joules as yours"
    corrected = "the ratios are corrected for their turns, the joules are not"
    result.stdout.fnmatch_lines(
        [
            f"warning: {counted}; {corrected}; end them (test_v)",
            f"warning: {counted}; end them (test_m)",
            "*other programs: 50% of the CPU time, their joules included",
        ]
    )


def test_a_limit_of_the_gpus_clock_is_a_warning(run, monkeypatch):
    state = ClockState(0, True, 1005.0)
    monkeypatch.setattr(meter_class(), "clock_state", lambda meter: state, raising=False)
    result = run()
    result.stdout.fnmatch_lines(
        [
            "warning: *in 100% of the baseline's windows (1005 MHz) and in 100% of the *(test_v)",
            "warning: *lowered the GPU's clock in 100% of the windows (1005 MHz)*(test_m)",
        ]
    )


def test_the_clock_meter_of_the_rigs_has_neither(run):
    assert not ClockMeter.counts_other_processes
    result = run()
    result.stdout.no_fnmatch_line("*other programs used*")
    result.stdout.no_fnmatch_line("*GPU*")
