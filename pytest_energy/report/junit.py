"""A result as the properties of a test case in JUnit XML, which CI viewers show. pytest escapes them."""

from __future__ import annotations

from pytest_energy.model import Result
from pytest_energy.report.units import with_bounds
from pytest_energy.stats.gps_up import CATEGORIES
from pytest_energy.stats.per_call import figures

Properties = list[tuple[str, str]]


def properties(result: Result) -> Properties:
    """Names and values. Joules, watts and seconds are per call and unscaled, so that a program can read them."""
    meter, seen = result.measurement.meter, figures(result.measurement)
    found: Properties = [("energy_provenance", meter.provenance), ("energy_meter", meter.name)]
    for name, interval in (
        ("joules", seen.joules),
        ("net_joules", seen.net_joules),
        ("watts", seen.watts),
        ("seconds", seen.seconds),
    ):
        if interval is not None:
            found.append((f"energy_{name}", f"{interval.value:.6g}"))
    comparison = result.comparison
    if comparison is not None:
        found.append(("energy_baseline", comparison.baseline_name))
        for name, ratio in (
            ("speedup", comparison.speedup),
            ("greenup", comparison.greenup),
            ("powerup", comparison.powerup),
        ):
            if ratio is not None:
                found.append((f"energy_{name}", with_bounds(ratio)))
        if comparison.category is not None:
            found.append(
                ("energy_category", f"{comparison.category}: {CATEGORIES[comparison.category]}")
            )
    found += [
        (f"energy_quality_{quality.name}", f"{quality.value:.6g}") for quality in result.qualities
    ]
    found += [
        (f"energy_verdict_{each.metric}", f"{each.verdict}: {each.reason}")
        for each in result.verdicts
    ]
    return found
