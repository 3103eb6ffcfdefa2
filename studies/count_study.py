"""What counted work can tell apart, and what it costs::

    python -m studies.count_study pairs      # equal code: alarms? +1 % of work: found?
    python -m studies.count_study guilty     # the function that does more: named?
    python -m studies.count_study bisect     # one commit of 16 with 2 % more work: named?
    python -m studies.count_study cost       # what it adds to a suite of 50 Python tests
    python -m studies.count_study suite      # what the project's own core set takes

``pairs`` counts every call of `count_calls.py` in each of ``--processes`` worker processes, as it
is and with more work in it. Each process begins with junk of its own on the heap, and counts in an
order of its own. Every two processes are a pair of each call: one is the baseline, the other the
candidate, and the gate gives the verdict at its default tolerance of 1 %. At 0.5 % every two groups
of four are a pair, since the plugin counts in four processes there: a change of 1 % is not surely
beyond 1 %. Half of the processes run beside ``--busy`` busy loops. ``--kinds python,numpy,torch``
or ``--kinds "python scan,numpy add"`` chooses the calls.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import combinations, permutations, product
from pathlib import Path
from typing import Any

from pytest_energy.commits.counted import FINE_TOLERANCE, PROCESSES_FOR_FINE
from pytest_energy.counting.callgrind import command_line
from pytest_energy.counting.count import merge_counts
from pytest_energy.counting.process import FIXED_ENVIRONMENT
from pytest_energy.model import CountedWork
from pytest_energy.plan import PROCESS_SPREAD, WORK_TOLERANCE
from pytest_energy.runs.work_format import work_from_json, work_to_json
from pytest_energy.verdicts import GREW, work_verdict
from studies.count_calls import CALLS
from studies.count_runs import bisect_study, cost_study, suite_study

FINER = 0.005
ROOT = Path(__file__).parents[1]
WORKER = """
import random, sys
from pytest_energy.counting.pymalloc import AlignedArenas
arenas = AlignedArenas()
from studies.count_calls import count_all
count_all(sys.argv[1:])
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["pairs", "guilty", "bisect", "cost", "suite"])
    parser.add_argument("--kinds", default="python,numpy")
    parser.add_argument("--processes", type=int, default=12)
    parser.add_argument("--busy", type=int, default=4)
    parser.add_argument("--counts", type=Path, help="keep each process's counts here, and go on")
    parser.add_argument("--tries", type=int, default=10)
    given = parser.parse_args()
    kinds = given.kinds.split(",")
    if given.what == "pairs":
        pairs(kinds, given.processes, given.busy, given.counts)
    elif given.what == "guilty":
        for kind in kinds:
            guilty(kind, given.tries)
    elif given.what == "bisect":
        bisect_study(given.tries)
    elif given.what == "cost":
        cost_study()
    else:
        suite_study()


def pairs(kinds: list[str], processes: int, neighbours: int, kept: Path | None) -> None:
    """Count in each process; then compare every two groups of them, and print the verdicts."""
    names = [name for name in CALLS if name in kinds or name.split()[0] in kinds]
    lines = kept.read_text().splitlines() if kept is not None and kept.exists() else []
    counted = [_read(json.loads(line)) for line in lines[:processes]]
    for number in range(len(counted), processes):
        began_s, load = time.monotonic(), os.getloadavg()[0]
        with busy(neighbours if number % 2 else 0):
            works = count_in_a_process(names, [0, 1], number)
        counted.append(works)
        if kept is not None:
            with kept.open("a") as file:
                file.write(json.dumps([list(map(work_to_json, each)) for each in works]) + "\n")
        print(
            f"process {number}: {2 * len(names)} calls, {time.monotonic() - began_s:.0f} s, load "
            f"{load:.0f}{f' and {neighbours} busy loops' if number % 2 else ''}",
            flush=True,
        )
    for kind in dict.fromkeys(name.split()[0] for name in names):
        for planted in (False, True):
            for tolerance in (WORK_TOLERANCE, FINER):
                _judge(kind, names, counted, planted, tolerance)


def _judge(
    kind: str,
    names: list[str],
    counted: list[list[tuple[CountedWork, ...]]],
    planted: bool,
    tolerance: float,
) -> None:
    """Of every two groups of processes, old and new, the verdict on each call of this kind."""
    wanted = "regressed" if planted else "unchanged"
    verdicts: Counter[str] = Counter()
    changes, named = [], 0
    sides = _merged_counts(counted, PROCESSES_FOR_FINE if tolerance <= FINE_TOLERANCE else 1)
    for (old, new), (variant, other) in product(
        [(old, new) for (one, old), (two, new) in permutations(sides, 2) if not one & two],
        [(0, 1)] if planted else [(0, 0), (1, 1)],
    ):
        for name, before, after in zip(names, old, new, strict=True):
            if not name.startswith(kind):
                continue
            baseline, candidate = before[variant], after[other]
            verdict = work_verdict(baseline, candidate, tolerance)
            verdicts[verdict.verdict] += 1
            changes.append((candidate.instructions / baseline.instructions - 1, name))
            named += CALLS[name].guilty in verdict.reason.partition(GREW)[2]
            if verdict.verdict not in (wanted, "inconclusive"):
                print(f"  {name}: {verdict.verdict}: {verdict.reason[:120]}", flush=True)
    changes.sort()
    if not changes:  # of one process
        return
    print(
        f"{kind}, {'more work' if planted else 'unchanged'}, tolerance {tolerance:.1%}: "
        f"{verdicts[wanted]} of {verdicts.total()} pairs {wanted} {dict(verdicts)}, "
        f"the function is named in {named}; "
        f"{changes[0][0]:+.3%} ({changes[0][1]}) to {changes[-1][0]:+.3%} ({changes[-1][1]})",
        flush=True,
    )


def _merged_counts(
    counted: list[list[tuple[CountedWork, ...]]], processes: int
) -> list[tuple[frozenset[int], list[tuple[CountedWork, ...]]]]:
    """Each way to choose so many processes, with the least of their counts, as the plugin does."""
    return [
        (
            frozenset(chosen),
            [
                tuple(merge_counts(works) for works in zip(*variants, strict=True))
                for variants in zip(*(counted[number] for number in chosen), strict=True)
            ],
        )
        for chosen in combinations(range(len(counted)), processes)
    ]


def guilty(kind: str, tries: int) -> None:
    """Plant more work in one function of several, and look which ones the verdict names."""
    names = [name for name in CALLS if name.startswith(kind)]
    wanted = [names[at % len(names)] for at in range(tries)]
    found = 0
    for name, (old, new) in zip(wanted, count_in_a_process(wanted, [0, 1], 0), strict=True):
        verdict = work_verdict(old, new, FINER)
        grown = verdict.reason.partition(GREW)[2]
        hit = CALLS[name].guilty in grown
        found += hit
        print(f"  {name}: planted in {CALLS[name].guilty}: {'' if hit else 'NOT '}named: {grown}")
    print(f"{kind}: the function is among those that are named in {found} of {tries}", flush=True)


def count_in_a_process(
    names: list[str], variants: list[int], seed: int
) -> list[tuple[CountedWork, ...]]:
    """Count each variant of each call, in a worker process of its own heap and order."""
    with tempfile.TemporaryDirectory() as folder:
        order = [*command_line(Path(folder)), sys.executable, "-c", WORKER, folder]
        request = json.dumps({"names": names, "variants": variants, "seed": seed})
        done = subprocess.run(
            [*order, request],
            cwd=ROOT,
            env=os.environ | FIXED_ENVIRONMENT,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    return _read(json.loads(done.stdout.splitlines()[-1]))


def _read(found: list[list[dict[str, Any]]]) -> list[tuple[CountedWork, ...]]:
    """Kept counts get today's least spread."""
    return [
        tuple(replace(work, spread=max(PROCESS_SPREAD, work.spread)) for work in works)
        for works in (map(work_from_json, each) for each in found)
    ]


@contextmanager
def busy(number: int) -> Iterator[None]:
    """Other processes that compute meanwhile."""
    others = [
        subprocess.Popen([sys.executable, "-c", "while True: sum(range(10**6))"])
        for _ in range(number)
    ]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


if __name__ == "__main__":
    main()
