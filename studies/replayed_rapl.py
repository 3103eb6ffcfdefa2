"""Published RAPL readings, replayed as a run: README's example with a sensor.

    python -m studies.replayed_rapl repeated_runs.json

The file holds runs of unchanged programs on one idle machine, each as seconds, package joules and
DRAM joules (Energy-Languages, github.com/nicovank/Energy-Languages, Apache-2.0). Run i of a C
program and run i of the Rust program are paired, four to a block, in the order ABBA.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from pytest_energy.gate import Gate
from pytest_energy.measuring.paired import comparison_of
from pytest_energy.model import Block, Domain, Measurement, MeterInfo, Result, Window
from pytest_energy.report.terminal import Look, summary
from pytest_energy.report.view import RunView

RAPL = MeterInfo("rapl (replayed)", "measured", (Domain("package"), Domain("dram")), 0.001, 6.1e-5)
PROGRAMS = ("fannkuch-redux", "n-body", "regex-redux", "spectral-norm")
# Ten blocks of four runs bound a ratio with this confidence, and not with 99 %.
ALPHA = 0.05
Runs = list[list[float]]


def compared(name: str, baseline: Runs, candidate: Runs) -> Result:
    """The two programs, paired in the order in which they were recorded."""
    a, b = (
        [Window(seconds, {"package": package, "dram": dram}, 1) for seconds, package, dram in side]
        for side in (baseline, candidate)
    )
    blocks = [
        Block("ABBA", (a[at], b[at], b[at + 1], a[at + 1]))
        for at in range(0, min(len(a), len(b)) - 1, 2)
    ]
    comparison = comparison_of("C", blocks, RAPL, ALPHA)
    result = Result(name, Measurement(name, RAPL, tuple(b)), comparison)
    return replace(result, verdicts=Gate().judge(result))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    programs = json.loads(parser.parse_args().file.read_text(encoding="utf8"))["programs"]
    runs = {each["program"]: each["runs"] for each in programs}
    results = [
        compared(f"Rust/{name}", runs[f"C/{name}"], runs[f"Rust/{name}"]) for name in PROGRAMS
    ]
    print(summary(RunView.of_results(results, RAPL, Gate().tolerance), Look(width=88)))


if __name__ == "__main__":
    main()
