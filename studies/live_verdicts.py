"""How often `energy.versus` is right on this machine, and how soon, beside neighbours of a kind.

Run by hand, with nothing else running::

    python -m studies.live_verdicts --neighbours 4 --tolerance 0.5 --more 0 1 2 --comparisons 100
    python -m studies.live_verdicts --neighbours bursts --more 0 5 --comparisons 100

The two sides run the same function on the same memory, the candidate some per cent more turns of
its loop. So the truth is known, and is that of this very process. The rows take turns in random
order. A wrong word is `regressed` or `improved` of equal code, `unchanged` or `improved` of more
work. The exit code is 1 if there is one.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from statistics import median, quantiles

import numpy as np

from pytest_energy.gate import Gate
from pytest_energy.measuring.paired import versus
from pytest_energy.meters import info, open_meter
from pytest_energy.model import Measurement, Result
from pytest_energy.plan import Plan

NUMBERS = np.random.default_rng(20250704).random(800)
ROOTS = np.empty_like(NUMBERS)
NAMES = {str(number): number for number in range(100)}
SOME_NAMES = ("3", "14", "15", "92", "65")
BUSY = "while True: sum(range(20_000))"
# Each of two programs computes and sleeps in turns, for 10 ms to 1 s.
BURSTS = """
import random, time
while True:
    ends = time.monotonic() + 10 ** random.uniform(-2, 0)
    while time.monotonic() < ends:
        sum(range(20_000))
    time.sleep(10 ** random.uniform(-2, 0))
"""
BURSTING = 2
START = """
import subprocess, sys
program = [sys.executable, "-c", sys.argv[1]]
print(subprocess.Popen(program, stdout=subprocess.DEVNULL).pid)
"""
# Of the loop in a call, which then takes about 0.1 ms.
TURNS = 100


def roots(turns: int) -> None:
    for _ in range(turns):
        np.sqrt(NUMBERS, out=ROOTS)


def arithmetic(turns: int) -> int:
    total = 0
    for number in range(20 * turns):
        total += number * number
    return total


def look_up(turns: int) -> int:
    found = 0
    for _ in range(3 * turns):
        for name in SOME_NAMES:
            found += NAMES[name]
    return found


KINDS: dict[str, Callable[[int], object]] = {
    "numpy": roots,
    "arithmetic": arithmetic,
    "dictionary": look_up,
}


@contextmanager
def neighbours(kind: str) -> Iterator[None]:
    """So many programs that always compute, or two that compute in bursts.

    They are no descendants of this process: the estimate would count their CPU seconds.
    """
    code, count = (BURSTS, BURSTING) if kind == "bursts" else (BUSY, int(kind))
    pids: list[int] = []
    try:
        for _ in range(count):
            pids.append(int(subprocess.check_output([sys.executable, "-c", START, code])))
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)


def compare(kind: str, turns: int, more: float, plan: Plan) -> tuple[str, float]:
    """The verdict on time, and the seconds that it took."""
    gate, work = Gate(tolerance=plan.tolerance), KINDS[kind]
    with open_meter("estimate") as meter:
        about, began_s = info(meter), time.perf_counter()
        compared = versus(
            partial(work, turns),
            partial(work, round(turns * (1 + more / 100))),
            meter=meter,
            plan=plan,
            decided=lambda ratios: gate.decided(ratios, about),
        )
        took_s = time.perf_counter() - began_s
    windows = tuple(block.side("B") for block in compared.blocks)
    result = Result(kind, Measurement(kind, about, windows), compared)
    return next(v.verdict for v in gate.judge(result) if v.metric == "speedup"), took_s


def is_wrong(verdict: str, more: float, tolerance: float) -> bool:
    """Whether the word contradicts the truth. At the tolerance itself only `improved` does."""
    if more > tolerance:
        return verdict in ("unchanged", "improved")
    return verdict == "improved" or (verdict == "regressed" and more < tolerance)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--neighbours", default="0", help="how many busy programs, or: bursts")
    parser.add_argument("--more", type=float, nargs="+", default=[0.0, 5.0], help="per cent")
    parser.add_argument("--tolerance", type=float, default=3.0, help="per cent")
    parser.add_argument("--comparisons", type=int, default=100, help="of each --more")
    parser.add_argument("--turns", type=int, default=TURNS, help="of the loop in a call")
    parser.add_argument("--max-time", type=float, default=5.0, dest="max_time_s")
    options = parser.parse_args()
    plan = Plan(tolerance=options.tolerance / 100, max_time_s=options.max_time_s)
    todo = [
        (more, list(KINDS)[number % len(KINDS)])
        for more in options.more
        for number in range(options.comparisons)
    ]
    random.shuffle(todo)
    found: dict[float, list[tuple[str, str, float]]] = {more: [] for more in options.more}
    loads = []
    with neighbours(options.neighbours):
        for more, kind in todo:
            found[more].append((kind, *compare(kind, options.turns, more, plan)))
            loads.append(os.getloadavg()[0])
    print(
        f"neighbours {options.neighbours}, load {min(loads):.1f} to {max(loads):.1f}, tolerance "
        f"{options.tolerance:g} %, at most {options.max_time_s:g} s"
    )
    wrong = 0
    for more, rows in found.items():
        verdicts = Counter(verdict for _, verdict, _ in rows)
        times = [seconds for *_, seconds in rows]
        told = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common())
        soon = sum(s <= 1 for _, verdict, s in rows if verdict != "inconclusive")
        ninth = quantiles(times, n=10)[-1] if len(times) > 1 else times[0]
        undecided = Counter(kind for kind, verdict, _ in rows if verdict == "inconclusive")
        print(
            f"  +{more:g} %: {told}; {soon} within 1 s; {median(times):.2f} s median, "
            f"{ninth:.2f} s the 90th of 100; inconclusive: {dict(undecided) or 'none'}",
            flush=True,
        )
        wrong += sum(is_wrong(verdict, more, options.tolerance) for _, verdict, _ in rows)
    print(f"  wrong: {wrong}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
