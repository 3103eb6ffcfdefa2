"""The text of `pytest-energy doctor` and `pytest-energy noise`: values in, text out."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from pytest_energy.meters import MeterCheck
from pytest_energy.meters.registry import NONE_INSTALLED
from pytest_energy.model import Domain, MeterInfo
from pytest_energy.report.escape import plain
from pytest_energy.report.units import digits
from pytest_energy.runs.comparison import CompareOptions
from pytest_energy.runs.noise import Noise
from pytest_energy.stats.si_prefixes import scale_for

WIDTH = 80
INDENT = " " * 6
VERDICTS = (
    ("measured", "This machine can measure joules: {}."),
    (
        "attributed",
        (
            "Joules here are ATTRIBUTED by {}: a share of the host's. They do not pass or fail a "
            "gate; time and qualities do."
        ),
    ),
)
NO_SENSOR = (
    "No sensor counts joules here. Joules are ESTIMATED and do not pass or fail a gate; time and "
    "qualities do."
)

NO_METER = f"Nothing can be measured: {NONE_INSTALLED}."


def doctor_report(
    checks: Sequence[MeterCheck],
    disturbances: Sequence[str] = (),
    show_all: bool = False,
    width: int = WIDTH,
    counting: str = "",
) -> str:
    """The verdict, each available meter, the sources of noise, and the unavailable meters.

    A meter without permission is shown with its remedy. With ``show_all``, every unavailable meter
    is shown with its reason.
    """
    lines = [*_wrapped("", _verdict(checks), width), ""]
    absent = []
    for check in checks:
        if check.meter is None and check.permission != "denied" and not show_all:
            absent.append(check.name)
            continue
        mark, first, *more = map(plain, _description(check))
        lines += _wrapped(f"  {mark:<4}", first, width)
        for line in more:
            lines += _wrapped(INDENT, line, width)
    if counting:
        lines += _wrapped("", plain(f"counted work: {counting}"), width)
    for line in disturbances:
        lines += _wrapped("", plain(f"noise: {line}"), width)
    if absent:
        line = f"absent: {', '.join(absent)}; --all shows why"
        lines += _wrapped("", plain(line), width)
    return "\n".join(lines)


def noise_report(noise: Noise, meter_name: str, path: str) -> str:
    """The noise, and the smallest change that `pytest-energy compare` calls a regression."""
    alpha = CompareOptions().alpha
    floors = [
        f"{quantity} by {noise.floor(quantity, alpha):+.1%}" for quantity in ("joules", "seconds")
    ]
    return (
        f"Between runs, with meter {plain(meter_name)}: {plain(noise.source)}.\n"
        f"Between two single saved runs, only changes above this count as regressed: "
        f"{', '.join(floors)}.\n"
        f"Slower drift needs more --minutes. Saved in {plain(path)}"
    )


def _verdict(checks: Sequence[MeterCheck]) -> str:
    if not checks:
        return NO_METER
    for provenance, sentence in VERDICTS:
        names = [
            check.name
            for check in checks
            if check.meter is not None and check.meter.provenance == provenance
        ]
        if names:
            return plain(sentence.format(", ".join(names)))
    denied = [check.name for check in checks if check.permission == "denied"]
    if denied:
        return plain(f"{NO_SENSOR} Permission is missing for: {', '.join(denied)}.")
    return NO_SENSOR


def _description(check: MeterCheck) -> Iterator[str]:
    """Yes or no, the meter's first line, and the lines below it."""
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
        yield f"assumed error: the true value is {low:g} to {high:g} times the estimate"
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
    # Paths and commands stay whole, because people copy them.
    return textwrap.wrap(
        text,
        width,
        initial_indent=start,
        subsequent_indent=" " * len(start) if start.strip() == "" else INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )
