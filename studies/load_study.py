"""What thousands of benchmarks in one run cost, and a simulated day of drift.

Run by hand, with nothing else running::

    python -m studies.load_study [--benchmarks 250 500 1000 2000]

The first table runs pytest on that many benchmarks with and without ``--energy``: the time beyond
the measuring itself is the plugin's. The second simulates 24 hours in which the machine's power
and speed swing, on a clock that only work advances.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from pytest_energy import figures, measure, versus
from pytest_energy.gate import Gate
from pytest_energy.meters import info
from pytest_energy.model import Reading
from pytest_energy.plan import Plan
from pytest_energy.verdicts import against_tolerance
from tests.energy.rigs.clock_meter import ClockMeter, VirtualClock

SUITE = """
import pytest

@pytest.mark.parametrize("number", range({count}))
def test_it(energy, number):
    energy(sum, range(10))
"""
# The measurements' own time: warm-up, calibration and windows.
CONFTEST = """
from pathlib import Path
from pytest_energy.plugin import SESSION

def pytest_sessionfinish(session):
    ours = session.config.stash.get(SESSION, None)
    if ours is not None:
        Path("measuring_s").write_text(repr(sum(spent.total_s for spent in ours.timings)))
"""
MEASURING = (
    "--energy",
    "--energy-meter=estimate",
    "--energy-max-time=0.05",
    "--benchmark-autosave",
)
DAY_S = 86_400.0
STEP_S = 600.0


@dataclass(frozen=True)
class Run:
    """One run of pytest."""

    seconds: float
    peak_mib: float


def run(folder: Path, *options: str) -> Run:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:hypothesispytest",
        "-p",
        "no:cacheprovider",
        *options,
    ]
    began_s = time.perf_counter()
    child = subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTEST_ENERGY_LOCK": str(folder / "lock")},
    )
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"pytest ended with {child.returncode} in {folder}")
    return Run(time.perf_counter() - began_s, usage.ru_maxrss / 1024)


def load_row(count: int) -> str:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "test_load.py").write_text(SUITE.format(count=count), encoding="utf8")
        (folder / "conftest.py").write_text(CONFTEST, encoding="utf8")
        (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf8")
        plain = run(folder)
        measured = run(folder, *MEASURING)
        measuring_s = float((folder / "measuring_s").read_text(encoding="utf8"))
        (saved,) = folder.glob(".benchmarks/*/*.json")
        own_ms = (measured.seconds - plain.seconds - measuring_s) / count * 1000
        return (
            f"| {count} | {plain.seconds:.1f} | {measured.seconds:.1f} | {measuring_s:.1f} | "
            f"{own_ms:.2f} "
            f"| {plain.peak_mib:.0f} | {measured.peak_mib:.0f} | "
            f"{saved.stat().st_size / count / 1000:.2f} |"
        )


class DriftingMeter(ClockMeter):
    """20 W that swing by 30 % over a day."""

    def read(self) -> Reading:
        reading = super().read()
        joules = energy_j(reading.joules["package-0"] / self.watts)
        joules = math.floor(joules / self.resolution_joules) * self.resolution_joules
        return Reading(reading.at_s, {"package-0": joules, "core-0": joules / 2})


def power_w(at_s: float) -> float:
    return 20.0 * (1 + 0.3 * math.sin(2 * math.pi * at_s / DAY_S))


def energy_j(until_s: float) -> float:
    """The integral of `power_w`."""
    turns = 2 * math.pi / DAY_S
    return 20.0 * (until_s + 0.3 * (1 - math.cos(turns * until_s)) / turns)


def drift_rows(seed: int) -> list[str]:
    clock, chance = VirtualClock(), random.Random(seed)
    for name in (
        "pytest_energy.measuring.single",
        "pytest_energy.measuring.window",
        "pytest_energy.measuring.paired",
    ):
        module = sys.modules[name]
        module.now_s = clock
        if hasattr(module, "sleep"):
            module.sleep = clock.work
    meter = DriftingMeter(clock=clock)
    plan = Plan()
    gate = Gate(tolerance=plan.tolerance)

    def call_s(factor: float) -> float:
        """1 ms, 20 % more or less in the course of two hours, with 2 % of noise."""
        return (
            0.001
            * factor
            * (1 + 0.2 * math.sin(2 * math.pi * clock.now_s / 7200))
            * chance.lognormvariate(0, 0.02)
        )

    verdicts: dict[float, dict[str, int]] = {1.0: {}, 1.05: {}}
    worst = 0.0
    began_s = clock.now_s
    while clock.now_s < began_s + DAY_S:
        for factor, seen in verdicts.items():
            comparison = versus(
                lambda: clock.work(call_s(1.0)),
                lambda factor=factor: clock.work(call_s(factor)),
                meter=meter,
                plan=plan,
                decided=lambda ratios: gate.decided(ratios, info(meter)),
                coin=chance,
            )
            verdict = against_tolerance("greenup", comparison.greenup, plan.tolerance, "").verdict
            seen[verdict] = seen.get(verdict, 0) + 1
        found = figures(measure(lambda: clock.work(0.001), meter=meter, plan=plan))
        # Reading the clock takes no time of a call.
        worst = max(worst, abs(found.joules.value / (power_w(clock.now_s) * 0.001) - 1))
        clock.work(STEP_S)
    rows = [
        f"| {factor:g} | {sum(seen.values())} | "
        f"{', '.join(f'{count} {name}' for name, count in sorted(seen.items()))} |"
        for factor, seen in verdicts.items()
    ]
    return [*rows, f"joules per call: at most {worst:.2%} from the truth"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--benchmarks", type=int, nargs="+", default=[250, 500, 1000, 2000])
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    print(
        "| benchmarks | s without | s with | of that measuring | own ms per test | MiB without | "
        "MiB with | kB of JSON per test |"
    )
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for count in asked.benchmarks:
        print(load_row(count), flush=True)
    print("\n| candidate takes | comparisons in 24 h | verdicts |\n|---|---|---|")
    print("\n".join(drift_rows(asked.seed)))


if __name__ == "__main__":
    main()
