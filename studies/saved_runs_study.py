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
from functools import partial
from pathlib import Path

from pytest_energy.model import Domain, MeterInfo
from pytest_energy.plan import SUITE_ALPHA
from pytest_energy.runs.compare import compare_runs
from pytest_energy.runs.comparison import CompareOptions, RunComparison
from pytest_energy.runs.noise import DEFAULT_NOISE, Noise
from pytest_energy.runs.summary import BenchmarkSummary, RunSummary
from pytest_energy.stats.moderated import moderated_error, suite_spread
from pytest_energy.stats.unpaired import (
    benjamini_hochberg,
    holm,
    noise_errors,
    pooled_sd,
    rank_can_tell,
    rank_chance,
    student_t_cdf,
    t_chance,
)

METER = MeterInfo("powercap", "measured", (Domain("package"), Domain("dram")), 0.001, 6.1e-5)
MEAN_RULE = 1.05  # pytest-benchmark's --benchmark-compare-fail=mean:5%
CHANGES = (0.0, 0.03, 0.05, 0.10)
SEED = 20250216
SIMULATIONS = 4000
SHUFFLES = 100

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
                if number < len(side)
            },
        )
        for number in range(max(map(len, sides)))
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


def welch_gap(old: list[float], new: list[float], tolerance: float) -> tuple[float, int]:
    """Welch's statistic against the tolerance, and its degrees of freedom."""
    errors = [statistics.variance(side) / len(side) for side in (old, new)]
    freedom = int(
        sum(errors) ** 2
        / sum(error**2 / (len(side) - 1) for error, side in zip(errors, (old, new)))
    )
    gap = statistics.fmean(new) - statistics.fmean(old) - math.log1p(tolerance)
    return gap / math.sqrt(sum(errors)), freedom


def welch(old: list[float], new: list[float], tolerance: float) -> str:
    return "regressed" if student_t_cdf(*welch_gap(old, new, tolerance)) > 0.99 else ""


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
        f"\nAll {len(logs)} programs as one suite, joules x 1 and x 1.10, tolerance 3 %: programs "
        "called regressed\n  (the second half of a program's runs is NEW, and the reverse)"
    )
    dice = random.Random(SEED)
    mixed = [dice.randint(5, 10) for _ in logs]
    for text, counts in (
        ("3 runs a side", [3] * len(logs)),
        ("5 runs a side", [5] * len(logs)),
        ("5 to 10 runs a side", mixed),
        ("10 runs a side", [10] * len(logs)),
    ):
        early = [runs[:count] for runs, count in zip(logs, counts, strict=True)]
        late = [runs[-count:] for runs, count in zip(logs, counts, strict=True)]
        print(f"  {text}")
        for name, rule in SUITE_RULES.items():
            found = [
                sum(rule(old, [[log + math.log1p(change) for log in side] for side in new]))
                for change in (0.0, 0.10)
                for old, new in ((early, late), (late, early))
            ]
            print(f"    {name:50s}{found[0]:4d}, {found[1]:2d}{found[2]:8d}, {found[3]:2d}")


def ours_as_suite(family_wise: bool, old: Logs, new: Logs) -> list[bool]:
    rules = CompareOptions(family_wise=family_wise)
    comparison = compare_runs(as_runs(old, "old"), as_runs(new, "new"), rules, DEFAULT_NOISE)
    return [verdict == "regressed" for verdict in greenup_verdicts(comparison)]


def each_then(
    chance: Callable[[list[float], list[float]], float],
    stand_out: Callable[[list[float], float], list[bool]],
    old: Logs,
    new: Logs,
) -> list[bool]:
    """Judge each program alone, then correct for all programs, unchanged ones included."""
    chances = [chance(before, after) for before, after in zip(old, new, strict=True)]
    return stand_out(chances + [1.0] * len(chances), SUITE_ALPHA)[: len(chances)]


def rank(old: list[float], new: list[float]) -> float:
    if not rank_can_tell(len(old), len(new), 0.01):
        return t_chance(old, new, noise_errors(old, new, 0.2, None), -math.log1p(0.03))
    return rank_chance(old, new, -math.log1p(0.03))


def welch_chance(old: list[float], new: list[float]) -> float:
    gap, freedom = welch_gap(old, new, 0.03)
    return 1 - student_t_cdf(gap, freedom)


SUITE_RULES: dict[str, Callable[[Logs, Logs], list[bool]]] = {
    "rank test, Holm (as before)": partial(each_then, rank, holm),
    "rank test, Benjamini-Hochberg": partial(each_then, rank, benjamini_hochberg),
    "Welch's t, Holm": partial(each_then, welch_chance, holm),
    "Welch's t, Benjamini-Hochberg": partial(each_then, welch_chance, benjamini_hochberg),
    "ours, --family-wise": partial(ours_as_suite, True),
    "ours": partial(ours_as_suite, False),
}


def moderated_bounds(logs: Logs) -> None:
    """Level and false discoveries without drift: each program's runs in random order."""
    print(
        f"\nThe runs of each program in random order, {SHUFFLES} times: how often a bound at 99 % "
        "fails; half of\n  the programs x 1.10 and half at the tolerance: chance among those "
        "called, and how many of the changed are found"
    )
    dice = random.Random(SEED)
    limit = -math.log1p(0.03)
    for programs in (10, len(logs)):
        for runs in (3, 5, 10):
            failed = called = chance = changed = found = 0
            for _ in range(SHUFFLES):
                dealt = [dice.sample(side, 2 * runs) for side in dice.sample(logs, programs)]
                sides = [(side[:runs], side[runs:]) for side in dealt]
                suite = suite_spread(sides)
                if suite is None:
                    continue
                chances, slower = [], []
                for old, new in sides:
                    errors = [moderated_error(old, new, suite)]
                    failed += t_chance(old, new, errors, 0.0) <= 0.01
                    slower.append(dice.random() < 0.5)
                    shift = math.log(1.10 if slower[-1] else 1.03)
                    moved = [log + shift for log in new]
                    chances.append(t_chance(old, moved, errors, limit))
                stands = benjamini_hochberg(chances, SUITE_ALPHA)
                called += sum(stands)
                chance += sum(s and not slow for s, slow in zip(stands, slower, strict=True))
                found += sum(s and slow for s, slow in zip(stands, slower, strict=True))
                changed += sum(slower)
            print(
                f"  {programs:3d} programs, {runs:2d} runs a side: "
                f"{failed / SHUFFLES / programs:.2%} fail; "
                f"{chance / max(1, called):.1%} by chance, {found / changed:.0%} found"
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
                    alarms[size] += (
                        t_chance(old, new, noise_errors(old, new, noise_sd, None), 0.0) <= 0.01
                    )
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
    moderated_bounds(logs)
    fewer_runs(logs)
    simulated()


if __name__ == "__main__":
    main()
