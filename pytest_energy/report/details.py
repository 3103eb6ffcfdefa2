"""All figures of each test, for ``-vv``."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_energy.model import Interval
from pytest_energy.report.units import with_unit
from pytest_energy.report.view import ResultView, RunView
from pytest_energy.stats.si_prefixes import scale_for


def detail_lines(view: RunView) -> Iterator[str]:
    """A block for each test: figures per call, ratios, verdicts with their evidence."""
    for row in view.rows:
        yield ""
        yield row.name
        yield from (f"    {line}" for line in _figures(row))
        yield from (f"    {line}" for line in _ratios(row))
        for quality in row.qualities:
            yield f"    {quality.name} {quality.text}"
        for verdict in row.verdicts:
            yield f"    {verdict.metric} {verdict.verdict}: {verdict.reason}"


def _figures(row: ResultView) -> Iterator[str]:
    seen = row.per_call
    if seen is None:
        return
    yield f"time {_scaled(seen.seconds, 's')}"
    if seen.joules is None:
        yield "no joules counted"
        return
    net = "" if seen.net_joules is None else f", net {_scaled(seen.net_joules, 'J')}"
    yield f"energy {_scaled(seen.joules, 'J')}{net}"
    if row.joules_per_item is not None:
        correct = row.joules_per_correct_item
        per_correct = "" if correct is None else f", {with_unit(correct, 'J')} per correct item"
        yield f"{with_unit(row.joules_per_item, 'J')} per item{per_correct}"
    if seen.watts is not None:
        yield f"power {_scaled(seen.watts, 'W')}"
    if len(seen.domains) > 1:
        domains = (f"{name} {with_unit(joules, 'J')}" for name, joules in seen.domains.items())
        yield f"domains: {', '.join(domains)}"
    if seen.others_share is not None:
        yield f"other programs: {seen.others_share:.0%} of the CPU time, their joules included"


def _ratios(row: ResultView) -> Iterator[str]:
    if row.speedup is None:
        return
    named = (("speedup", row.speedup), ("greenup", row.greenup), ("powerup", row.powerup))
    known = ", ".join(f"{name} {ratio}" for name, ratio in named if ratio is not None)
    yield f"{known}, against {row.baseline}"
    yield f"category {row.category}" if row.category else "no category is certain"


def _scaled(interval: Interval, unit: str) -> str:
    factor, name = scale_for([interval.value], unit)
    return f"{interval.scaled(factor)} {name}"
