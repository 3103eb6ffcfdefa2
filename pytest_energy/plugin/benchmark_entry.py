"""A result of ours as an entry among pytest-benchmark's, which saves it with its own."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from pytest_benchmark.stats import Metadata

from pytest_energy.model import Result


class EnergyEntry(Metadata):
    """What pytest-benchmark keeps of a benchmark; made from our windows and not from its rounds."""

    is_energy_entry = True


def benchmark_entry(item: pytest.Item, result: Result) -> EnergyEntry:
    """The entry: one round per window, its seconds per call."""
    callspec = getattr(item, "callspec", None)
    windows = result.measurement.windows
    fixture = SimpleNamespace(
        name=item.name,
        fullname=item.nodeid,
        group=result.group,
        param=callspec.id if callspec else None,
        params=callspec.params if callspec else None,
        extra_info={},
        cprofile_stats=None,
        has_error=False,
    )
    entry = EnergyEntry(fixture, windows[0].calls, {"timer": "perf_counter", "disable_gc": True})
    for window in windows:
        entry.stats.update(window.seconds_per_call)
    return entry
