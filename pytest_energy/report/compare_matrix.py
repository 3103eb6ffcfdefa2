"""Several runs against one, as a table: a row per benchmark and metric, a column per run."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pytest_energy.report.compare_table import as_json
from pytest_energy.report.escape import plain
from pytest_energy.report.units import digits
from pytest_energy.report.view import RunView
from pytest_energy.runs.comparison import Change, RunComparison
from pytest_energy.runs.summary import RunSummary
from pytest_energy.stats.si_prefixes import scale_for

COMMIT_DIGITS = 9
QUANTITIES = {"s": "time", "J": "energy"}
MARKS = {"regressed": "✗", "improved": "✓", "unchanged": "=", "inconclusive": "?"}
LEGEND = "✗ regressed, ✓ improved, = unchanged, ? inconclusive, no mark: not gated, -: not in it"


def matrix_table(comparisons: Sequence[RunComparison]) -> str:
    """A sentence per run; the values of OLD, and the change of each other run with its verdict."""
    sentences = [
        f"{run_name(each.new)}: {RunView.of_comparison(each).sentence}" for each in comparisons
    ]
    header = ["", run_name(comparisons[0].old), *(run_name(each.new) for each in comparisons)]
    changes = [_changes(comparison) for comparison in comparisons]
    names = sorted({name for found in changes for name, _ in found})
    lines = []
    for name in names:
        lines.append([plain(name)])
        metrics = dict.fromkeys(key[1] for found in changes for key in found if key[0] == name)
        for metric in metrics:
            row = [found.get((name, metric)) for found in changes]
            lines.append(_cells(metric, row, comparisons[0]))
    columns = zip(*(line for line in [header, *lines] if len(line) > 1), strict=True)
    widths = [max(map(len, column)) for column in columns]
    return "\n".join(
        [*sentences, "", *(_line(line, widths) for line in [header, *lines]), "", LEGEND]
    )


def matrix_json(
    comparisons: Sequence[RunComparison],
    exit_codes: Sequence[int],
    grams_per_kwh: float | None = None,
) -> str:
    """A list of what `compare_table.as_json` gives for each comparison."""
    texts = [
        as_json(comparison, code, grams_per_kwh)
        for comparison, code in zip(comparisons, exit_codes, strict=True)
    ]
    return json.dumps([json.loads(text) for text in texts], indent=2)


def run_name(runs: Sequence[RunSummary]) -> str:
    """The first and the last commit of these runs, or a path if no commit is known."""
    commits = list(dict.fromkeys(run.commit[:COMMIT_DIGITS] for run in runs if run.commit))
    if not commits:
        return plain(runs[-1].path)
    return plain(commits[0] if len(commits) == 1 else f"{commits[0]}..{commits[-1]}")


def _changes(comparison: RunComparison) -> dict[tuple[str, str], Change]:
    return {
        (row.name, change.metric): change
        for row in comparison.rows
        for change in row.changes
        if change.metric != "benchmark"  # on one side only
    }


def _cells(metric: str, changes: Sequence[Change | None], comparison: RunComparison) -> list[str]:
    known = next(change for change in changes if change is not None)
    label = QUANTITIES.get(known.unit, plain(metric))
    provenance = comparison.new[0].meter.provenance
    if known.unit == "J" and provenance != "measured":
        label += f" ({provenance})"
    factor, unit = (1.0, "")
    if known.old is not None and known.unit:
        factor, unit = scale_for([known.old], known.unit)
    old = "unknown" if known.old is None else f"{digits(known.old * factor)} {unit}".rstrip()
    return [f"  {label}", old, *map(_cell, changes)]


def _cell(change: Change | None) -> str:
    if change is None:
        return "-"
    mark = MARKS.get(change.verdict.verdict, "")
    if change.old is None or change.new is None:
        value = "unknown"
    elif not change.unit:  # a quality: its relative change means little
        value = digits(change.new)
    else:
        value = f"{change.new / change.old - 1:+.1%}" if change.old else "unknown"
    return f"{value} {mark}".rstrip()


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    if len(cells) == 1:
        return cells[0]
    first, *others = cells
    columns = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
    return "  ".join([first.ljust(widths[0]), *columns]).rstrip()
