"""A small chart of each benchmark over saved runs, as SVG: no script draws it.

A chart has the commits of its first and last run, and a mark with the commit at each change.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_energy.report.escape import in_html
from pytest_energy.report.history_table import COMMIT_DIGITS, change_line, heading
from pytest_energy.report.units import with_unit
from pytest_energy.runs.history import ChangePoint, Group, History, Sample, Series

WIDTH, HEIGHT, MARGIN = 260, 64, 6
# More points than pixels show nothing more; each point is then a mean of as many runs.
MOST_POINTS = 80
UNITS = {"joules": "J", "seconds": "s"}


def multiples_html(history: History, fewest_runs: int = 2) -> str:
    """A heading for each machine and meter, and a chart for each benchmark below it.

    Groups with fewer runs than ``fewest_runs`` are left out.
    """
    return "".join(
        f"<h3>{in_html(heading(group))}</h3><div class=multiples>{''.join(_figures(group))}</div>"
        for group in history.groups
        if group.n_runs >= fewest_runs
    )


def metric_of(group: Group) -> str:
    """Estimated joules only repeat the time."""
    return "seconds" if group.meter.provenance == "estimated" else "joules"


def line_svg(series: Series, metric: str, width: int = WIDTH, height: int = HEIGHT) -> str:
    """The series as a line, its last run as a point, each change as a mark."""
    values = [value_of(sample, metric) for sample in series.samples]
    known = [(index, value) for index, value in enumerate(values) if value is not None]
    if not known:
        return "<p>unknown</p>"
    least, most = min(value for _, value in known), max(value for _, value in known)
    span = most - least or 1.0

    def at(index: float, value: float) -> tuple[float, float]:
        across = index / max(1, len(values) - 1)
        return (
            round(MARGIN + across * (width - 2 * MARGIN), 1),
            round(height - MARGIN - (value - least) / span * (height - 2 * MARGIN), 1),
        )

    line = " ".join(f"{x},{y}" for x, y in (at(*point) for point in _thinned(known)))
    marks = []
    for change in series.changes:
        value = values[change.index] if change.metric == metric else None
        if value is not None:
            x, y = at(change.index, value)
            kind = "worse" if change.ratio > 1 else "better"
            marks.append(
                f'<g class={kind}><line x1="{x}" x2="{x}" y1="0" y2="{height}"/>'
                f'<circle cx="{x}" cy="{y}" r="3.5"/>'
                f"<title>{in_html(change_line(series, change))}</title></g>"
            )
    x, y = at(*known[-1])
    label = in_html(f"{metric} of {series.name} over {len(values)} runs")
    return (
        f'<svg viewBox="0 0 {width} {height}" role=img aria-label="{label}">'
        f'<polyline points="{line}"/>{"".join(marks)}<circle class=last cx="{x}" cy="{y}" r="2.5"/>'
        "</svg>"
    )


def value_of(sample: Sample, metric: str) -> float | None:
    """The sample's joules or seconds per call."""
    return sample.joules if metric == "joules" else sample.seconds


def changes_of(series: Series, metric: str) -> list[ChangePoint]:
    """The changes of one metric, the newest first."""
    return [change for change in reversed(series.changes) if change.metric == metric]


def last_text(series: Series, metric: str) -> str:
    """The newest known value with its unit."""
    known = [value for sample in series.samples if (value := value_of(sample, metric)) is not None]
    return with_unit(known[-1] if known else None, UNITS[metric])


def _figures(group: Group) -> Iterator[str]:
    metric = metric_of(group)
    for series in sorted(group.series, key=lambda each: not changes_of(each, metric)):
        first, last = (_commit(series.samples[at]) for at in (0, -1))
        notes = "".join(
            f"<li class={'worse' if change.ratio > 1 else 'better'}>"
            f"{in_html(change_line(series, change))}</li>"
            for change in changes_of(series, metric)
        )
        yield (
            f'<figure data-name="{in_html(series.name)}">'
            f"<figcaption><b>{in_html(series.name.partition('::')[2] or series.name)}</b> "
            f"{last_text(series, metric)} per call</figcaption>"
            f"{line_svg(series, metric)}"
            f"<div class=ends><span>{first}</span><span>{last}</span></div>"
            f"<ul>{notes}</ul></figure>"
        )


def _commit(sample: Sample) -> str:
    return in_html(sample.commit[:COMMIT_DIGITS] or sample.at[:10] or "no commit")


def _thinned(points: Sequence[tuple[int, float]]) -> list[tuple[float, float]]:
    """At most `MOST_POINTS`: means of as many neighbours each."""
    size = -(-len(points) // MOST_POINTS)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [
        (sum(i for i, _ in group) / len(group), sum(v for _, v in group) / len(group))
        for group in groups
    ]
