"""A result as the properties of a test case in JUnit XML. pytest escapes them."""

from __future__ import annotations

from pytest_energy.model import Result
from pytest_energy.report.units import interval_text
from pytest_energy.report.view import ResultView

Properties = list[tuple[str, str]]


def properties(result: Result) -> Properties:
    """Names and values; joules, watts and seconds are per call and unscaled, for programs."""
    meter, row = result.measurement.meter, ResultView.of_result(result)
    found: Properties = [("energy_provenance", meter.provenance), ("energy_meter", meter.name)]
    for name in ("joules", "net_joules", "watts", "seconds"):
        interval = row.figure(name)
        if interval is not None:
            found.append((f"energy_{name}", f"{interval.value:.6g}"))
    if row.speedup is not None:
        found.append(("energy_baseline", row.baseline))
        for name in ("speedup", "greenup", "powerup"):
            ratio = getattr(row, name)
            if ratio is not None:
                found.append((f"energy_{name}", interval_text(ratio)))
        if row.category:
            found.append(("energy_category", row.category))
    found += [
        (f"energy_quality_{quality.name}", f"{quality.value:.6g}") for quality in row.qualities
    ]
    found += [
        (f"energy_verdict_{each.metric}", f"{each.verdict}: {each.reason}") for each in row.verdicts
    ]
    return found
