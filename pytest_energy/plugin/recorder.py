"""What lasts as long as one pytest run: the open meter, the idle windows, the results."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_energy.commits.against import Against
from pytest_energy.commits.worker_process import ReplicateFailed
from pytest_energy.errors import FixtureMisuse, MeterFailed
from pytest_energy.gate import Gate
from pytest_energy.measuring.paired import versus
from pytest_energy.measuring.single import find_warnings, measure, measure_prepared
from pytest_energy.measuring.stopwatch import PhaseTimes, Stopwatch
from pytest_energy.measuring.window import idle_windows
from pytest_energy.meters import Meter, info
from pytest_energy.model import Comparison, Measurement, MeterInfo, Quality, Result, Verdict, Window
from pytest_energy.options import Options
from pytest_energy.plan import Plan, collect_void_reasons

# pytest leaves our frames out of the traceback of the user's error.
__tracebackhide__ = True

if TYPE_CHECKING:
    from pytest_energy.plugin.progress import Progress


class Session:
    """One open meter, and all results so far."""

    def __init__(
        self, options: Options, meter: Meter, synchronize: Callable[[], object] | None = None
    ):
        self.options = options
        self.meter = meter
        self.plan: Plan = replace(options.plan, synchronize=synchronize)
        self.results: list[Result] = []
        self.idle: tuple[Window, ...] = ()
        self.not_measured: list[str] = []
        """Tests that asked pytest-benchmark for a measurement while it was switched off."""
        self.against: Against | None = None
        """The other commit, where ``--energy-against`` names one."""
        self.timings: list[PhaseTimes] = []
        self.progress: Progress | None = None
        """Who shows how far it is, with ``-v``."""

    @property
    def meter_info(self) -> MeterInfo:
        return info(self.meter)

    def ensure_idle(self) -> None:
        """Take idle windows before the first measurement."""
        if not self.idle:
            self.idle = idle_windows(self.meter)

    @contextmanager
    def watched(self, name: str, plan: Plan) -> Iterator[Plan]:
        """The plan, with its steps timed and shown."""
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
        """Take idle windows after the last measurement, give them all to the results, and let go of the meter."""
        if self.results:
            try:
                self.idle += idle_windows(self.meter)
            except MeterFailed as failure:  # too late to lose what was measured
                *others, last = self.results
                warning = f"net joules are by the idle windows before the first measurement alone: {failure}"
                measurement = replace(
                    last.measurement, warnings=(*last.measurement.warnings, warning)
                )
                self.results = [*others, replace(last, measurement=measurement)]
            self.results = [
                replace(r, measurement=replace(r.measurement, idle=self.idle)) for r in self.results
            ]
        self.close()

    def close(self) -> None:
        self.meter.close()


class Recorder:
    """What becomes known of one test, until its result is complete."""

    def __init__(self, session: Session, name: str, gate: Gate, group: str | None):
        self.session = session
        self.name = name
        self.gate = gate
        self.group = group
        self.measurement: Measurement | None = None
        self.comparison: Comparison | None = None
        self.qualities: list[Quality] = []

    def measure(self, call: Callable[[], object]) -> None:
        self._only_once()
        self.session.ensure_idle()
        with self.session.watched(self.name, self._plan) as plan:
            self.measurement = measure(call, meter=self.session.meter, plan=plan, name=self.name)

    def measure_prepared(self, calls: Generator[Callable[[], object], None, None]) -> None:
        self._only_once()
        self.session.ensure_idle()
        with self.session.watched(self.name, self._plan) as plan:
            self.measurement = measure_prepared(
                calls, meter=self.session.meter, plan=plan, name=self.name
            )

    def versus(
        self, baseline: Callable[..., object], candidate: Callable[..., object]
    ) -> Comparison | None:
        self._only_once()
        self.session.ensure_idle()
        meter = self.session.meter_info
        watched_plan, void = collect_void_reasons(self._plan)
        with self.session.watched(self.name, watched_plan) as plan:
            self.comparison = versus(
                baseline,
                candidate,
                meter=self.session.meter,
                plan=plan,
                decided=lambda ratios: self.gate.decided(ratios, meter),
            )
        self.measurement = self._of_candidate(self.comparison, void)
        return self.comparison

    def quality(self, quality: Quality) -> None:
        if any(known.name == quality.name for known in self.qualities):
            raise FixtureMisuse(f"the quality {quality.name!r} was given twice in {self.name}")
        self.qualities.append(quality)

    def measures_while_disabled(self) -> bool:
        """Whether to measure a ``benchmark`` although pytest-benchmark is switched off: no, and that is told at the end."""
        self.session.not_measured.append(self.name)
        return False

    def result(self) -> Result | None:
        """The judged result, or None where nothing was measured."""
        if self.measurement is None:
            return None
        result = Result(
            self.name, self.measurement, self.comparison, tuple(self.qualities), (), self.group
        )
        return replace(result, verdicts=self.gate.judge(result))

    @property
    def _plan(self) -> Plan:
        return replace(self.session.plan, tolerance=self.gate.tolerance)

    def _of_candidate(self, comparison: Comparison, void: list[str]) -> Measurement:
        windows = tuple(
            window
            for block in comparison.blocks
            for letter, window in zip(block.order, block.windows, strict=True)
            if letter == "B"
        )
        warnings = tuple(find_warnings(self.session.meter, windows, self.session.plan, void))
        return Measurement(self.name, self.session.meter_info, windows, (), warnings)

    def _only_once(self) -> None:
        if self.measurement is not None:
            raise FixtureMisuse(
                f"{self.name} measures twice, and a test has one entry in the saved run; make it two tests, or parametrize it"
            )


class AgainstRecorder(Recorder):
    """Compares this tree with another commit in place of what the test compares; where it cannot, it measures and says so."""

    def __init__(
        self, session: Session, against: Against, name: str, gate: Gate, group: str | None
    ):
        # Thresholds are for two variants of one commit, and two commits are gated on regressions.
        super().__init__(session, name, replace(gate, thresholds=None), group)
        self._against = against
        self._not_gated: list[Verdict] = []
        if gate.thresholds is not None:
            reason = (
                "--energy-against compares commits; the thresholds of gps_up are gated without it"
            )
            self._not_gated.append(Verdict("gps_up", "not gated", reason))

    def measure(self, call: Callable[[], object]) -> None:
        if not self._compared():
            super().measure(call)

    def measure_prepared(self, calls: Generator[Callable[[], object], None, None]) -> None:
        if not self._compared():
            super().measure_prepared(calls)

    def versus(
        self, baseline: Callable[..., object], candidate: Callable[..., object]
    ) -> Comparison | None:
        self.measure(candidate)
        return self.comparison

    def result(self) -> Result | None:
        result = super().result()
        if result is None:
            return None
        added = [*self._not_gated, *self._of_layout(result)]
        return replace(result, verdicts=(*result.verdicts, *added))

    def _of_layout(self, result: Result) -> list[Verdict]:
        """Why a difference of the first processes is not called a regression."""
        undecided = any(verdict.verdict == "inconclusive" for verdict in result.verdicts)
        if self.name not in self._against.in_fresh_processes or not undecided:
            return []
        reason = (
            "layout: the first processes of the two sides differed by more than the tolerance, "
            "and fresh processes, each with its memory elsewhere, did not confirm it"
        )
        return [Verdict("layout", "inconclusive", reason)]

    def _compared(self) -> bool:
        self._only_once()
        if self.name not in self._against.names.paired:
            self._cannot(f"new since {self._against.label}: there is nothing to compare with")
            return False
        self.session.ensure_idle()
        meter = self.session.meter_info
        watched_plan, void = collect_void_reasons(self._plan)
        try:
            with self.session.watched(self.name, watched_plan) as plan:
                self.comparison = self._against.compare(
                    self.name, meter, plan, lambda ratios: self.gate.decided(ratios, meter)
                )
        except ReplicateFailed as error:
            self._cannot(str(error))
            return False
        self.measurement = self._of_candidate(self.comparison, void)
        return True

    def _cannot(self, reason: str) -> None:
        self._not_gated.append(Verdict("against", "not gated", reason))
