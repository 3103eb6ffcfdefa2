"""A measurement, its figures or a comparison as a short text, and as a table for a notebook."""

from __future__ import annotations

import math
from collections.abc import Iterator

from pytest_energy.model import Comparison, Interval, Measurement, MeterInfo
from pytest_energy.report.escape import in_html, plain
from pytest_energy.report.units import bounds
from pytest_energy.report.view import category_text, provenance_text
from pytest_energy.stats.per_call import Figures, figures
from pytest_energy.stats.si_prefixes import scale_for
from pytest_energy.verdicts import count_blocks

Lines = list[tuple[str, str]]
NO_JOULES = "unknown: the counter did not move"


def text(value: object) -> str:
    """A line for each figure: its name, its value, its interval."""
    title, lines, notes = _parts(value)
    width = max(len(name) for name, _ in lines)
    rows = [f"  {name:<{width}}  {shown}" for name, shown in lines]
    return "\n".join(plain(line) for line in [title, *rows, *(f"  {note}" for note in notes)])


def table(value: object) -> str:
    """The same as HTML, for a notebook."""
    title, lines, notes = _parts(value)
    rows = "".join(
        f"<tr><th scope=row style='text-align:left'>{in_html(name)}</th>"
        f"<td style='text-align:left'>{in_html(shown)}</td></tr>"
        for name, shown in lines
    )
    closing = "".join(f"<div><small>{in_html(note)}</small></div>" for note in notes)
    return f"<table><caption>{in_html(title)}</caption>{rows}</table>{closing}"


def _parts(value: object) -> tuple[str, Lines, list[str]]:
    """Title, lines and notes of one of the three."""
    if isinstance(value, Measurement):
        count = len(value.windows)
        title = f"{value.name or 'measurement'}: {count} {'window' if count == 1 else 'windows'}"
        return title, list(_of_figures(figures(value))), _notes(value.meter, value.warnings)
    if isinstance(value, Figures):
        return "per call", list(_of_figures(value)), _notes(value.meter)
    if isinstance(value, Comparison):
        title = f"against {value.baseline_name or 'the baseline'}: {count_blocks(value.blocks)}"
        return title, list(_of_comparison(value)), _notes(value.meter)
    raise TypeError(f"{type(value).__name__} is neither Measurement, Figures nor Comparison")


def _of_figures(seen: Figures) -> Iterator[tuple[str, str]]:
    yield "time", _scaled(seen.seconds, "s")
    yield "energy", NO_JOULES if seen.joules is None else _scaled(seen.joules, "J")
    if seen.net_joules is not None:
        yield "net energy", _scaled(seen.net_joules, "J")
    # Estimated watts are an assumption, not a result.
    if seen.watts is not None and seen.meter.provenance != "estimated":
        yield "power", _scaled(seen.watts, "W")


def _of_comparison(seen: Comparison) -> Iterator[tuple[str, str]]:
    yield "time", f"{seen.speedup.as_change():%}"
    yield "speedup", f"{seen.speedup}"
    if seen.meter is not None and seen.meter.provenance == "estimated":
        return  # the other ratios would only repeat the time
    if seen.greenup is None:
        yield "energy", NO_JOULES
        return
    yield "energy", f"{seen.greenup.as_change():%}"
    yield "greenup", f"{seen.greenup}"
    if seen.powerup is not None:
        yield "powerup", f"{seen.powerup}"
    yield "category", category_text(seen.category) or "none is certain"


def _notes(meter: MeterInfo | None, warnings: tuple[str, ...] = ()) -> list[str]:
    notes = [] if meter is None else [f"joules {provenance_text(meter)}"]
    return [*notes, *(f"warning: {warning}" for warning in warnings)]


def _scaled(interval: Interval, unit: str) -> str:
    factor, name = scale_for([interval.value], unit)
    scaled = interval.scaled(factor)
    value = f"{scaled}".partition(" ")[0]
    if not math.isfinite(scaled.high):
        return f"{value} {name}"
    return f"{value} {name} {bounds(scaled)}"
