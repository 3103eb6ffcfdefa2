"""A comparison of saved runs as text: for the terminal, and as JSON. Values in, text out. As Markdown: markdown.py."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from pytest_energy.report.escape import plain
from pytest_energy.report.units import digits, scale_for, with_bounds
from pytest_energy.runs.comparable import software_lines
from pytest_energy.runs.comparison import SEVERITY, SUITE_ALPHA, Change, RunComparison
from pytest_energy.runs.summary import RunSummary
from pytest_energy.stats.carbon import grams_per_million_calls
from pytest_energy.stats.unpaired import rank_can_tell

ANSI_RED, ANSI_YELLOW, ANSI_GREEN = "\x1b[1;31m", "\x1b[33m", "\x1b[32m"
ANSI = dict(
    zip(SEVERITY, (ANSI_RED, ANSI_YELLOW, ANSI_YELLOW, ANSI_GREEN, ANSI_GREEN), strict=True)
)
ANSI_OFF = "\x1b[0m"
COMPARE_SCHEMA = 1


def terminal_table(
    comparison: RunComparison, colour: bool = False, grams_per_kwh: float | None = None
) -> str:
    """Each benchmark with what changed, the gravest last above the closing lines, where a terminal shows it.

    With ``grams_per_kwh`` also the grams of CO2e that the joules make.
    """
    lines = []
    for row in reversed(comparison.rows):
        lines.append(plain(row.name))
        for change in row.changes:
            verdict = change.verdict.verdict
            shown = f"{ANSI[verdict]}{verdict}{ANSI_OFF}" if colour else verdict
            lines.append("  " + "  ".join([*cells(change, comparison), shown]).rstrip())
            carbon = carbon_of(change, comparison, grams_per_kwh)
            if carbon:
                lines.append(f"    {carbon}")
            if change.metric == "benchmark" or (
                verdict in ("regressed", "inconclusive") and not _has_floor(change, comparison)
            ):
                lines.append(f"    {plain(change.verdict.reason)}")
            if change.advice:
                lines.append(f"    {plain(change.advice)}")
    return "\n".join([*lines, "", *(plain(line) for line in closing_lines(comparison))])


def closing_lines(comparison: RunComparison) -> Iterator[str]:
    """What was compared with what, how sure that is, what came of it, what was not gated."""
    meter, rules = comparison.new[0].meter, comparison.options
    yield f"OLD: {_runs(comparison.old)}"
    yield f"NEW: {_runs(comparison.new)}"
    yield (
        f"greenup and speedup are OLD / NEW; joules are {provenance_of(comparison)} by {meter.name}; "
        f"tolerance {rules.tolerance:.1%}; {comparison.gated} ratios gated together: false alarms in {rules.alpha:.0%} "
        f"of unchanged ones at most, and in {SUITE_ALPHA:.0%} of unchanged suites"
    )
    yield from software_lines(comparison.old, comparison.new)
    if comparison.identical:
        yield "OLD and NEW are identical: the same saved data"
    elif not rank_can_tell(len(comparison.old), len(comparison.new), rules.alpha):
        floors = ", ".join(
            f"{quantity} {comparison.noise.floor(quantity, rules.alpha):+.0%}"
            for quantity in ("joules", "seconds")
        )
        yield (
            f"FEW RUNS ({len(comparison.old)} against {len(comparison.new)}): between two single runs nothing under the floor "
            f"({floors}) is called regressed; noise: {comparison.noise.source}"
        )
    reasons = Counter(
        c.verdict.reason
        for row in comparison.rows
        for c in row.changes
        if c.verdict.verdict == "not gated"
    )
    for reason, count in reasons.items():
        yield f"NOT GATED ({count}x): {reason}"
    yield f"{len(comparison.rows)} benchmarks; {counts_of(comparison)}"


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
        "suite_alpha": SUITE_ALPHA,
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


def carbon_of(change: Change, comparison: RunComparison, grams_per_kwh: float | None) -> str:
    """What became of the grams of CO2e; "" where nobody asked, and for what is not joules."""
    if grams_per_kwh is None or change.unit != "J" or change.old is None or change.new is None:
        return ""
    grams = [grams_per_million_calls(joules, grams_per_kwh) for joules in (change.old, change.new)]
    factor, unit = scale_for(grams, "g")
    old, new = (digits(value * factor) for value in grams)
    return f"{old} → {new} {unit} CO2e per million calls {provenance_of(comparison)}, at {grams_per_kwh:g} g per kWh"


def cells(change: Change, comparison: RunComparison) -> list[str]:
    """The values and the ratio of one change, as text."""
    if change.metric == "benchmark":
        return ["benchmark"]
    quantity = {"J": "joules", "s": "seconds"}.get(change.unit)
    if quantity is None:
        return [f"{plain(change.metric)} {_quality(change.old)} → {_quality(change.new)}"]
    known = [value for value in (change.old, change.new) if value is not None]
    factor, unit = scale_for(known, change.unit)
    old, new = (
        "?" if value is None else digits(value * factor) for value in (change.old, change.new)
    )
    label = f" {provenance_of(comparison)}" if quantity == "joules" else ""
    ratio = "" if change.ratio is None else f"{change.metric} {with_bounds(change.ratio)}"
    return [f"{quantity:7s} {old} → {new} {unit}{label}".ljust(38), ratio.ljust(28)]


def _has_floor(change: Change, comparison: RunComparison) -> bool:
    """Whether the closing lines say why already: an inconclusive ratio of few runs, of which every line would say the same."""
    return (
        change.verdict.verdict == "inconclusive"
        and bool(change.advice)
        and not rank_can_tell(change.old_runs, change.new_runs, comparison.options.alpha)
    )


def provenance_of(comparison: RunComparison) -> str:
    """Measured or, loudly, estimated."""
    provenance = comparison.new[0].meter.provenance
    return provenance if provenance == "measured" else provenance.upper()


def _quality(value: float | None) -> str:
    return "not a number" if value is None else f"{value:.4g}"


def _runs(runs: Sequence[RunSummary]) -> str:
    commits = ", ".join(dict.fromkeys(run.commit[:12] for run in runs if run.commit))
    paths = (
        runs[0].path if len(runs) == 1 else f"{len(runs)} runs, {runs[0].path} to {runs[-1].path}"
    )
    return paths + (f" (commit {commits})" if commits else "")


def counts_of(comparison: RunComparison) -> str:
    """How many there are of each verdict."""
    counts = comparison.counts
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in SEVERITY if counts[verdict])


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
