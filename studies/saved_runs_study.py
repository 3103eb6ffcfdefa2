"""What a gate on saved runs finds, on recorded RAPL runs of unchanged programs. Run by hand::

    python -m studies.saved_runs_study FILE

FILE holds 94 programs, each run 21 times on one idle machine, in recorded order. A run's joules
are package and DRAM together. The first 10 runs are OLD, the others NEW, and the reverse. Changes
are planted by multiplying NEW's joules. Only the simulation at the end is random, and it is
seeded.
"""

from __future__ import annotations

import json
import math
import random
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

from pytest_energy.model import Domain, MeterInfo
from pytest_energy.runs.compare import compare_runs
from pytest_energy.runs.comparison import SUITE_ALPHA, CompareOptions, RunComparison
from pytest_energy.runs.noise import DEFAULT_NOISE, Noise
from pytest_energy.runs.summary import BenchmarkSummary, RunSummary
from pytest_energy.stats.unpaired import (
    few_chance,
    pooled_sd,
    rank_can_tell,
    rank_chance,
    student_t_cdf,
)

METER = MeterInfo("powercap", "measured", (Domain("package"), Domain("dram")), 0.001, 6.1e-5)
MEAN_RULE = 1.05  # pytest-benchmark's --benchmark-compare-fail=mean:5%
CHANGES = (0.0, 0.03, 0.05, 0.10)
SEED = 20250216
SIMULATIONS = 4000

Logs = list[list[float]]  # of each program, the log joules of its runs


def read_logs(path: Path) -> tuple[Logs, Logs]:
    programs = json.loads(path.read_text(encoding="utf8"))["programs"]
    joules = [
        [math.log(package + dram) for _, package, dram in program["runs"]] for program in programs
    ]
    return joules, [
        [math.log(seconds) for seconds, _, _ in program["runs"]] for program in programs
    ]


def halves(logs: Logs) -> list[tuple[list[float], list[float]]]:
    early_first = [(runs[: len(runs) // 2], runs[len(runs) // 2 :]) for runs in logs]
    return early_first + [(late, early) for early, late in early_first]


def as_runs(sides: list[list[float]], name: str, shift: float = 0.0) -> list[RunSummary]:
    """Runs that each hold one benchmark a program."""
    return [
        RunSummary(
            f"{name} {number}",
            {"cpu": "one"},
            METER,
            "",
            "",
            {
                f"program {i:03}": BenchmarkSummary(0.0, side[number] + shift, 0.0, {})
                for i, side in enumerate(sides)
            },
        )
        for number in range(min(map(len, sides)))
    ]


def ours(old: list[float], new: list[float], tolerance: float) -> str:
    """The verdict on one program by itself, by the whole of compare_runs."""
    rules = CompareOptions(tolerance=tolerance)
    return greenup_verdicts(
        compare_runs(as_runs([old], "old"), as_runs([new], "new"), rules, DEFAULT_NOISE)
    )[0]


def greenup_verdicts(comparison: RunComparison) -> list[str]:
    return [
        change.verdict.verdict
        for row in comparison.rows
        for change in row.changes
        if change.metric == "greenup"
    ]


def welch(old: list[float], new: list[float], tolerance: float) -> str:
    errors = [statistics.variance(side) / len(side) for side in (old, new)]
    freedom = int(
        sum(errors) ** 2
        / sum(error**2 / (len(side) - 1) for error, side in zip(errors, (old, new)))
    )
    gap = statistics.fmean(new) - statistics.fmean(old) - math.log1p(tolerance)
    return "regressed" if student_t_cdf(gap / math.sqrt(sum(errors)), freedom) > 0.99 else ""


def mean_rule(old: list[float], new: list[float], tolerance: float) -> str:
    means = [statistics.fmean(map(math.exp, side)) for side in (old, new)]
    return "regressed" if means[1] > MEAN_RULE * means[0] else ""


def limit(pairs: list[tuple[list[float], list[float]]], change: float, tolerance: float) -> float:
    """What an oracle finds that knows each program's spread, without drift: a z bound at 99 %."""
    normal, found = statistics.NormalDist(), 0.0
    gap = math.log1p(change) - math.log1p(tolerance)
    for old, new in pairs:
        error = (pooled_sd(old, new) or 0.0) * math.sqrt(1 / len(old) + 1 / len(new))
        found += normal.cdf(gap / error - normal.inv_cdf(0.99))
    return found / len(pairs)


def one_by_one(logs: Logs) -> None:
    pairs = halves(logs)
    print(
        f"Each program by itself, 10 runs against 11 and 11 against 10: {len(pairs)} "
        "comparisons; share called regressed"
    )
    print(f"  {'':44s}" + "".join(f"{f'+{change:.0%}':>9s}" for change in CHANGES))

    def row(
        name: str, rule: Callable[[list[float], list[float], float], str], tolerance: float
    ) -> None:
        shares = []
        for change in CHANGES:
            moved = [(old, [log + math.log1p(change) for log in new]) for old, new in pairs]
            shares.append(
                sum(rule(old, new, tolerance) == "regressed" for old, new in moved) / len(moved)
            )
        print(f"  {name:44s}" + "".join(f"{share:9.1%}" for share in shares))

    for tolerance in (0.025, 0.03):
        row(f"ours, beyond {tolerance:.1%}", ours, tolerance)
        row(f"Welch's bound at 99 %, beyond {tolerance:.1%}", welch, tolerance)
        print(
            f"  {f'the limit, beyond {tolerance:.1%}':44s}"
            + "".join(f"{limit(pairs, c, tolerance):9.1%}" for c in CHANGES)
        )
    row("pytest-benchmark, mean:5%", mean_rule, 0.0)
    spread = sorted(pooled_sd(old, new) or 0.0 for old, new in pairs)
    middle, high = spread[len(spread) // 2], spread[len(spread) * 9 // 10]
    print(f"  SD between runs of a program: median {middle:.1%}, highest tenth over {high:.1%}")


def as_suite(logs: Logs) -> None:
    print(
        f"\nAll {len(logs)} programs as one suite, gated together (Holm at {SUITE_ALPHA:.0%}), "
        "tolerance 3 %: verdicts on greenup"
    )
    early, late = ([side[i] for side in halves(logs)[: len(logs)]] for i in (0, 1))
    for change in CHANGES:
        for name, old, new in (
            ("first half, second half", early, late),
            ("second half, first half", late, early),
        ):
            runs = as_runs(old, "old"), as_runs(new, "new", math.log1p(change))
            verdicts = greenup_verdicts(compare_runs(*runs, CompareOptions(), DEFAULT_NOISE))
            counts = {
                verdict: verdicts.count(verdict)
                for verdict in ("regressed", "inconclusive", "unchanged", "improved")
            }
            print(
                f"  +{change:<4.0%} {name}: "
                + ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
            )


def fewer_runs(logs: Logs) -> None:
    print(
        "\nFewer runs, tolerance 3 %: neighbouring stretches of a program's runs, OLD then NEW; "
        "share called regressed"
    )
    measured = Noise(
        *(statistics.median(statistics.stdev(side) for side in logs),) * 2,
        None,
        "the median program's spread",
    )
    for old_runs, new_runs in ((1, 1), (2, 2), (3, 3), (5, 5), (10, 1), (10, 3), (10, 10)):
        shares = []
        for change in CHANGES:
            for noise in (DEFAULT_NOISE, measured):
                verdicts = []
                for side in logs:
                    for start in range(0, len(side) - old_runs - new_runs + 1, old_runs + new_runs):
                        middle = start + old_runs
                        old = as_runs([side[start:middle]], "old")
                        new = as_runs([side[middle : middle + new_runs]], "new", math.log1p(change))
                        verdicts += greenup_verdicts(
                            compare_runs(old, new, CompareOptions(), noise)
                        )
                shares.append(verdicts.count("regressed") / len(verdicts))
        text = "  ".join(
            f"+{c:.0%} {a:.1%}, {b:.1%}" for c, a, b in zip(CHANGES, shares[::2], shares[1::2])
        )
        print(f"  {old_runs:2} against {new_runs:2} ({len(verdicts):3}): {text}")
    print(
        f"  each first with the default noise, then with {measured.seconds_sd:.1%}, "
        f"{measured.source}"
    )
    alarms = sum(
        b > math.log(MEAN_RULE) + a for side in logs for a, b in zip(side[::2], side[1::2])
    )
    print(
        "  1 against 1 by pytest-benchmark's mean:5%, unchanged: "
        f"{alarms / sum(len(side) // 2 for side in logs):.1%}"
    )


def simulated() -> None:
    """How often a bound at 99 % fails: alike runs, the change at the tolerance itself."""
    print(
        f"\nSimulated, {SIMULATIONS} comparisons each, no change: how often a bound at 99 % "
        "fails, in the direction of alarm"
    )
    dice = random.Random(SEED)
    gauss = dice.gauss
    kinds: dict[str, Callable[[], float]] = {
        "normal": lambda: gauss(0, 1),
        "spikes": lambda: gauss(0, 0.5) + (dice.uniform(2, 8) if dice.random() < 0.1 else 0.0),
        "skewed": lambda: dice.expovariate(1),
        "two modes": lambda: gauss(0, 0.3) + (2.0 if dice.random() < 0.3 else 0.0),
    }
    sizes = ((1, 1), (2, 2), (3, 3), (10, 1), (10, 2), (5, 5), (10, 3), (10, 10))
    print(f"  {'':10s}" + "".join(f"{f'{a} : {b}':>9s}" for a, b in sizes))
    for kind, draw in kinds.items():
        noise_sd = statistics.stdev(draw() for _ in range(20_000))
        alarms, of_welch = dict.fromkeys(sizes, 0), dict.fromkeys(sizes, 0)
        for size in sizes:
            for _ in range(SIMULATIONS):
                old, new = ([draw() for _ in range(count)] for count in size)
                if rank_can_tell(*size, 0.01):
                    alarms[size] += rank_chance(old, new, 0.0) <= 0.01
                else:
                    alarms[size] += few_chance(old, new, noise_sd, None, 0.0) <= 0.01
                of_welch[size] += min(size) > 1 and welch(old, new, 0.0) == "regressed"
        print(f"  {kind:10s}" + "".join(f"{alarms[size] / SIMULATIONS:9.2%}" for size in sizes))
        print(
            "    Welch's "
            + "".join(
                f"{of_welch[size] / SIMULATIONS:9.2%}" if min(size) > 1 else f"{'':9s}"
                for size in sizes
            )
        )


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    logs, _ = read_logs(Path(sys.argv[1]))
    one_by_one(logs)
    as_suite(logs)
    fewer_runs(logs)
    simulated()


if __name__ == "__main__":
    main()
