"""A comparison of saved runs: for the terminal, and as JSON. As Markdown: markdown.py."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from pytest_energy.report.escape import plain
from pytest_energy.report.rows import table_of
from pytest_energy.report.terminal import carbon_line, printed, sentence_lines
from pytest_energy.report.view import RunView, provenance_text
from pytest_energy.runs.comparable import software_lines
from pytest_energy.runs.comparison import SEVERITY, Change, RunComparison
from pytest_energy.runs.summary import RunSummary
from pytest_energy.stats.carbon import grams_per_million_calls
from pytest_energy.stats.moderated import FEWEST_RUNS
from pytest_energy.stats.unpaired import rank_can_tell

COMPARE_SCHEMA = 1
IDENTICAL = "OLD and NEW are identical: the same saved data"
LOG_COLUMNS = 120  # of an output that is no terminal and has no width


def terminal_table(
    comparison: RunComparison,
    colour: bool = False,
    grams_per_kwh: float | None = None,
    width: int = LOG_COLUMNS,
) -> str:
    """The sentence, a row for each benchmark, and what was compared with what."""
    view = RunView.of_comparison(comparison)
    rows = table_of(view, width, grams_per_kwh=grams_per_kwh)
    lines = [IDENTICAL] if comparison.identical else []
    lines.append(printed([*sentence_lines(view), *rows], width, colour))
    if grams_per_kwh is not None:
        lines.append(carbon_line(grams_per_kwh))
    closing = [line for line in closing_lines(comparison, view) if line != IDENTICAL]
    return "\n".join([*lines, *map(plain, closing)])


def closing_lines(comparison: RunComparison, view: RunView) -> Iterator[str]:
    """What was compared with what, how sure it is, and what is not gated."""
    rules = comparison.options
    yield f"OLD: {_runs(comparison.old)}"
    yield f"NEW: {_runs(comparison.new)}"
    if comparison.counted_only:
        yield (
            f"compared by counted work, tolerance {rules.work_tolerance:.1%}: "
            f"{comparison.counted_only}"
        )
        yield from software_lines(comparison.old, comparison.new)
        yield from view.not_gated
        return
    yield (
        f"joules are {provenance_text(comparison.new[0].meter)}; tolerance {rules.tolerance:.1%}; "
        f"{comparison.gated} ratios gated together: false alarms in {rules.alpha:.0%} of "
        f"unchanged ones at most, and in {rules.suite_alpha:.0%} of "
        f"{'suites' if rules.family_wise else 'unchanged suites'}"
    )
    if comparison.suite_spreads:
        spreads = ", ".join(
            f"{quantity} {math.sqrt(spread.variance):.1%}"
            for quantity, spread in comparison.suite_spreads.items()
        )
        yield f"spread between runs, borrowed across the suite: {spreads} (SD)"
    yield from software_lines(comparison.old, comparison.new)
    if comparison.identical:
        yield IDENTICAL
    elif _noise_decides(comparison):
        floors = ", ".join(
            f"{quantity} {comparison.noise.floor(quantity, rules.alpha):+.0%}"
            for quantity in ("joules", "seconds")
        )
        yield (
            f"FEW RUNS ({len(comparison.old)} against {len(comparison.new)}): only changes above "
            f"the noise count as regressed ({floors}); noise: {comparison.noise.source}"
        )
        advice = [
            change.advice for row in comparison.rows for change in row.changes if change.advice
        ]
        yield from advice[:1]
    yield from view.not_gated


def _noise_decides(comparison: RunComparison) -> bool:
    """Whether there are too few runs to tell without the machine's noise."""
    runs = len(comparison.old), len(comparison.new)
    if comparison.suite_spreads and min(runs) >= FEWEST_RUNS:
        return False
    return not rank_can_tell(*runs, comparison.options.alpha)


def as_json(comparison: RunComparison, exit_code: int, grams_per_kwh: float | None = None) -> str:
    """For programs. null: not known."""
    document = {
        "schema": COMPARE_SCHEMA,
        "exit_code": exit_code,
        "counts": {verdict: comparison.counts[verdict] for verdict in SEVERITY},
        "machine": dict(comparison.new[0].machine),
        "meter": {
            "name": comparison.new[0].meter.name,
            "provenance": comparison.new[0].meter.provenance,
        },
        "rules": asdict(comparison.options),
        "suite_alpha": comparison.options.suite_alpha,
        "suite_spread": {
            quantity: {"sd": math.sqrt(spread.variance), "freedom": spread.freedom}
            for quantity, spread in comparison.suite_spreads.items()
        },
        "carbon_intensity_g_per_kwh": grams_per_kwh,
        "noise": {
            **asdict(comparison.noise),
            "floor": {
                quantity: comparison.noise.floor(quantity, comparison.options.alpha)
                for quantity in ("joules", "seconds")
            },
        },
        "old": [_run_out(run) for run in comparison.old],
        "new": [_run_out(run) for run in comparison.new],
        "benchmarks": [
            {
                "name": row.name,
                "changes": [_change_out(change, grams_per_kwh) for change in row.changes],
            }
            for row in comparison.rows
        ],
    }
    return json.dumps(document, indent=2, allow_nan=False)


def _runs(runs: Sequence[RunSummary]) -> str:
    """The commits, which people know, before the paths."""
    commits = list(dict.fromkeys(run.commit[:12] for run in runs if run.commit))
    paths = (
        runs[0].path if len(runs) == 1 else f"{len(runs)} runs, {runs[0].path} to {runs[-1].path}"
    )
    if not commits:
        return paths
    named = f"commit {commits[0]}" if len(commits) == 1 else f"commits {', '.join(commits)}"
    return f"{named} ({paths})"


def _run_out(run: RunSummary) -> dict[str, Any]:
    software = dict(run.software)
    return {"path": run.path, "commit": run.commit, "at": run.at, "software": software}


def _change_out(change: Change, grams_per_kwh: float | None) -> dict[str, Any]:
    ratio = change.ratio
    carbon = {}
    if grams_per_kwh is not None and change.unit == "J":
        carbon = {
            f"{side}_grams_per_million_calls": None
            if joules is None
            else grams_per_million_calls(joules, grams_per_kwh)
            for side, joules in (("old", change.old), ("new", change.new))
        }
    return {
        **carbon,
        "metric": change.metric,
        "verdict": change.verdict.verdict,
        "reason": change.verdict.reason,
        "advice": change.advice,
        "unit": change.unit,
        "old": change.old,
        "new": change.new,
        "old_runs": change.old_runs,
        "new_runs": change.new_runs,
        "ratio": None
        if ratio is None
        else {
            name: value if math.isfinite(value) else None for name, value in asdict(ratio).items()
        },
    }
