"""The table of the page: all figures of each benchmark, failed ones first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_energy.model import Interval
from pytest_energy.report.escape import in_html
from pytest_energy.report.units import bounds
from pytest_energy.report.view import ResultView, RunView, provenance_word
from pytest_energy.stats.si_prefixes import scale_for

NOT_KNOWN = "<td data-value>unknown</td>"


@dataclass(frozen=True)
class _Column:
    """A heading, how it sorts, and the cell of a row."""

    heading: str
    kind: Literal["text", "number"]
    cell: Callable[[ResultView], str]


def table_html(view: RunView) -> str:
    """Head and body of the table; a heading is a button that sorts."""
    columns = list(_columns(view))
    head = "".join(
        f"<th scope=col><button type=button data-kind={column.kind}>"
        f"{in_html(column.heading)}</button></th>"
        for column in columns
    )
    body = "".join(
        f"<tr><th scope=row>{in_html(row.name)}</th>"
        f"{''.join(column.cell(row) for column in columns[1:])}</tr>"
        for row in view.rows
    )
    return f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"


def _columns(view: RunView) -> Sequence[_Column]:
    """Without columns that no row has, and, for estimates, those that only repeat the time."""
    rows = view.rows
    label = "" if view.meter is None or not view.loud_label else f" {provenance_word(view.meter)}"
    seconds, time_unit = scale_for([row.seconds for row in rows if row.seconds], "s")
    joules, energy_unit = scale_for([row.joules for row in rows if row.joules], "J")

    def figure(name: str, factor: float) -> Callable[[ResultView], str]:
        return lambda row: _number(row.figure(name), factor)

    columns = [
        _Column("benchmark", "text", lambda row: ""),
        _Column("verdict", "text", _verdicts),
        _Column(f"time per call, {time_unit}", "number", figure("seconds", seconds)),
        _Column(f"joules per call, {energy_unit}{label}", "number", figure("joules", joules)),
    ]
    if any(row.speedup for row in rows):
        columns.append(_Column("speedup", "number", lambda row: _number(row.speedup, 1.0)))
    if not view.estimated:
        columns += [
            _Column(f"net joules per call, {energy_unit}", "number", figure("net_joules", joules)),
            _Column("watts", "number", figure("watts", 1.0)),
        ]
        if any(row.greenup for row in rows):
            columns += [
                _Column("greenup", "number", lambda row: _number(row.greenup, 1.0)),
                _Column("powerup", "number", lambda row: _number(row.powerup, 1.0)),
                _Column("category", "text", lambda row: f"<td>{in_html(row.category)}</td>"),
            ]
    if any(row.qualities for row in rows):
        columns.append(_Column("quality", "number", _qualities))
    return columns


def _verdicts(row: ResultView) -> str:
    items = "".join(
        f'<li class="{verdict.verdict.replace(" ", "-")}" title="{in_html(verdict.reason)}">'
        f"{in_html(verdict.metric)} {verdict.verdict}</li>"
        for verdict in row.verdicts
    )
    return f"<td><b>{row.outcome}</b><ul class=verdicts>{items}</ul></td>"


def _number(interval: Interval | None, factor: float) -> str:
    if interval is None:
        return NOT_KNOWN
    scaled = interval.scaled(factor)
    value = f"{scaled}".partition(" ")[0]
    return (
        f"<td data-value={interval.value!r}>{value} <small>{in_html(bounds(scaled))}</small></td>"
    )


def _qualities(row: ResultView) -> str:
    if not row.qualities:
        return "<td data-value></td>"
    texts = "<br>".join(in_html(f"{quality.name} {quality.text}") for quality in row.qualities)
    return f"<td data-value={row.qualities[0].value!r}>{texts}</td>"
