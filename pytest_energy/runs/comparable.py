"""Which runs may be compared: those of one machine, one meter and the same software."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from pytest_energy.errors import RunsIncomparable
from pytest_energy.model import NO_METER, MeterInfo
from pytest_energy.runs.software import (
    DISTRIBUTIONS,
    PYTHON,
    describe_software,
    software_differences,
)
from pytest_energy.runs.summary import RunSummary, meter_identity


def by_machine_and_meter(runs: Iterable[RunSummary]) -> list[list[RunSummary]]:
    """Groups of runs that may be compared; in each, the oldest run comes first."""
    groups: dict[object, list[RunSummary]] = {}
    for run in sorted(runs, key=lambda run: (run.at, run.path)):
        machine = tuple(sorted((key, str(value)) for key, value in run.machine.items()))
        if run.meter.name == NO_METER:
            machine = ()  # counted work compares across machines
        groups.setdefault((meter_identity(run.meter), machine), []).append(run)
    return list(groups.values())


# The kernel keeps a little of the memory, more or less with each release, so that a machine of
# 16 GiB may have 15. Below this size a GiB is too much for that.
SMALLEST_ROUNDED_GIB = 8
UNKNOWN = (None, "", "unknown")


def require_comparable(runs: Iterable[RunSummary], across_software: bool = False) -> None:
    """Raises `RunsIncomparable`, which names the difference, unless all runs may be compared.

    ``across_software`` allows runs of different interpreters and versions.
    """
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
        if not across_software:
            require_same_software([first, other])


def require_same_software(runs: Iterable[RunSummary]) -> None:
    """Raises `RunsIncomparable` for runs of different interpreters or versions."""
    first, *others = runs
    for other in others:
        software = software_differences(first.software, other.software)
        if software:
            raise RunsIncomparable(
                f"other software: {first.path} / {other.path}: {software}; "
                "pytest-energy compare --across software compares them anyway"
            )


def software_lines(old: Sequence[RunSummary], new: Sequence[RunSummary]) -> Iterator[str]:
    """What both sides ran on, or how that differs, or that a side does not record it."""
    before, after = old[-1].software, new[-1].software
    differences = software_differences(before, after)
    if differences:
        yield f"software differs, OLD / NEW: {differences}"
    else:
        yield f"software: {describe_software({**before, **after})}"
    incomplete = [
        side
        for side, known in (("OLD", before), ("NEW", after))
        if PYTHON not in known or DISTRIBUTIONS not in known
    ]
    if incomplete:
        yield (
            f"software of {' and '.join(incomplete)}: saved by an older version that did not "
            "record what the tests import, so differences may be unseen"
        )


def _differences(ours: Mapping[str, object], theirs: Mapping[str, object]) -> str:
    return "; ".join(
        f"{key}: {_value(ours, key)} / {_value(theirs, key)}"
        for key in sorted({*ours, *theirs})
        if not _same(key, ours.get(key), theirs.get(key))
    )


def _same(key: str, ours: object, theirs: object) -> bool:
    if key == "cpu" and ours in UNKNOWN:
        return False  # two unknown CPUs may be any two
    if key == "memory_gib" and isinstance(ours, int) and isinstance(theirs, int):
        rounding = 1 if min(ours, theirs) >= SMALLEST_ROUNDED_GIB else 0
        return abs(ours - theirs) <= rounding
    return ours == theirs


def _value(machine: Mapping[str, object], key: str) -> str:
    return str(machine[key]) if key in machine else "not recorded"


def _describe(meter: MeterInfo) -> str:
    domains = ", ".join(domain.name for domain in meter.domains)
    return f"{meter.name}, {meter.provenance}, counting {domains}"
