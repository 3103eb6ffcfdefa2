"""A comparison of saved runs as text: for the terminal, as Markdown, as JSON. Values in, text out.

Names come from files that anybody may have written, so none of them is let through as markup, as a
terminal's escape sequence, or as a mention.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from pytest_energy.compare import SEVERITY, SUITE_ALPHA, Change, Row, Rules, RunComparison
from pytest_energy.noise import Noise
from pytest_energy.reading import Interval
from pytest_energy.report.units import digits, scale_for
from pytest_energy.saved import SavedRun
from pytest_energy.unpaired import rank_can_tell

ANSI_RED, ANSI_YELLOW, ANSI_GREEN = "\x1b[1;31m", "\x1b[33m", "\x1b[32m"
ANSI = dict(zip(SEVERITY, (ANSI_RED, ANSI_YELLOW, ANSI_YELLOW, ANSI_GREEN, ANSI_GREEN), strict=True))
ANSI_OFF = "\x1b[0m"
COMPARE_SCHEMA = 1
# Within a line none of these starts anything: no emphasis, link, code, cell, tag, mention, reference or emoji.
MARKDOWN_HARMLESS = " .,;%()=+-/"


def plain(text: str) -> str:
    """With whatever is not printable written out: no line breaks, no escape sequences."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def in_markdown(text: str) -> str:
    """Text that Markdown and HTML take for nothing but text: what could be markup becomes character references."""
    escaped = "".join(char if char.isalnum() or char in MARKDOWN_HARMLESS else f"&#{ord(char)};" for char in plain(text))
    return re.sub("(?i)(?<=www)[.]", "&#46;", escaped)  # GitHub makes a link of www.anything


def terminal_table(comparison: RunComparison, colour: bool = False) -> str:
    """Each benchmark with what changed, the gravest last above the closing lines, where a terminal shows it."""
    lines = []
    for row in reversed(comparison.rows):
        lines.append(plain(row.name))
        for change in row.changes:
            verdict = change.verdict.verdict
            shown = f"{ANSI[verdict]}{verdict}{ANSI_OFF}" if colour else verdict
            lines.append("  " + "  ".join([*_cells(change, comparison), shown]).rstrip())
            if change.metric == "benchmark" or (verdict in ("regressed", "inconclusive") and not _has_floor(change, comparison)):
                lines.append(f"    {plain(change.verdict.reason)}")
            if change.advice:
                lines.append(f"    {plain(change.advice)}")
    return "\n".join([*lines, "", *(plain(line) for line in closing_lines(comparison))])


def closing_lines(comparison: RunComparison) -> Iterator[str]:
    """What was compared with what, how sure that is, what came of it, what was not gated."""
    meter, rules = comparison.new[0].meter, comparison.rules
    yield f"OLD: {_runs(comparison.old)}"
    yield f"NEW: {_runs(comparison.new)}"
    yield (
        f"greenup and speedup are OLD / NEW; joules are {_provenance(comparison)} by {meter.name}; "
        f"tolerance {rules.tolerance:.1%}; {comparison.gated} ratios gated together: false alarms in {rules.alpha:.0%} "
        f"of unchanged ones at most, and in {SUITE_ALPHA:.0%} of unchanged suites"
    )
    if not rank_can_tell(len(comparison.old), len(comparison.new), rules.alpha):
        floors = ", ".join(
            f"{quantity} {comparison.noise.floor(quantity, rules.alpha):+.0%}" for quantity in ("joules", "seconds")
        )
        yield (
            f"FEW RUNS ({len(comparison.old)} against {len(comparison.new)}): between two single runs nothing under the floor "
            f"({floors}) is called regressed; noise: {comparison.noise.source}"
        )
    reasons = Counter(c.verdict.reason for row in comparison.rows for c in row.changes if c.verdict.verdict == "not gated")
    for reason, count in reasons.items():
        yield f"NOT GATED ({count}x): {reason}"
    yield f"{len(comparison.rows)} benchmarks; {_counts(comparison)}"


def markdown(comparison: RunComparison) -> str:
    """For a pull request: what regressed first, the rest folded."""
    regressed = [row for row in comparison.rows if SEVERITY[row.severity] == "regressed"]
    others = [row for row in comparison.rows if SEVERITY[row.severity] != "regressed"]
    lines = ["### Energy: " + ("**regressed**" if regressed else "nothing regressed"), "", _counts(comparison), ""]
    if regressed:
        lines += [*_markdown_table(regressed, comparison), ""]
    if others:
        lines += [f"<details><summary>{len(others)} other benchmarks</summary>", ""]
        lines += [*_markdown_table(others, comparison), "", "</details>", ""]
    lines += [f"- {in_markdown(line)}" for line in closing_lines(comparison)]
    return "\n".join(lines)


def as_json(comparison: RunComparison, strict: bool) -> str:
    """For programs. null: not known."""
    document = {
        "schema": COMPARE_SCHEMA,
        "exit_code": comparison.exit_code(strict),
        "counts": {verdict: comparison.counts[verdict] for verdict in SEVERITY},
        "machine": dict(comparison.new[0].machine),
        "meter": {"name": comparison.new[0].meter.name, "provenance": comparison.new[0].meter.provenance},
        "rules": asdict(comparison.rules),
        "suite_alpha": SUITE_ALPHA,
        "noise": {
            **asdict(comparison.noise),
            "floor": {quantity: comparison.noise.floor(quantity, comparison.rules.alpha) for quantity in ("joules", "seconds")},
        },
        "old": [_run_out(run) for run in comparison.old],
        "new": [_run_out(run) for run in comparison.new],
        "benchmarks": [{"name": row.name, "changes": [_change_out(change) for change in row.changes]} for row in comparison.rows],
    }
    return json.dumps(document, indent=2, allow_nan=False)


def noise_report(noise: Noise, meter_name: str, path: str) -> str:
    """What `pytest-energy doctor --noise` found, and what it means."""
    alpha = Rules().alpha
    floors = [f"{quantity} by less than {noise.floor(quantity, alpha):+.1%}" for quantity in ("joules", "seconds")]
    return (
        f"Between runs, with meter {meter_name}: {noise.source}.\n"
        f"Of two single saved runs none is called regressed that differs in {' or in '.join(floors)}.\n"
        f"Drift that is slower than this took was not seen: more --noise-minutes see more of it. Kept in {plain(path)}"
    )


def _cells(change: Change, comparison: RunComparison) -> list[str]:
    if change.metric == "benchmark":
        return ["benchmark"]
    quantity = {"J": "joules", "s": "seconds"}.get(change.unit)
    if quantity is None:
        return [f"{plain(change.metric)} {_quality(change.old)} → {_quality(change.new)}"]
    known = [value for value in (change.old, change.new) if value is not None]
    factor, unit = scale_for(known, change.unit)
    old, new = ("?" if value is None else digits(value * factor) for value in (change.old, change.new))
    label = f" {_provenance(comparison)}" if quantity == "joules" else ""
    ratio = "" if change.ratio is None else f"{change.metric} {_ratio(change.ratio)}"
    return [f"{quantity:7s} {old} → {new} {unit}{label}".ljust(38), ratio.ljust(28)]


def _has_floor(change: Change, comparison: RunComparison) -> bool:
    """Whether the closing lines say why already: an inconclusive ratio of few runs, of which every line would say the same."""
    return (
        change.verdict.verdict == "inconclusive"
        and bool(change.advice)
        and not rank_can_tell(change.old_runs, change.new_runs, comparison.rules.alpha)
    )


def _provenance(comparison: RunComparison) -> str:
    provenance = comparison.new[0].meter.provenance
    return provenance if provenance == "measured" else provenance.upper()


def _ratio(ratio: Interval) -> str:
    return f"{digits(ratio.value)} [{digits(ratio.low)}, {digits(ratio.high)}]"


def _quality(value: float | None) -> str:
    return "not a number" if value is None else f"{value:.4g}"


def _runs(runs: Sequence[SavedRun]) -> str:
    commits = ", ".join(dict.fromkeys(run.commit[:12] for run in runs if run.commit))
    paths = runs[0].path if len(runs) == 1 else f"{len(runs)} runs, {runs[0].path} to {runs[-1].path}"
    return paths + (f" (commit {commits})" if commits else "")


def _counts(comparison: RunComparison) -> str:
    counts = comparison.counts
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in SEVERITY if counts[verdict])


def _markdown_table(rows: Sequence[Row], comparison: RunComparison) -> list[str]:
    lines = ["| benchmark | change | ratio | verdict |", "| --- | --- | --- | --- |"]
    for row in rows:
        for change in row.changes:
            cells = (*(" ".join(cell.split()) for cell in _cells(change, comparison)), "")[:2]
            verdict = change.verdict.verdict
            if verdict in ("regressed", "inconclusive", "not gated"):
                verdict += f": {change.verdict.reason}" + (f"; {change.advice}" if change.advice else "")
            lines.append(
                "| " + " | ".join([f"<code>{in_markdown(row.name)}</code>", *map(in_markdown, (*cells, verdict))]) + " |"
            )
    return lines


def _run_out(run: SavedRun) -> dict[str, Any]:
    return {"path": run.path, "commit": run.commit, "at": run.at}


def _change_out(change: Change) -> dict[str, Any]:
    ratio = change.ratio
    return {
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
        else {name: value if math.isfinite(value) else None for name, value in asdict(ratio).items()},
    }
