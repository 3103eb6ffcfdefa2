"""A history as text for a terminal, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from itertools import pairwise

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from pytest_energy.model import NO_METER
from pytest_energy.report.escape import plain
from pytest_energy.report.units import digits
from pytest_energy.report.view import provenance_word, short_names
from pytest_energy.runs.history import ChangePoint, Group, History, Sample, Series
from pytest_energy.stats.si_prefixes import scale_for

HISTORY_SCHEMA = 1
COMMIT_DIGITS = 9
BARS = "▁▂▃▄▅▆▇█"
BARS_WIDTH = 16


def history_tables(history: History) -> Iterable[Table | Text]:
    """A heading and a table for each machine and meter, then what was passed over."""
    for group in history.groups:
        yield Text(heading(group), style="bold")
        yield _table(group)
        changes = sum(len(series.changes) for series in group.series)
        counts = [(len(group.series), "benchmark"), (group.n_runs, "run")]
        if not history.no_change_points:
            counts.append((changes, "change"))
        yield Text(", ".join(count_of(number, noun) for number, noun in counts) + "\n")
    if len(history.groups) > 1:
        yield Text("Runs of different machines or meters are never put side by side.")
    if history.without_joules:
        skipped = count_of(history.without_joules, "run")
        yield Text(f"{skipped} saved without --energy: not in the table.")
    if history.no_change_points:
        yield Text(history.no_change_points)


def count_of(number: int, noun: str) -> str:
    """ "1 run" or "2 runs"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def heading(group: Group) -> str:
    """Which machine, which meter, and whether its joules are measured."""
    if group.meter.name == NO_METER:
        return "any machine; counted work only, no joules and no timings"
    machine = group.machine
    known = [str(machine[key]) for key in ("cpu", "name") if machine.get(key)]
    size = f"{machine.get('cores', '?')} cores, {machine.get('memory_gib', '?')} GiB"
    word = provenance_word(group.meter)
    return plain(f"{', '.join([*known, size])}; joules {word} by {group.meter.name}")


def _table(group: Group) -> Table:
    factor, unit = scale_for(
        (sample.joules or 0 for series in group.series for sample in series.samples), "J"
    )
    time_factor, time_unit = scale_for(
        (sample.seconds or 0 for series in group.series for sample in series.samples), "s"
    )
    # The heading says whose joules they are.
    label = "" if group.meter.provenance == "measured" else " ~"
    labels = short_names([series.name for series in group.series])
    shown = dict(zip((series.name for series in group.series), labels, strict=True))
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    # A name is never broken: the others give way.
    table.add_column("benchmark", no_wrap=True, min_width=max(map(cell_len, labels), default=0))
    table.add_column("runs", justify="right")
    samples = [sample for series in group.series for sample in series.samples]
    timed = group.meter.name != NO_METER
    if timed:
        table.add_column(f"last, {unit}{label}", justify="right")
        table.add_column(f"last, {time_unit}", justify="right")
    table.add_column(
        "joules, a bar a run"
        if any(sample.joules for sample in samples)
        else "time, a bar a run"
        if any(sample.seconds for sample in samples)
        else "instructions, a bar a run"
    )
    counted = any(sample.instructions for sample in samples)
    if counted:
        table.add_column("last, instructions", justify="right")
    for series in sorted(group.series, key=lambda series: (not series.changes, series.name)):
        last = series.samples[-1]
        name = Text(plain(shown[series.name]))
        for change in series.changes:
            name.append(
                f"\n  {change_line(series, change)}", style="red" if change.ratio > 1 else "green"
            )
        table.add_row(
            name,
            str(len(series.samples)),
            *(
                [
                    "?" if last.joules is None else digits(last.joules * factor),
                    "?" if last.seconds is None else digits(last.seconds * time_factor),
                ]
                if timed
                else []
            ),
            sparkline(series.samples),
            *([_instructions(last)] if counted else []),
        )
    return table


def _instructions(sample: Sample) -> str:
    if sample.instructions is None:
        return "?"
    factor, unit = scale_for([sample.instructions], "")
    return f"{digits(sample.instructions * factor)} {unit}".strip()


def change_line(series: Series, change: ChangePoint) -> str:
    """What changed, by how much, and where it began.

    "joules up 8.1 % since 1a2b3c4d5 (run 201 of 300, 2026-01-20)"
    """
    sample = series.samples[change.index]
    direction = "up" if change.ratio > 1 else "down"
    where = sample.commit[:COMMIT_DIGITS] or "a run without a commit"
    day = f", {sample.at[:10]}" if sample.at else ""
    return plain(
        f"{change.metric} {direction} {abs(change.ratio - 1):.1%} since {where} "
        f"(run {change.index + 1} of {len(series.samples)}{day})"
    )


def sparkline(samples: Iterable[Sample]) -> str:
    """The series as bars of its joules, or else its seconds, or else its instructions; each is a
    mean of as many runs.

    >>> sparkline([Sample("", "", "", 1.0, joules) for joules in (1.0, 2.0, 3.0)])
    '▁▅█'
    """
    samples = list(samples)
    values = [sample.joules for sample in samples if sample.joules is not None]
    values = values or [sample.seconds for sample in samples if sample.seconds is not None]
    values = values or [s.instructions for s in samples if s.instructions is not None]
    if not values:
        return ""
    width = min(BARS_WIDTH, len(values))
    cuts = [round(i * len(values) / width) for i in range(width + 1)]
    means = [sum(values[low:high]) / (high - low) for low, high in pairwise(cuts)]
    least, most = min(means), max(means)
    if most == least:
        return BARS[0] * width
    return "".join(
        BARS[min(int((mean - least) / (most - least) * len(BARS)), len(BARS) - 1)] for mean in means
    )


def history_json(history: History) -> str:
    """For programs. null: not known; `index` counts runs of the series from 0."""
    document = {
        "schema": HISTORY_SCHEMA,
        "broken": list(history.broken),
        "without_joules": history.without_joules,
        "no_change_points": history.no_change_points or None,
        "groups": [
            {
                "machine": group.machine,
                "meter": {"name": group.meter.name, "provenance": group.meter.provenance},
                "runs": group.n_runs,
                "benchmarks": [
                    {
                        "name": series.name,
                        "runs": [asdict(sample) for sample in series.samples],
                        "changes": [_change_out(series, change) for change in series.changes],
                    }
                    for series in group.series
                ],
            }
            for group in history.groups
        ],
    }
    return json.dumps(document, indent=2, allow_nan=False)


def _change_out(series: Series, change: ChangePoint) -> dict[str, object]:
    sample = series.samples[change.index]
    return {**asdict(change), "ratio": change.ratio, "commit": sample.commit, "at": sample.at}
