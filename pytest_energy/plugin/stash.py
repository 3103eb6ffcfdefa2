"""What a run keeps where pytest has a place for it: on its config, and on its tests."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_energy.gate import Gate
    from pytest_energy.model import Quality
    from pytest_energy.options import Options
    from pytest_energy.plugin.recorder import Recorder, Session
    from pytest_energy.plugin.worker import Worker
    from pytest_energy.runs.comparison import RunComparison
    from pytest_energy.runs.summary import RunSummary

# On the config
OPTIONS_KEY: pytest.StashKey[Options] = pytest.StashKey()
SESSION: pytest.StashKey[Session] = pytest.StashKey()
"""There where this run measures."""
WORKER: pytest.StashKey[Worker] = pytest.StashKey()
"""There where this process is one of ``--energy-against``."""
BASELINE: pytest.StashKey[tuple[RunSummary, ...]] = pytest.StashKey()
COMPARED: pytest.StashKey[RunComparison | str] = pytest.StashKey()
"""With `BASELINE`; a text where it could not be compared."""
CLEANUP: pytest.StashKey[ExitStack] = pytest.StashKey()

# On a test
GATE: pytest.StashKey[Gate] = pytest.StashKey()
RECORDER: pytest.StashKey[Recorder] = pytest.StashKey()
FLOORS: pytest.StashKey[list[Quality]] = pytest.StashKey()
"""The floors that were not reached."""


def benchmark_session(config: pytest.Config) -> Any:
    """pytest-benchmark's session of this run, which it keeps on the config under a name of its own; None without that plugin."""
    return getattr(config, "_benchmarksession", None)
