"""The keys of what this plugin stores on pytest's config and on its tests."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from pytest_energy.gate import Gate
    from pytest_energy.model import Quality, Result
    from pytest_energy.options import Options
    from pytest_energy.plugin.measuring_run import MeasuringRun
    from pytest_energy.plugin.recorder import Recorder
    from pytest_energy.report.view import RunView
    from pytest_energy.runs.comparison import RunComparison
    from pytest_energy.runs.summary import RunSummary


class Worker(Protocol):
    """A process that runs tests for another one, with a recorder of its own."""

    @property
    def recorder(self) -> Recorder:
        """Takes the place of each test's own recorder."""

    def configure(self, options: Options, synchronize: Callable[[], object] | None) -> None:
        """Take the options of this run."""


# On the config
OPTIONS_KEY: pytest.StashKey[Options] = pytest.StashKey()
RUN: pytest.StashKey[MeasuringRun] = pytest.StashKey()
"""Present if this run measures."""
WORKER: pytest.StashKey[Worker] = pytest.StashKey()
"""Present if this process is a worker of ``--energy-against`` or of ``--energy-count``."""
BASELINE: pytest.StashKey[tuple[RunSummary, ...]] = pytest.StashKey()
"""The saved runs of ``--energy-compare``."""
NOT_COMPARED: pytest.StashKey[str] = pytest.StashKey()
"""Why no test can be compared with the other commit."""
COMPARED: pytest.StashKey[RunComparison | str] = pytest.StashKey()
"""The comparison with `BASELINE`, or the reason why there is none."""
UNGATED: pytest.StashKey[list[str]] = pytest.StashKey()
"""A line for each gate that was asked for and gated nothing."""
ANNOTATIONS: pytest.StashKey[list[str]] = pytest.StashKey()
"""Workflow commands of GitHub Actions for the failed tests."""
VIEW: pytest.StashKey[RunView] = pytest.StashKey()
"""The results, as all writers show them."""
LIMITS: pytest.StashKey[dict[int, tuple[int, int]]] = pytest.StashKey()
"""The process's limits at the start of the run, by ``resource.RLIMIT_*``."""
CLEANUP: pytest.StashKey[ExitStack] = pytest.StashKey()
"""Closes worker processes."""

# On a test
GATE: pytest.StashKey[Gate] = pytest.StashKey()
RECORDER: pytest.StashKey[Recorder] = pytest.StashKey()
RESULTS: pytest.StashKey[list[Result]] = pytest.StashKey()
"""What the test measured and is not in the journal yet."""
FLOORS: pytest.StashKey[list[Quality]] = pytest.StashKey()
"""The qualities below their floors."""
