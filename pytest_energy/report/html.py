"""A run, and what came before it, as one page that opens anywhere: no network, no server, nothing to install.

Values are in the page as JSON, tables as HTML, so that both work without the charts. The charts are Vega-Lite's, whose code
the extra ``report`` brings (vl-convert-python), and which is put into the page whole.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import Any

from pytest_energy.errors import OptionError
from pytest_energy.model import Interval, MeterInfo, Result
from pytest_energy.report import charts
from pytest_energy.report.escape import plain
from pytest_energy.report.units import bounds, digits, interval_text, scale_for
from pytest_energy.runs.comparable import by_machine_and_meter
from pytest_energy.runs.json_format import Run
from pytest_energy.runs.summary import RunSummary
from pytest_energy.stats.gps_up import CATEGORIES
from pytest_energy.stats.per_call import figures, idle_watts

# Of all benchmarks together: some 20 bytes each in the page, which is to stay under 1.5 MB with the charts' 0.9 MB.
MOST_WINDOWS = 12_000
MOST_TREND_POINTS = 6_000
COMMIT_DIGITS = 9
NO_GROUP = "no group"
AXIS_MARGIN = 1.15  # so that no cross touches the frame
LEAST_SHARE = 0.4  # of one side of 1 to the other, so that the names of its regions have room
LEAST_AXIS = 1.25  # of ratios that are all 1 there is something to see, too

# Nothing may be fetched, from anywhere; images are Vega's own.
CONTENT_SECURITY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"

COLUMNS = (
    ("benchmark", "text"), ("verdicts", "text"), ("joules a call", "number"), ("watts", "number"), ("time a call", "number"), ("net joules a call", "number"),
    ("Speedup", "number"), ("Greenup", "number"), ("Powerup", "number"), ("category", "text"), ("quality", "number"),
)  # fmt: skip


def page(run: Run, earlier: Sequence[RunSummary] = ()) -> str:
    """The page of a run; ``earlier`` are other runs, for the trend. Raises `OptionError` without the charts' code."""
    meter = run.results[0].measurement.meter if run.results else None
    document = _document(run, earlier)
    return _own("page.html").format(
        csp=CONTENT_SECURITY,
        css=_own("page.css"),
        heading=_heading(run, meter),
        summary=_summary(run.results),
        table=_table(run.results, meter),
        has_trend="" if document["trend"] else "hidden",
        data=_embedded(document),
        charts_code=_charts_code(),
        code=_own("page.js"),
    )


def _charts_code() -> str:
    try:
        import vl_convert
    except ImportError:
        raise OptionError(
            'the page needs vl-convert-python: pip install "pytest-energy[report]"'
        ) from None
    # A module, in which `window.vegaEmbed` is set; "</script" is not in it, and may not come in unseen.
    bundle: Any = (
        vl_convert.javascript_bundle
    )  # its stub asks for a snippet, which it does not need
    return str(bundle()).replace("</script", r"<\/script")


def _document(run: Run, earlier: Sequence[RunSummary]) -> dict[str, Any]:
    """What the charts draw. Lists of plain values; null: not known."""
    rows = [_values(result) for result in run.results]
    common = _common_prefix([result.name for result in run.results])
    for row, result in zip(rows, run.results, strict=True):
        row["label"] = plain(result.name[common:])
    quality = next(
        (quality.name for result in run.results for quality in result.qualities), "quality"
    )
    ratios = [
        bound
        for row in rows
        for key in ("speedup", "greenup")
        for bound in (row[key], row[f"{key}_low"], row[f"{key}_high"])
        if bound
    ]
    high = max([LEAST_AXIS, *ratios]) * AXIS_MARGIN
    low = min([1 / LEAST_AXIS, high**-LEAST_SHARE, *ratios]) / AXIS_MARGIN
    high = max(high, low**-LEAST_SHARE)
    return {
        "rows": rows,
        "windows": _windows(run.results),
        "trend": _trend(run, earlier),
        "charts": {
            "quadrant": charts.quadrant(low, high),
            "pareto": charts.pareto(plain(quality)),
            "figures": charts.figures_chart(),
            "window_joules": charts.windows_chart("joules"),
            "window_seconds": charts.windows_chart("seconds"),
            "trend": charts.trend_chart(),
        },
    }


def _common_prefix(names: Sequence[str]) -> int:
    """How much of all the names is the same file: charts have no room to repeat it."""
    if not names:
        return 0
    first = names[0]
    file = first[: first.find("::") + 2] if "::" in first else ""
    return len(file) if all(name.startswith(file) for name in names) else 0


def _values(result: Result) -> dict[str, Any]:
    seen, comparison = figures(result.measurement), result.comparison
    provenance = result.measurement.meter.provenance
    values: dict[str, Any] = {
        "name": plain(result.name),
        "group": plain(result.group or NO_GROUP),
        "provenance": provenance,
    }
    for key, unit, interval in (
        ("joules", "J", seen.joules),
        ("watts", "W", seen.watts),
        ("seconds", "s", seen.seconds),
    ):
        values |= _parts(key, interval)
        values[f"{key}_text"] = _with_unit(interval, unit) + (
            "" if key == "seconds" else f" {provenance}"
        )
    ratios = ("speedup", "greenup", "powerup")
    for key in ratios:
        interval = None if comparison is None else getattr(comparison, key)
        values |= _parts(key, interval)
        values[f"{key}_text"] = interval_text(interval)
    values["category_text"] = _category(result)
    values["verdicts_text"] = _verdicts(result)
    first = next(iter(result.qualities), None)
    values["quality"] = None if first is None or not math.isfinite(first.value) else first.value
    values["quality_text"] = "" if first is None else f"{plain(first.name)} {first.value:.4g}"
    return values


def _parts(key: str, interval: Interval | None) -> dict[str, float | None]:
    if interval is None:
        return {key: None, f"{key}_low": None, f"{key}_high": None}
    low, high = (
        bound if math.isfinite(bound) and bound > 0 else interval.value
        for bound in (interval.low, interval.high)
    )
    return {key: interval.value, f"{key}_low": low, f"{key}_high": high}


def _windows(results: Sequence[Result]) -> list[list[list[float]]]:
    """For each benchmark, [joules, seconds] per call of its windows, every n-th one where they are too many for a page."""
    every = max(
        1, math.ceil(sum(len(result.measurement.windows) for result in results) / MOST_WINDOWS)
    )
    return [
        [
            [_short(result.measurement.meter.total_joules(window.joules) / window.calls), _short(window.seconds_per_call), index + 1]
            for index, window in enumerate(result.measurement.windows)
            if index % every == 0
        ]
        for result in results
    ]  # fmt: skip


def _trend(run: Run, earlier: Sequence[RunSummary]) -> list[dict[str, Any]]:
    """Each machine and meter with its runs, oldest first, and each benchmark's joules in them (null: not known)."""
    if not earlier:
        return []
    names = [result.name for result in run.results]
    budget = max(2, MOST_TREND_POINTS // max(1, len(names)))
    return [
        {
            "machine": plain(
                f"{same[0].machine.get('cpu', 'unknown CPU')}, {same[0].meter.name}, {same[0].meter.provenance}"
            ),
            "runs": [
                [plain(other.at), plain(other.commit[:COMMIT_DIGITS])] for other in same[-budget:]
            ],
            "joules": {
                plain(name): [_joules_of(other, name) for other in same[-budget:]]
                for name in names
                if any(name in other.benchmarks for other in same[-budget:])
            },
        }
        for same in by_machine_and_meter(earlier)
    ]


def _joules_of(run: RunSummary, name: str) -> float | None:
    point = run.benchmarks.get(name)
    return None if point is None or point.log_joules is None else _short(math.exp(point.log_joules))


def _heading(run: Run, meter: MeterInfo | None) -> str:
    machine = run.machine
    idle = idle_watts(run.results[0].measurement) if run.results else None
    lines = [
        ("joules", _provenance(meter)),
        ("machine", f"{machine.get('cpu', 'unknown CPU')}, {machine.get('cores', '?')} cores, {machine.get('memory_gib', '?')} GiB"),
        ("commit", f"{run.commit.get('id') or 'none saved'}{' with uncommitted changes' if run.commit.get('dirty') else ''}"),
        ("saved", run.at or "not said"),
        ("idle power", "not measured" if idle is None else f"{digits(idle.value)} W {bounds(idle)}; net is gross less idle power × time"),
    ]  # fmt: skip
    return "".join(f"<div><dt>{name}</dt><dd>{_text(value)}</dd></div>" for name, value in lines)


def _provenance(meter: MeterInfo | None) -> str:
    if meter is None:
        return "no benchmark was measured"
    if meter.provenance == "measured":
        return f"measured by {meter.name}, counting {', '.join(domain.name for domain in meter.domains)}"
    if meter.provenance == "attributed":
        return f"ATTRIBUTED by {meter.name}; {'; '.join(meter.notes)}"
    low, high = meter.band
    return f"ESTIMATED by {meter.name}, the truth within {low:g} to {high:g} times; {'; '.join(meter.notes)}"


def _summary(results: Iterable[Result]) -> str:
    counts: dict[str, int] = {}
    n_results = 0
    for result in results:
        n_results += 1
        for verdict in result.verdicts:
            counts[verdict.verdict] = counts.get(verdict.verdict, 0) + 1
    order = ("regressed", "missed", "inconclusive", "not gated", "improved", "met", "unchanged")
    shown = "".join(
        f'<li class="{_css(name)}">{counts[name]} {name}</li>' for name in order if name in counts
    )
    return f"<p>{n_results} benchmarks</p><ul class=verdicts>{shown}</ul>"


def _table(results: Sequence[Result], meter: MeterInfo | None) -> str:
    seen = [figures(result.measurement) for result in results]
    label = "" if meter is None or meter.provenance == "measured" else f" {meter.provenance}"
    scales = {
        "J": scale_for((each.joules.value for each in seen if each.joules), "J"),
        "W": (1.0, "W"),
        "s": scale_for((each.seconds.value for each in seen), "s"),
    }
    head = "".join(
        f'<th scope=col><button type=button data-kind={kind}>{_text(_column(name, scales, label))}</button></th>'
        for name, kind in COLUMNS
    )  # fmt: skip
    body = []
    for result, each in zip(results, seen, strict=True):
        comparison = result.comparison
        cells = [f"<td>{_verdict_list(result)}</td>"]
        cells += [
            _number(each.joules, scales["J"][0]),
            _number(each.watts, 1.0),
            _number(each.seconds, scales["s"][0]),
        ]
        cells.append(_number(each.net_joules, scales["J"][0]))
        cells += [
            _number(None if comparison is None else getattr(comparison, key), 1.0)
            for key in ("speedup", "greenup", "powerup")
        ]
        cells.append(f"<td>{_text(_category(result))}</td>")
        cells.append(_qualities(result))
        body.append(f"<tr><th scope=row>{_text(result.name)}</th>{''.join(cells)}</tr>")
    return f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody>"


def _column(name: str, scales: dict[str, tuple[float, str]], label: str) -> str:
    unit = {"joules a call": "J", "net joules a call": "J", "watts": "W", "time a call": "s"}.get(
        name
    )
    if unit is None:
        return name
    return f"{name}, {scales[unit][1]}{label if unit != 's' else ''}"


def _number(interval: Interval | None, factor: float) -> str:
    if interval is None:
        return "<td data-value>not known</td>"
    scaled = interval.scaled(factor)
    return f"<td data-value={interval.value!r}>{digits(scaled.value)} <small>{_text(bounds(scaled))}</small></td>"


def _qualities(result: Result) -> str:
    if not result.qualities:
        return "<td data-value></td>"
    texts = [
        f"{quality.name} {quality.value:.4g}"
        + ("" if quality.floor is None else f" (floor {quality.floor:.4g})")
        for quality in result.qualities
    ]
    return f"<td data-value={result.qualities[0].value!r}>{'<br>'.join(map(_text, texts))}</td>"


def _verdict_list(result: Result) -> str:
    items = "".join(
        f'<li class="{_css(verdict.verdict)}" title="{_text(verdict.reason)}">{_text(verdict.metric)} {verdict.verdict}</li>'
        for verdict in result.verdicts
    )
    return f"<ul class=verdicts>{items}</ul>"


def _verdicts(result: Result) -> str:
    return ", ".join(f"{plain(verdict.metric)} {verdict.verdict}" for verdict in result.verdicts)


def _category(result: Result) -> str:
    category = None if result.comparison is None else result.comparison.category
    return "" if category is None else f"{category}: {CATEGORIES[category]}"


def _with_unit(interval: Interval | None, unit: str) -> str:
    if interval is None:
        return "not known"
    factor, scaled_unit = scale_for([interval.value], unit)
    return f"{digits(interval.value * factor)} {bounds(interval.scaled(factor))} {scaled_unit}"


def _css(verdict: str) -> str:
    return verdict.replace(" ", "-")


def _text(text: object) -> str:
    return html.escape(plain(str(text)))


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _embedded(document: object) -> str:
    """JSON that a script element can hold: nothing in it ends the element or starts a comment."""
    text = json.dumps(document, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return text.replace("<", r"\u003c").replace("\u2028", r"\u2028").replace("\u2029", r"\u2029")


def _own(name: str) -> str:
    return files("pytest_energy.report").joinpath(name).read_text(encoding="utf8")
