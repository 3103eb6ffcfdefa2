"""What a gate on saved runs does live: short runs of unchanged code, every second one disturbed.

Run by hand, with nothing else running (about 10 minutes)::

    python -m studies.live_runs_study [--runs 12] [--pause 25] [--seconds 4] [--keep FOLDER]

Each run is a pytest process with a handful of benchmarks; every second one runs beside a busy
neighbour. Nothing changes between the runs, so each "regressed" is a false alarm. `compare_runs`
compares them with its default rules, in pairs in both directions, and each against all others.
pytest-benchmark's mean:5% judges the same seconds. Without a sensor only seconds are judged.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from itertools import permutations
from pathlib import Path

from pytest_energy.runs.compare import compare_runs
from pytest_energy.runs.comparison import CompareOptions
from pytest_energy.runs.load import load_runs
from pytest_energy.runs.noise import DEFAULT_NOISE, Noise
from pytest_energy.runs.summary import RunSummary
from studies.live_verdicts import neighbours
from studies.saved_runs_study import MEAN_RULE

BENCHMARKS = """
import json
import re
import numpy as np

NUMBERS = np.random.default_rng(1).random(200_000)
MATRIX = np.random.default_rng(2).random((160, 160))
TEXT = "the quick brown fox " * 2000
RECORDS = [{"name": str(i), "value": i / 7} for i in range(500)]

def test_sort(energy): energy(np.sort, NUMBERS)
def test_matmul(energy): energy(np.matmul, MATRIX, MATRIX)
def test_loop(energy): energy(lambda: sum(i * i for i in range(20_000)))
def test_regex(energy): energy(lambda: len(re.findall(r"q[a-z]+k", TEXT)))
def test_json(energy): energy(lambda: json.loads(json.dumps(RECORDS)))
"""


def take_run(folder: Path, number: int, seconds: float, busy: bool) -> RunSummary:
    file = folder / f"{number:04}_run.json"
    with neighbours("1") if busy else nullcontext():
        subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "test_live.py",
                "--energy",
                f"--energy-max-time={seconds}",
                f"--benchmark-json={file}",
                "-p",
                "no:cacheprovider",
            ],
            cwd=folder,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            check=True,
            stdout=subprocess.DEVNULL,
        )
    return load_runs(file)[0]


def verdicts(
    sides: Iterable[tuple[Sequence[RunSummary], Sequence[RunSummary]]], noise: Noise
) -> Counter[str]:
    seen: Counter[str] = Counter()
    for old, new in sides:
        for row in compare_runs(old, new, CompareOptions(), noise).rows:
            seen.update(
                change.verdict.verdict for change in row.changes if change.metric == "speedup"
            )
    return seen


def mean_rule(sides: Iterable[tuple[Sequence[RunSummary], Sequence[RunSummary]]]) -> Counter[str]:
    """pytest-benchmark's rule, on the mean of a side's runs if there are several."""
    seen: Counter[str] = Counter()
    for old, new in sides:
        for name in old[0].benchmarks:
            was, now = (
                statistics.fmean(math.exp(run.benchmarks[name].log_seconds) for run in side)
                for side in (old, new)
            )
            seen["regressed" if now > MEAN_RULE * was else "passed"] += 1
    return seen


def show(runs: Sequence[RunSummary], which: str) -> None:
    pairs = [((old,), (new,)) for old, new in permutations(runs, 2)]
    others = [([run for run in runs if run is not new], (new,)) for new in runs]
    spread = statistics.median(
        statistics.stdev(run.benchmarks[name].log_seconds for run in runs)
        for name in runs[0].benchmarks
    )
    print(
        f"{which}: {len(runs)} runs; spread (SD) between runs of a benchmark, median: {spread:.1%}"
    )
    known = Noise(spread, spread, None, "the spread of these very runs")
    for name, sides in ((f"{len(pairs)} pairs", pairs), (f"{len(runs) - 1} against 1", others)):
        for rule, seen in (
            ("ours, default noise", verdicts(sides, DEFAULT_NOISE)),
            (f"ours, noise {spread:.1%}", verdicts(sides, known)),
            ("mean:5%", mean_rule(sides)),
        ):
            total = sum(seen.values())
            print(
                f"  {name:12} {rule:20} {seen['regressed']:4} false alarms of {total:4} "
                f"({seen['regressed'] / total:.1%}); "
                + ", ".join(
                    f"{count} {verdict}"
                    for verdict, count in seen.items()
                    if verdict != "regressed"
                )
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=12)
    parser.add_argument("--pause", type=float, default=25.0, help="seconds between runs")
    parser.add_argument("--seconds", type=float, default=4.0, help="for each of the 5 benchmarks")
    parser.add_argument("--keep", type=Path, help="keep the runs' files in this folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "test_live.py").write_text(BENCHMARKS)
        runs: list[RunSummary] = []
        for number in range(options.runs):
            if number:
                time.sleep(options.pause)
            runs.append(take_run(folder, number, options.seconds, busy=number % 2 == 1))
            print(f"run {number + 1} of {options.runs} done", file=sys.stderr, flush=True)
    show(runs, "all")
    show(runs[::2], "alone")
    show(runs[1::2], "beside a busy neighbour")


if __name__ == "__main__":
    main()
