"""Verdicts on the joules of equal code beside a neighbour of 20 W. Run by hand::

    python -m studies.neighbour_study [--comparisons 200] [--change 0.1] [--max-time 10]

The machine is simulated (tests/energy/rigs/shared_machine.py): a powercap tree that is driven by
CPU time, and a /proc/stat in ticks of 10 ms. The measuring, the meter and the gate are the real
ones, at their defaults. A quarter of the comparisons is made again without the rules of
stats/others.py. The exit code is 1 if equal code was called better or worse.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from unittest import mock

from pytest_energy.gate import Gate
from pytest_energy.measuring.others import beside_blocks
from pytest_energy.measuring.paired import versus
from pytest_energy.meters import info
from pytest_energy.model import Measurement, Result
from pytest_energy.plan import Plan
from tests.energy.rigs.shared_machine import Schedule, SharedMachine, bursts_of, never, steady

# Their functions have the modules' names in the packages.
gps_up_module = sys.modules["pytest_energy.stats.gps_up"]
paired_module = sys.modules["pytest_energy.measuring.paired"]
CALL_S = 0.005
FALSE = ("regressed", "improved")


def neighbours(chance: random.Random) -> dict[str, Schedule]:
    """The schedules of one round. Windows last 75 ms."""
    return {
        "none": never,
        "half the time, 20 ms": bursts_of(0.02, chance),
        "half the time, 75 ms": bursts_of(0.075, chance),
        "half the time, 300 ms": bursts_of(0.3, chance),
        "half the time, 2 s": bursts_of(2.0, chance),
        "always": steady,
    }


def compare(name: str, seed: int, change: float, plan: Plan) -> tuple[str, float, list[str]]:
    """The verdict on joules, the seconds that it took, and the warnings."""
    chance, gate = random.Random(seed), Gate()
    with tempfile.TemporaryDirectory() as folder:
        with SharedMachine(Path(folder), neighbours(chance)[name], chance) as machine:
            meter, began_s = info(machine.meter), machine.now_s
            comparison = versus(
                machine.call(CALL_S),
                machine.call(CALL_S * (1 + change)),
                meter=machine.meter,
                plan=plan,
                decided=lambda ratios: gate.decided(ratios, meter),
                coin=chance,
            )
            seconds = machine.now_s - began_s
    windows = tuple(block.side("B") for block in comparison.blocks)
    verdicts = gate.judge(Result(name, Measurement(name, meter, windows), comparison))
    (joules,) = [verdict.verdict for verdict in verdicts if verdict.metric == "greenup"]
    return joules, seconds, list(beside_blocks(meter, comparison.blocks, 0.01))


@contextmanager
def without_rules() -> Iterator[None]:
    """Every block counts, with the joules that the sensor counted."""
    with ExitStack() as stack:
        for module in (gps_up_module, paired_module):
            stack.enter_context(mock.patch.object(module, "hit_unequally", lambda block: False))
        stack.enter_context(
            mock.patch.object(gps_up_module, "joules_beside_equal_others", joules_as_counted)
        )
        yield


def joules_as_counted(blocks, total):
    return [(total(block.side("A")), total(block.side("B"))) for block in blocks]


def row(
    name: str, comparisons: int, change: float, plan: Plan, rule: bool
) -> tuple[Counter[str], float, list]:
    with nullcontext() if rule else without_rules():
        found = [compare(name, seed, change, plan) for seed in range(comparisons)]
    warnings = [warning for _, _, each in found[:1] for warning in each]
    return (
        Counter(verdict for verdict, _, _ in found),
        statistics.median(seconds for _, seconds, _ in found),
        warnings,
    )


def main() -> int:
    """Print the table. Exit code 1 if equal code got a false verdict."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--comparisons", type=int, default=200)
    parser.add_argument("--max-time", type=float, default=Plan().max_time_s, dest="max_time_s")
    parser.add_argument("--change", type=float, default=0.0, help="more work of the candidate")
    options = parser.parse_args()
    plan = Plan(max_time_s=options.max_time_s)
    print(
        f"{options.comparisons} comparisons a row, candidate {options.change:+.0%}: verdicts on "
        "joules at the default 3 %, and the median seconds of one"
    )
    print(f"{'neighbour of 20 W':<24}{'rules':<7}{'unchanged':>10}{'inconcl.':>10}{'regressed':>10}"
          f"{'improved':>10}{'seconds':>9}")  # fmt: skip
    wrong = 0
    read: dict[str, list[str]] = {}
    for name in neighbours(random.Random(0)):
        for rule in (True, False):
            count = options.comparisons if rule else options.comparisons // 4
            verdicts, seconds, warnings = row(name, count, options.change, plan, rule)
            counts = "".join(
                f"{verdicts[verdict]:>10}"
                for verdict in ("unchanged", "inconclusive", "regressed", "improved")
            )
            print(f"{name:<24}{'on' if rule else 'off':<7}{counts}{seconds:>9.1f}", flush=True)
            if rule:
                wrong += sum(verdicts[verdict] for verdict in FALSE)
                read[name] = warnings
    print("\nwhat the user of the first comparison reads:")
    for name, warnings in read.items():
        for warning in warnings or ["nothing"]:
            print(f"  {name}: {warning}")
    if options.change:
        return 0
    print(f"\nfalse verdicts on equal code, with the rules: {wrong}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
