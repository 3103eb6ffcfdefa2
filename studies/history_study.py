"""What `pytest-energy history` finds, its false findings, and its cost. Run by hand::

    python -m studies.history_study            # the tables of docs/history.md
    python -m studies.history_study --quick    # without the 3 000 runs, which take 1.5 GB of disk

Needs Apache Otava (the extra `history`) and a Unix (os.wait4).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pytest_energy.runs import history
from pytest_energy.runs.history import _ChangeFinder
from tests.energy.rigs.saved_runs import Runs, name_of, write_runs

# (benchmark, run from 0): factor
PLANTED = {(7, 60): 1.05, (23, 150): 1.10, (41, 240): 0.94}
NEAR_RUNS = 2
SERIES_RUNS = 300
P_VALUES = (1e-3, 1e-4, history.MAX_P_VALUE)


def command(folder: Path) -> tuple[dict, float, float]:
    """The command's JSON, its seconds with the start of Python, and its peak MiB."""
    with tempfile.TemporaryFile("w+") as output:
        began_s = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest_energy", "history", "--format=json", str(folder)],
            stdout=output,
        )
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began_s
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"history ended with {process.returncode}")
        output.seek(0)
        return (
            json.load(output),
            seconds,
            used.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10),
        )


def folders(n_runs: int, seed: int) -> None:
    """A folder of runs with the planted changes: which ones are found, and the cost."""
    with tempfile.TemporaryDirectory() as folder:
        scale = n_runs / SERIES_RUNS
        steps = {(which, round(at * scale)): factor for (which, at), factor in PLANTED.items()}
        write_runs(Path(folder), Runs(n_runs, 60, steps, seed=seed))
        document, seconds, mib = command(Path(folder))
    found, false = set(), 0
    for benchmark in document["groups"][0]["benchmarks"]:
        for change in benchmark["changes"]:
            near = [
                step
                for step in steps
                if name_of(step[0]) == benchmark["name"]
                and abs(step[1] - change["index"]) <= NEAR_RUNS
            ]
            found |= {(step, change["metric"]) for step in near}
            false += not near
    print(
        f"| {n_runs} × 60 | {seed} | {len(found)} of {2 * len(steps)} | {false} | {seconds:.1f} "
        f"| {mib:.0f} |",
        flush=True,
    )


def chances(p_value: float, n: int = 600) -> None:
    """In n series of one spread: false changes without a step, and steps of 5 % that are found."""
    history.MAX_P_VALUE = p_value
    find, dice = _ChangeFinder(), random.Random(1)
    false = found = 0
    for _ in range(n):
        false += len(find([math.exp(dice.gauss(0, 0.02)) for _ in range(SERIES_RUNS)]))
        at = dice.randrange(20, SERIES_RUNS - 20)
        stepped = find(
            [math.exp(dice.gauss(0, 0.02) + 0.05 * (i >= at)) for i in range(SERIES_RUNS)]
        )
        found += any(abs(change[0] - at) <= NEAR_RUNS for change in stepped)
    print(f"| {p_value:g} | {false} in {n} series | {found} of {n} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    print(
        "| runs × benchmarks | seed | planted found within 2 runs, joules and seconds | false | "
        "s | MiB |\n|---|---|---|---|---|---|"
    )
    for seed in range(3):
        folders(SERIES_RUNS, seed)
    if not options.quick:
        folders(1000, 0)
        folders(3000, 0)
    print(
        "\n| p-value | false changes | steps of 5 % found within 2 runs, spread 2 % "
        "|\n|---|---|---|"
    )
    for p_value in P_VALUES:
        chances(p_value)


if __name__ == "__main__":
    main()
