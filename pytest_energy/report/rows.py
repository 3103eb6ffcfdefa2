"""The terminal's table: one row for each test, and the reasons of those that failed below them.

Columns that the width has no room for are left out, the least important first. Names are never
broken: a longer one has a line of its own above its figures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from pytest_energy.model import Interval
from pytest_energy.report.units import before_after, digits, spread_text, with_unit
from pytest_energy.report.view import STATES, ResultView, RunView, State
from pytest_energy.stats.carbon import grams_per_million_calls

MARKS: dict[State, tuple[str, str]] = {
    "failed": ("✗", "bold red"),
    "inconclusive": ("?", "yellow"),
    "improved": ("✓", "green"),
    "passed": ("✓", "green"),
    "not gated": ("-", "yellow"),
}
WIDEST_NAME = 60
LEAST_NAME = 16
BAR_WIDTH = 12
GAP = "  "
MARK_WIDTH = 2
# A run of 30 tests then prints at most 40 lines, pytest's own included.
MOST_ROWS, FIRST_QUIET_ROWS = 20, 10
QUIET_STATES: tuple[State, ...] = ("passed", "not gated")
# Columns of this rank and above only repeat others, or decorate.
DECORATION = 4


@dataclass(frozen=True)
class Column:
    """A heading, the text of each row, and its rank for being left out (0: never)."""

    heading: str
    cells: list[str]
    optional: int = 0
    left: bool = False

    @property
    def width(self) -> int:
        return max(map(cell_len, [self.heading, *self.cells]))

    @property
    def empty(self) -> bool:
        return not any(self.cells)


def table_of(
    view: RunView,
    width: int,
    sort: str = "change",
    grams_per_kwh: float | None = None,
    all_rows: bool = True,
) -> Iterator[RenderableType]:
    """A heading, and the rows in order, failed ones first.

    Without ``all_rows``, a large run shows only some of the rows that ask for no attention.
    """
    labels = dict(zip((row.name for row in view.rows), view.labels, strict=True))
    ordered = sorted(view.rows, key=_order(sort))
    rows = ordered if all_rows else shown_rows(ordered)
    labels = {row.name: labels[row.name] for row in rows}
    columns = [column for column in _columns(view, rows, grams_per_kwh) if not column.empty]
    name_width = min(max(map(cell_len, labels.values())), WIDEST_NAME)
    columns = _fitting(columns, name_width, width)
    used = sum(column.width + cell_len(GAP) for column in columns)
    name_width = min(name_width, max(1, width - MARK_WIDTH - used))
    yield _line("", _heading(rows, name_width), name_width, columns, None, "dim")
    for index, row in enumerate(rows):
        mark, style = MARKS[row.state]
        label = labels[row.name]
        if cell_len(label) > name_width:
            yield Text(f"{mark} {label}", style=style if row.state == "failed" else "")
            mark, label = "", ""
        yield _line(mark, label, name_width, columns, index, style)
        for reason in [*row.reasons, *row.advice]:
            yield Text(f"    {reason}", style=style)
    if len(rows) < len(ordered):
        yield Text(f"  and {len(ordered) - len(rows)} more such rows: -v shows them", style="dim")


def shown_rows(rows: Sequence[ResultView]) -> list[ResultView]:
    """All rows of a small run. Of a larger one, all that need attention and the first others."""
    if len(rows) <= MOST_ROWS:
        return list(rows)
    quiet = [row for row in rows if row.state in QUIET_STATES]
    folded = {row.name for row in quiet[FIRST_QUIET_ROWS:]}
    return [row for row in rows if row.name not in folded]


def _columns(view: RunView, rows: Sequence[ResultView], grams: float | None) -> list[Column]:
    about = "~" if view.estimated else ""
    saved = not view.results
    factors = any(row.asks_for_factors for row in rows)
    columns = [
        Column("time", [_time(row, saved) for row in rows]),
        Column(
            f"energy {about}".strip(),
            [_energy(row, saved) for row in rows],
            2 if saved and about else 0,
        ),
        Column(
            "speedup" if factors else "time change",
            [_ratio(row.speedup, row, factors) for row in rows],
        ),
    ]
    if not view.estimated:
        heading = "greenup" if factors else "energy change"
        columns.append(Column(heading, [_ratio(row.greenup, row, factors) for row in rows], 1))
        columns.append(Column("watts", [_watts(row) for row in rows], DECORATION))
    per_item = [with_unit(row.joules_per_item, "J") if row.items else "" for row in rows]
    columns.append(Column(f"per item {about}".strip(), per_item, 3))
    if grams is not None:
        columns.append(
            Column(f"CO2e {about}".strip(), [grams_text(row, grams, saved) for row in rows])
        )
    names = _names_of_qualities(rows)
    heading = names.copy().pop() if len(names) == 1 else "quality"
    columns.append(Column(heading, [_qualities(row, names) for row in rows], 3, left=True))
    columns.append(Column("", _bars(rows), 5, left=True))
    return columns


def _fitting(columns: list[Column], name_width: int, width: int) -> list[Column]:
    """The columns that fit into the width. Those of rank 0 stay in any case."""
    kept = list(columns)
    for column in sorted(columns, key=lambda column: -column.optional):
        # Long names get a line of their own before a figure is left out.
        names = name_width if column.optional >= DECORATION else LEAST_NAME
        used = sum(column.width + cell_len(GAP) for column in kept)
        if column.optional and used + names + MARK_WIDTH > width:
            kept.remove(column)
    return _one_line_a_row(kept, name_width, width)


def _one_line_a_row(columns: list[Column], name_width: int, width: int) -> list[Column]:
    """Without the joules where the change of energy stands too, if names fit only then."""
    used = MARK_WIDTH + name_width + sum(column.width + cell_len(GAP) for column in columns)
    joules = next((column for column in columns if column.heading == "energy"), None)
    change = any(column.heading in ("energy change", "greenup") for column in columns)
    if joules is None or not change or used <= width:
        return columns
    fits = used - joules.width - cell_len(GAP) <= width
    return [column for column in columns if column is not joules] if fits else columns


def _line(
    mark: str, name: str, name_width: int, columns: Sequence[Column], index: int | None, style: str
) -> Table:
    """One row of figures; ``index`` None: the headings."""
    table = Table.grid(padding=0)
    table.add_column(width=MARK_WIDTH, no_wrap=True)
    table.add_column(width=name_width, no_wrap=True)
    cells: list[RenderableType] = [Text(mark, style=style), Text(name)]
    for column in columns:
        table.add_column(width=column.width + cell_len(GAP), no_wrap=True)
        text = column.heading if index is None else column.cells[index]
        space = " " * (column.width - cell_len(text))
        shown = GAP + (text + space if column.left else space + text)
        cells.append(Text(shown, style=style if index is None or style.startswith("bold") else ""))
    table.add_row(*cells)
    return table


def _heading(rows: Sequence[ResultView], width: int) -> str:
    baselines = {row.baseline for row in rows if row.baseline}
    heading = f"against {baselines.pop()}" if len(baselines) == 1 else ""
    return heading if cell_len(heading) <= width else ""


def _order(sort: str) -> Callable[[ResultView], tuple[int, float, str]]:
    """Failed tests first; within a state the worst change, or what was asked for."""

    def key(row: ResultView) -> tuple[int, float, str]:
        by = {
            "change": math.inf if row.speedup is None else row.speedup.value,
            "time": -(row.seconds or 0.0),
            "energy": -(row.joules or 0.0),
        }
        state: State = "passed" if row.state == "improved" else row.state
        return STATES.index(state), by.get(sort, 0.0), row.name

    return key


def _time(row: ResultView, saved: bool) -> str:
    if saved:
        return before_after(row.seconds_before, row.seconds, "s") if row.seconds else ""
    spread = "" if row.baseline or row.per_call is None else spread_text(row.per_call.seconds)
    return f"{with_unit(row.seconds, 's')} {spread}".strip()


def _energy(row: ResultView, saved: bool) -> str:
    if saved:
        return before_after(row.joules_before, row.joules, "J") if row.joules else ""
    return with_unit(row.joules, "J")


def _watts(row: ResultView) -> str:
    watts = row.per_call and row.per_call.watts
    return f"{digits(watts.value)} W" if watts else ""


def grams_text(row: ResultView, grams_per_kwh: float, with_before: bool) -> str:
    """Grams of CO2e per million calls, with those of the baseline where they are known."""
    if row.joules is None:
        return ""
    before, after = (
        None if joules is None else grams_per_million_calls(joules, grams_per_kwh)
        for joules in (row.joules_before, row.joules)
    )
    return (
        with_unit(after, "g")
        if before is None or not with_before
        else before_after(before, after, "g")
    )


def _names_of_qualities(rows: Sequence[ResultView]) -> set[str]:
    """Those with a floor, or all if none has one; ``-vv`` and the page show all."""
    seen = [quality for row in rows for quality in row.qualities]
    return {q.name for q in seen if q.floor is not None} or {q.name for q in seen}


def _qualities(row: ResultView, names: set[str]) -> str:
    return ", ".join(
        quality.text if len(names) == 1 else f"{quality.name} {quality.text}"
        for quality in row.qualities
        if quality.name in names
    )


def _ratio(ratio: Interval | None, row: ResultView, factor: bool) -> str:
    if ratio is None:
        return "unknown" if row.baseline and row.speedup is not None else ""
    if not factor:
        return f"{ratio.as_change():%}"
    value, _, rest = f"{ratio}".partition(" ")
    return f"{value}× {rest}"


def _bars(rows: Sequence[ResultView]) -> list[str]:
    """How far each ratio is from 1, on a log scale; a hollow bar is slower."""
    logs = [
        math.log(row.speedup.value) if row.speedup and row.speedup.value > 0 else 0.0
        for row in rows
    ]
    most = max(map(abs, logs))
    if most < math.log(1.1):
        return ["" for _ in rows]
    return [("█" if log > 0 else "░") * round(abs(log) / most * BAR_WIDTH) for log in logs]
