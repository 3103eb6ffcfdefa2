"""The gate on this machine beside a busy neighbour: a numpy function of 1 ms against 5 % more.

Run by hand, with nothing else running::

    python -m studies.gate_live             # 40 pairs of each kind; about 7 minutes
    python -m studies.gate_live 10          # fewer
    python -m studies.gate_live windows     # how long should a window be?

Ours uses the classes of the `energy` fixture with default options. pytest-benchmark measures the
same functions one batch after the other with its defaults; its rule mean:5% compares the means.
"""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter

import numpy as np

from pytest_energy.gate import Gate
from pytest_energy.measuring.paired import need_fresh_slices
from pytest_energy.measuring.single import yield_cpu
from pytest_energy.measuring.window import take_window
from pytest_energy.meters import info, open_meter
from pytest_energy.model import ORDERS, Block
from pytest_energy.options import Options
from pytest_energy.plan import Plan
from pytest_energy.plugin.fixtures import EnergyFixture
from pytest_energy.plugin.measuring_run import MeasuringRun
from pytest_energy.plugin.recorder import ThisTreeRecorder
from pytest_energy.stats.gps_up import fewest_blocks, gps_up
from studies.live_verdicts import neighbours

SEED = 20250704
PAIRS = 40
REPEATS, MORE_REPEATS = 100, 105
# Of a call for the study of windows: 0.2 ms, so that windows may be as short.
SHORT, MORE_SHORT = 20, 21
NUMBERS = np.random.default_rng(SEED).random(8000)
ROOTS = np.empty_like(NUMBERS)


def work(repeats: int) -> None:
    for _ in range(repeats):
        np.sqrt(NUMBERS, out=ROOTS)


baseline = partial(work, REPEATS)
slower = partial(work, MORE_REPEATS)


def seconds_of(call) -> float:
    times = []
    for _ in range(200):
        began = perf_counter()
        call()
        times.append(perf_counter() - began)
    return median(times)


def through_ours(pairs: int) -> None:
    kinds = [("unchanged", baseline), ("5 % more work", slower)] * pairs
    random.Random(SEED).shuffle(kinds)
    found: dict[str, list[str]] = {"unchanged": [], "5 % more work": []}
    times: dict[str, list[float]] = {"unchanged": [], "5 % more work": []}
    options = Options()
    session = MeasuringRun(options, open_meter())
    session.ensure_idle()
    for number, (kind, candidate) in enumerate(kinds):
        recorder = ThisTreeRecorder(
            session, f"pair {number}", Gate(tolerance=options.plan.tolerance), None
        )
        began = perf_counter()
        EnergyFixture(recorder).versus(baseline, candidate)
        times[kind].append(perf_counter() - began)
        found[kind].append(
            next(v.verdict for v in recorder.results()[-1].verdicts if v.metric == "speedup")
        )
    session.close()
    print(f"ours, meter {session.meter.name}, default options:")
    for kind, verdicts in found.items():
        counts = {
            v: verdicts.count(v) for v in ("regressed", "unchanged", "improved", "inconclusive")
        }
        slowest = quantiles(times[kind], n=10)[-1]
        took = f"{median(times[kind]):.2f} s median, {slowest:.2f} s the 90th of 100"
        print(
            f"  {kind:14s} {pairs} pairs: "
            + ", ".join(f"{n} {v}" for v, n in counts.items())
            + f"; time to verdict {took}"
        )
    print(f"  all: {median(times['unchanged'] + times['5 % more work']):.2f} s median", flush=True)


PYTEST_BENCHMARK_TEST = """
import pytest
from studies.gate_live import baseline, slower

# The two batches of a pair, one right after the other.
KINDS, SIDES = ("unchanged", "slower"), ("old", "new")
ORDERED = [(pair, kind, side) for pair in range({pairs}) for kind in KINDS for side in SIDES]

@pytest.mark.parametrize("pair, kind, side", ORDERED)
def test_it(benchmark, pair, kind, side):
    benchmark(slower if (kind, side) == ("slower", "new") else baseline)
"""


def through_pytest_benchmark(pairs: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        test, run = Path(folder, "test_it.py"), Path(folder, "run.json")
        test.write_text(
            PYTEST_BENCHMARK_TEST.format(pairs=pairs),
            encoding="utf8",
        )
        began = perf_counter()
        subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-p",
                "no:energy",
                "-p",
                "no:cacheprovider",
                "--rootdir",
                folder,
                f"--benchmark-json={run}",
                str(test),
            ],
            check=True,
            capture_output=True,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": os.getcwd()},
        )
        took_s = perf_counter() - began
        means = {
            entry["name"]: entry["stats"]["mean"]
            for entry in json.loads(run.read_text(encoding="utf8"))["benchmarks"]
        }
    print(
        "pytest-benchmark, default options, mean:5% on two batches one after the other "
        f"({took_s / (2 * pairs):.1f} s a pair):"
    )
    for kind in ("unchanged", "slower"):
        ratios = [
            means[f"test_it[{pair}-{kind}-new]"] / means[f"test_it[{pair}-{kind}-old]"]
            for pair in range(pairs)
        ]
        print(
            f"  {kind:14s} {pairs} pairs: {sum(ratio > 1.05 for ratio in ratios)} alarms; ratio "
            "of the means "
            f"{min(ratios):.3f} to {max(ratios):.3f}"
        )


def windows_study(seconds: float) -> None:
    """For several window lengths in random order: the spread of a block, the time to a verdict."""
    base, more = partial(work, SHORT), partial(work, MORE_SHORT)
    calls, call_s = (1, 2, 5, 10, 20, 50), seconds_of(more)
    blocks: dict[int, list[Block]] = {count: [] for count in calls}
    spent: dict[int, list[float]] = {count: [] for count in calls}
    coin, plan, meter = random.Random(SEED), Plan(), open_meter()
    ends = perf_counter() + seconds
    while perf_counter() < ends:
        count = coin.choice(calls)
        for _ in range(max(1, 100 // count)):
            order, windows, began = coin.choice(ORDERS), [], perf_counter()
            for letter in order:
                if need_fresh_slices(count * call_s):
                    yield_cpu()
                windows.append(take_window(meter, more if letter == "B" else base, count, plan))
            blocks[count].append(Block(order, tuple(windows)))
            spent[count].append(perf_counter() - began)
    gate, known = Gate(tolerance=plan.tolerance), info(meter)
    meter.close()
    print(
        f"a call takes {1e3 * call_s:.2f} ms; {SHORT} against {MORE_SHORT} repeats; one busy "
        "neighbour process"
    )
    print(
        "calls a window, ms a block (median), log-ratio off by (half of the blocks, 9 in 10), "
        "seconds to verdict (half, 9 in 10), inconclusive"
    )
    for count, made in blocks.items():
        lengths = spent[count]
        truth = math.log(SHORT / MORE_SHORT)
        off = sorted(abs(math.log(b.side("A").seconds / b.side("B").seconds) - truth) for b in made)
        times = []
        for start in range(0, len(made) - fewest_blocks(plan.alpha), max(1, len(made) // 40)):
            spent_s = 0.0
            for end in range(start + fewest_blocks(plan.alpha), len(made) + 1):
                spent_s = sum(lengths[start:end])
                if spent_s >= plan.max_time_s or gate.decided(
                    gps_up(made[start:end], known, plan.alpha), known
                ):
                    break
            else:
                continue  # the record ends before the verdict
            times.append(min(spent_s, plan.max_time_s))
        tenths = quantiles(times, n=10) if len(times) > 1 else [math.nan] * 9
        late = sum(t >= plan.max_time_s for t in times) / max(1, len(times))
        print(
            f"  {count:2d}  {1e3 * median(lengths):6.1f}   {off[len(off) // 2]:6.2%} "
            f"{off[len(off) * 9 // 10]:7.2%}"
            f"   {tenths[4]:5.2f} {tenths[8]:5.2f}   {late:4.0%} of {len(times)}",
            flush=True,
        )


def main() -> None:
    argument = sys.argv[1] if len(sys.argv) > 1 else str(PAIRS)
    with neighbours("1"):
        if argument == "windows":
            windows_study(90.0)
        else:
            print(
                f"a call takes {1e3 * seconds_of(baseline):.2f} ms; {REPEATS} against "
                f"{MORE_REPEATS} repeats; one busy neighbour process"
            )
            through_ours(int(argument))
            through_pytest_benchmark(int(argument))


if __name__ == "__main__":
    main()
