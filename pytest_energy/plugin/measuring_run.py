"""The state of one measuring run: the open meter, the idle windows, the results so far."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_energy.commits.against import Against
from pytest_energy.commits.fresh import FreshProcesses
from pytest_energy.errors import MeterFailed
from pytest_energy.measuring.stopwatch import PhaseTimes, Stopwatch
from pytest_energy.measuring.window import idle_windows
from pytest_energy.meters import Meter, info
from pytest_energy.model import Counted, MeterInfo, Result, Window
from pytest_energy.options import Options
from pytest_energy.plan import Plan

if TYPE_CHECKING:
    from pytest_energy.plugin.progress import Progress


class MeasuringRun:
    """One run of pytest with ``--energy``. pytest's own session is another thing."""

    def __init__(
        self,
        options: Options,
        meter: Meter,
        synchronize: Callable[[], object] | None = None,
        counts_only: bool = False,
    ):
        self.counts_only = counts_only
        """Each test is counted, and not measured."""
        self.options = options
        self.meter = meter
        self.plan: Plan = replace(options.plan, synchronize=synchronize)
        self.results: list[Result] = []
        self.measured_tests: set[str] = set()
        """The node ids of the tests with results; a test has one for each phase."""
        self.idle: tuple[Window, ...] = ()
        self.counted: dict[str, Counted] = {}
        """The counted work of each test, with ``--energy-count``."""
        self.disabled_benchmarks: list[str] = []
        """The tests whose ``benchmark`` pytest-benchmark did not run."""
        self.against: tuple[Against, ...] = ()
        """The other commits of ``--energy-against``."""
        self.fresh: FreshProcesses | None = None
        """Where ``energy.versus`` compares, with ``--energy-fresh-processes``."""
        self.timings: list[PhaseTimes] = []
        self.progress: Progress | None = None
        """Shows the steps of a measurement, with ``-v``."""

    @property
    def meter_info(self) -> MeterInfo:
        """The open meter: its name, domains and provenance."""
        return info(self.meter)

    def ensure_idle(self) -> None:
        """Take idle windows before the first measurement."""
        if not self.idle and not self.counts_only:
            self.idle = idle_windows(self.meter)

    @contextmanager
    def timed_plan(self, name: str, plan: Plan) -> Iterator[Plan]:
        """The plan of one test, with its steps timed and shown."""
        progress = self.progress
        stopwatch = Stopwatch(
            name, lambda step: progress.step(name, step) if progress is not None else None
        )
        try:
            yield replace(plan, on_step=stopwatch)
        finally:
            self.timings.append(stopwatch.stop())
            if progress is not None:
                progress.ended(self.timings[-1])

    def finish(self) -> None:
        """Take the closing idle windows, add all idle windows to the results, close the meter."""
        if self.results and not self.counts_only:
            try:
                self.idle += idle_windows(self.meter)
            except MeterFailed as failure:  # the results are worth more than these windows
                self._warn_last_result(
                    f"net joules use only the idle windows before the first measurement: {failure}"
                )
            self.results = [
                replace(r, measurement=replace(r.measurement, idle=self.idle)) for r in self.results
            ]
        self.close()

    def close(self) -> None:
        """Close the meter."""
        self.meter.close()

    def _warn_last_result(self, warning: str) -> None:
        *others, last = self.results
        warnings = (*last.measurement.warnings, warning)
        measurement = replace(last.measurement, warnings=warnings)
        self.results = [*others, replace(last, measurement=measurement)]
