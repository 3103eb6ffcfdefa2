"""The text of `pytest-energy doctor` and `pytest-energy noise`: values in, text out."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from pytest_energy.meters import MeterCheck
from pytest_energy.model import Domain, MeterInfo
from pytest_energy.report.escape import plain
from pytest_energy.report.units import digits, scale_for
from pytest_energy.runs.comparison import CompareOptions
from pytest_energy.runs.noise import Noise

WIDTH = 80
INDENT = " " * 6


def doctor_report(
    checks: Sequence[MeterCheck], disturbances: Sequence[str] = (), width: int = WIDTH
) -> str:
    """Each meter: what it counts and how finely, or what is missing and the line that mends it; then what disturbs."""
    lines: list[str] = []
    for check in checks:
        mark, first, *more = _told(check)
        lines += _wrapped(f"  {mark:<4}", first, width)
        for line in more:
            lines += _wrapped(INDENT, line, width)
    for line in disturbances:
        lines += _wrapped("", f"noise: {line}", width)
    sensors = [c.name for c in checks if c.meter is not None and c.meter.provenance == "measured"]
    attributed = [
        c.name for c in checks if c.meter is not None and c.meter.provenance == "attributed"
    ]
    if sensors:
        lines += _wrapped("", f"This machine can measure joules: {', '.join(sensors)}.", width)
    elif attributed:
        verdict = (
            f"Joules here are ATTRIBUTED by {', '.join(attributed)}: shares of the host's. "
            "They are not gated. Time and accuracy are."
        )
        lines += _wrapped("", verdict, width)
    else:
        verdict = "No sensor counts joules here: runs are ESTIMATED, and joules are not gated. Time and accuracy are."
        lines += _wrapped("", verdict, width)
    return "\n".join(lines)


def noise_report(noise: Noise, meter_name: str, path: str) -> str:
    """What `pytest-energy noise` found, and what it means."""
    alpha = CompareOptions().alpha
    floors = [
        f"{quantity} by less than {noise.floor(quantity, alpha):+.1%}"
        for quantity in ("joules", "seconds")
    ]
    return (
        f"Between runs, with meter {meter_name}: {noise.source}.\n"
        f"Of two single saved runs none is called regressed that differs in {' or in '.join(floors)}.\n"
        f"Slower drift was not seen: more --minutes see more of it. Kept in {plain(path)}"
    )


def _told(check: MeterCheck) -> Iterator[str]:
    """Yes or no, the first line, and what stands below it."""
    meter = check.meter
    if meter is None:
        yield "no"
        yield f"{check.name}: {check.reason}"
        if check.permission == "denied":
            yield "permission: denied"
        if check.remedy:
            yield f"do: {check.remedy}"
        return
    yield "yes"
    yield f"{check.name}: {meter.provenance}; {', '.join(map(_domain, meter.domains))}"
    yield f"{_fineness(meter)}; permission: {check.permission}"
    if meter.provenance == "estimated":
        low, high = meter.band
        yield f"the truth is taken to lie within {low:g} to {high:g} times its value"
    yield from meter.notes


def _fineness(meter: MeterInfo) -> str:
    factor, unit = scale_for([meter.update_interval_s], "s")
    step_factor, step_unit = scale_for([meter.resolution_joules], "J")
    return (
        f"updates every {digits(meter.update_interval_s * factor)} {unit}, "
        f"steps of {digits(meter.resolution_joules * step_factor)} {step_unit}"
    )


def _domain(domain: Domain) -> str:
    return domain.name if domain.parent is None else f"{domain.name} (inside {domain.parent})"


def _wrapped(start: str, text: str, width: int) -> list[str]:
    # Paths and commands stay whole, even where they stand out: they are there to be copied.
    return textwrap.wrap(
        text,
        width,
        initial_indent=start,
        subsequent_indent=" " * len(start) if start.strip() == "" else INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )
