"""What the page's charts draw: plain values, and no HTML. null: unknown."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from pytest_energy.model import Interval, Result
from pytest_energy.report import charts
from pytest_energy.report.escape import plain
from pytest_energy.report.units import bounds, interval_text, with_unit
from pytest_energy.report.view import ResultView, RunView, common_prefix
from pytest_energy.stats.si_prefixes import scale_for

# Of all benchmarks together, some 20 bytes each; the page stays under 1.5 MB, 0.9 MB of it Vega.
MOST_WINDOWS = 12_000
NO_GROUP = "no group"


def page_document(view: RunView) -> dict[str, Any]:
    """Rows in the order of the table, windows, and the charts without values.

    Without a sensor there is no chart of joules where there is one of seconds: it repeats that.
    """
    by_name = {plain(result.name): result for result in view.results}
    results = [by_name.get(row.name) for row in view.rows]  # None: only in the other run
    factors = any(row.asks_for_factors for row in view.rows)
    rows = [
        _values(row, label, view, factors)
        for row, label in zip(view.rows, view.labels, strict=True)
    ]
    _name_in_groups(rows)
    quality = next((each.name for row in view.rows for each in row.qualities), "quality")
    per = "item" if view.rows and all(row.items for row in view.rows) else "call"
    provenance = f" ({view.meter.provenance})" if view.meter and view.loud_label else ""
    energy = f"joules per {per}{provenance}"
    for values, row in zip(rows, view.rows, strict=True):
        joules = row.joules_per_item if per == "item" else row.joules
        values["energy"] = joules if joules and joules > 0 else None
        values["energy_text"] = f"{with_unit(joules, 'J')} per {per}"
    drawn = {
        "ranked": charts.ranked(factors),
        "pareto": charts.pareto(quality, energy),
        "figures": charts.figures_chart(),
        "window_joules": charts.windows_chart("joules"),
        "window_seconds": charts.windows_chart("seconds"),
    }
    if view.estimated:
        del drawn["window_joules"]
    return {"rows": rows, "windows": windows_of(results), "charts": drawn}


def windows_of(results: Sequence[Result | None]) -> list[list[list[float]]]:
    """Joules, seconds per call and number of each benchmark's windows; every n-th of too many."""
    total = sum(len(result.measurement.windows) for result in results if result is not None)
    every = max(1, math.ceil(total / MOST_WINDOWS))
    return [
        [
            [
                _short(result.measurement.meter.total_joules(window.joules) / window.calls),
                _short(window.seconds_per_call),
                index + 1,
            ]
            for index, window in enumerate(result.measurement.windows)
            if index % every == 0
        ]
        if result is not None
        else []
        for result in results
    ]


def embedded(document: object) -> str:
    """JSON that a script element can hold: nothing in it ends the element or starts a comment."""
    text = json.dumps(document, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return text.replace("<", r"\u003c").replace("\u2028", r"\u2028").replace("\u2029", r"\u2029")


def bounded(key: str, interval: Interval | None) -> dict[str, float | None]:
    """A value and its bounds; unknown bounds are drawn at the value."""
    if interval is None or not math.isfinite(interval.value):
        return {key: None, f"{key}_low": None, f"{key}_high": None}
    known = math.isfinite(interval.low) and math.isfinite(interval.high)
    low, high = (interval.low, interval.high) if known else (interval.value, interval.value)
    return {key: interval.value, f"{key}_low": low, f"{key}_high": high}


def _name_in_groups(rows: Sequence[dict[str, Any]]) -> None:
    """Add ``short``: the name as a group's own chart shows it."""
    for group in {values["group"] for values in rows}:
        same = [values for values in rows if values["group"] == group]
        for values, short in zip(same, short_names([v["name"] for v in same]), strict=True):
            values["short"] = short


def _values(row: ResultView, label: str, view: RunView, factors: bool) -> dict[str, Any]:
    values: dict[str, Any] = {
        "name": row.name,
        "label": label,
        "group": row.group or NO_GROUP,
        "outcome": row.outcome,
        "state": row.state,
        "reasons": "; ".join(row.reasons),
    }
    for key, unit in (("joules", "J"), ("watts", "W"), ("seconds", "s")):
        interval = row.figure(key)
        values |= bounded(key, _above_zero(interval))
        values[f"{key}_text"] = _with_unit(interval, unit)
    for key, ratio in (("time", row.speedup), ("energy", None if view.estimated else row.greenup)):
        shown = ratio if ratio is None or factors else ratio.as_change()
        values |= bounded(f"{key}_change", shown)
        values[f"{key}_change_text"] = (
            interval_text(shown) if shown is None or factors else f"{shown:%}"
        )
    first = next(iter(row.qualities), None)
    known = first is not None and first.value is not None and math.isfinite(first.value)
    values["quality"] = first.value if first is not None and known else None
    values["quality_text"] = "" if first is None else f"{first.name} {first.text}"
    return values


def _above_zero(interval: Interval | None) -> Interval | None:
    """For an axis with a log scale."""
    if interval is None or interval.value <= 0:
        return None
    low = interval.low if interval.low > 0 else interval.value
    return Interval(interval.value, low, interval.high)


def _with_unit(interval: Interval | None, unit: str) -> str:
    if interval is None:
        return interval_text(None)
    factor, name = scale_for([interval.value], unit)
    value = f"{interval.scaled(factor)}".partition(" ")[0]
    return f"{value} {bounds(interval.scaled(factor))} {name}"


def short_names(names: Sequence[str]) -> list[str]:
    """Names without what all of them begin and end with.

    >>> short_names(["t[PLAID-int8-batch1]", "t[PLAID-student-batch1]"])
    ['int8', 'student']
    """
    starts = len(common_prefix(names)) if len(names) > 1 else 0
    ends = len(common_prefix([name[starts:][::-1] for name in names])) if len(names) > 1 else 0
    return [name[starts : len(name) - ends] or name for name in names]


def _short(value: float) -> float:
    return float(f"{value:.4g}")
