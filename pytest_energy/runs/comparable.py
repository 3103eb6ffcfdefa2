"""Which runs may be compared: those of one machine and one meter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from pytest_energy.errors import RunsIncomparable
from pytest_energy.model import MeterInfo

if TYPE_CHECKING:
    from pytest_energy.runs.summary import RunSummary


def meter_identity(meter: MeterInfo) -> tuple[object, ...]:
    """Two meters with equal identities count the same joules."""
    return (
        meter.name,
        meter.provenance,
        tuple(sorted((domain.name, domain.parent or "") for domain in meter.domains)),
    )


def by_machine_and_meter(runs: Iterable[RunSummary]) -> list[list[RunSummary]]:
    """Groups of runs that may be compared; in each, the oldest run comes first."""
    groups: dict[object, list[RunSummary]] = {}
    for run in sorted(runs, key=lambda run: (run.at, run.path)):
        machine = tuple(sorted((key, str(value)) for key, value in run.machine.items()))
        groups.setdefault((meter_identity(run.meter), machine), []).append(run)
    return list(groups.values())


def require_comparable(runs: Iterable[RunSummary]) -> None:
    """Raises `RunsIncomparable`, which names the difference, unless all runs may be compared."""
    first, *others = runs
    for other in others:
        both = f"{first.path} / {other.path}"
        machines = _differences(first.machine, other.machine)
        if machines:
            raise RunsIncomparable(f"another machine: {both}: {machines}")
        if meter_identity(first.meter) != meter_identity(other.meter):
            raise RunsIncomparable(
                f"another meter: {both}: {_describe(first.meter)} / {_describe(other.meter)}"
            )


def _differences(ours: Mapping[str, object], theirs: Mapping[str, object]) -> str:
    return "; ".join(
        f"{key}: {_value(ours, key)} / {_value(theirs, key)}"
        for key in sorted({*ours, *theirs})
        if ours.get(key) != theirs.get(key)
    )


def _value(machine: Mapping[str, object], key: str) -> str:
    return str(machine[key]) if key in machine else "not recorded"


def _describe(meter: MeterInfo) -> str:
    domains = ", ".join(domain.name for domain in meter.domains)
    return f"{meter.name}, {meter.provenance}, counting {domains}"
