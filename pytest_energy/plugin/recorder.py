"""What the fixtures call: `Recorder`, and its implementations.

`ThisTreeRecorder` measures here. `AgainstRecorder` (against_recorder.py) compares with another
commit. In a worker process, `commits.worker.ServingRecorder` takes windows when the main process
requests them.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Protocol

from pytest_energy.errors import FixtureMisuse
from pytest_energy.gate import Gate
from pytest_energy.measuring.gpu_clocks import limits_in_blocks
from pytest_energy.measuring.once import Once, once
from pytest_energy.measuring.others import beside_blocks
from pytest_energy.measuring.paired import Decided, versus
from pytest_energy.measuring.single import find_warnings, measure, measure_prepared, name_of
from pytest_energy.measuring.window import plain_window
from pytest_energy.model import Comparison, Counted, Measurement, Quality, Result, Verdict
from pytest_energy.plan import Plan, collect_void_reasons
from pytest_energy.plugin.measuring_run import MeasuringRun
from pytest_energy.stats.net import idle_range

# pytest then hides the frames of this module in the traceback of the user's error.
__tracebackhide__ = True


def phase_name(test: str, phase: str) -> str:
    """The name of a phase's entry: the test's node id, and the phase."""
    return f"{test}::{phase}"


class Recorder(Protocol):
    """Records one test: its measurement or comparison, its qualities, its result."""

    @property
    def measures_disabled_benchmarks(self) -> bool:
        """Whether to measure a ``benchmark`` that pytest-benchmark does not run."""

    def measure(self, call: Callable[[], object]) -> None:
        """Measure a call. Once per test."""

    def measure_prepared(self, calls: Generator[Callable[[], object], None, None]) -> None:
        """Measure calls with a setup before and a teardown after each. Once per test."""

    def versus(
        self, baseline: Callable[..., object], candidate: Callable[..., object]
    ) -> Comparison | None:
        """Compare two calls, in turns. Once per test."""

    def phase(self, name: str) -> AbstractContextManager[object]:
        """Measure a block that runs once, as an entry of its own."""

    def quality(self, quality: Quality) -> None:
        """Add a quality to the result. Each name once."""

    def items(self, number: int) -> None:
        """Note how many items a call processes."""

    def use_gate(self, gate: Gate) -> None:
        """Judge by this gate."""

    def skip_disabled_benchmark(self) -> None:
        """Note that pytest-benchmark did not run this test's ``benchmark``."""

    def results(self) -> list[Result]:
        """The judged results: of each phase, then of the test's own measurement."""


class ThisTreeRecorder:
    """Measures in this process, and judges by the test's markers."""

    measures_disabled_benchmarks = False

    def __init__(self, run: MeasuringRun, name: str, gate: Gate, group: str | None):
        self.run = run
        self.name = name
        self.use_gate(gate)
        self.group = group
        self.measurement: Measurement | None = None
        self.comparison: Comparison | None = None
        self.qualities: list[Quality] = []
        self.phases: dict[str, Once] = {}
        self.items_per_call: int | None = None

    def use_gate(self, gate: Gate) -> None:
        self.gate = replace(gate, alarm_alpha=self.run.plan.alarm_alpha)

    def measure(self, call: Callable[[], object]) -> None:
        self._refuse_second_measurement()
        self.run.ensure_idle()
        with self.run.timed_plan(self.name, self._plan) as plan:
            self.measurement = measure(call, meter=self.run.meter, plan=plan, name=self.name)

    def measure_prepared(self, calls: Generator[Callable[[], object], None, None]) -> None:
        self._refuse_second_measurement()
        self.run.ensure_idle()
        with self.run.timed_plan(self.name, self._plan) as plan:
            self.measurement = measure_prepared(
                calls, meter=self.run.meter, plan=plan, name=self.name
            )

    def versus(
        self, baseline: Callable[..., object], candidate: Callable[..., object]
    ) -> Comparison | None:
        self._refuse_second_measurement()
        fresh = self.run.fresh

        def compare(plan: Plan, decided: Decided) -> Comparison:
            if fresh is not None:
                of = name_of(baseline)
                return fresh.compare(self.name, of, self.run.meter_info, plan, decided)
            return versus(baseline, candidate, meter=self.run.meter, plan=plan, decided=decided)

        self.comparison, self.measurement = self._compare(compare)
        return self.comparison

    def _compare(
        self, compare: Callable[[Plan, Decided], Comparison]
    ) -> tuple[Comparison, Measurement]:
        """The comparison, and the candidate's windows in it."""
        self.run.ensure_idle()
        meter = self.run.meter_info
        checked_plan, void_reasons = collect_void_reasons(self._plan)
        with self.run.timed_plan(self.name, checked_plan) as plan:
            comparison = compare(plan, lambda ratios: self.gate.decided(ratios, meter))
        return comparison, self._of_candidate(comparison, void_reasons)

    def phase(self, name: str) -> AbstractContextManager[object]:
        self.run.ensure_idle()
        if name not in self.phases:
            self.phases[name] = once(
                phase_name(self.name, name), meter=self.run.meter, plan=self._plan
            )
        return self.phases[name]

    def items(self, number: int) -> None:
        self.items_per_call = number

    def quality(self, quality: Quality) -> None:
        if any(known.name == quality.name for known in self.qualities):
            raise FixtureMisuse(f"the quality {quality.name!r} was given twice in {self.name}")
        self.qualities.append(quality)

    def skip_disabled_benchmark(self) -> None:
        self.run.disabled_benchmarks.append(self.name)

    def results(self) -> list[Result]:
        own = self.own_result()
        # Limits are those of the test's own measurement. Without one, they hold for each phase.
        gate = replace(self.gate, thresholds=None) if own is None else Gate()
        phases = [
            Result(taken.name, taken.measurement, group=self.group)
            for taken in self.phases.values()
            if taken.has_windows
        ]
        judged = [replace(phase, verdicts=self.judged_phase(phase, gate)) for phase in phases]
        return judged if own is None else [*judged, own]

    def judged_phase(self, phase: Result, gate: Gate) -> tuple[Verdict, ...]:
        """The verdicts on one phase."""
        return gate.judge(phase)

    def own_result(self) -> Result | None:
        """The judged result of the test's own measurement, or None if it made none."""
        if self.measurement is None:
            return None
        result = Result(
            self.name,
            replace(self.measurement, idle=self.run.idle),
            self.comparison,
            tuple(self.qualities),
            (),
            self.group,
            self.counted,
            self.items_per_call,
        )
        return replace(result, verdicts=self.judge(result))

    def judge(self, result: Result) -> tuple[Verdict, ...]:
        """The verdicts that the markers, and the options, ask for."""
        return self.gate.judge(result)

    @property
    def counted(self) -> Counted | None:
        """This test's counted work, if the run counts."""
        return self.run.counted.get(self.name)

    @property
    def _plan(self) -> Plan:
        idle = idle_range(self.run.meter_info, self.run.idle) if self.gate.net else None
        return replace(self.run.plan, tolerance=self.gate.tolerance, idle_watts=idle)

    def _of_candidate(self, comparison: Comparison, void_reasons: list[str]) -> Measurement:
        windows = tuple(
            window
            for block in comparison.blocks
            for letter, window in zip(block.order, block.windows, strict=True)
            if letter == "B"
        )
        warnings = (
            *find_warnings(self.run.meter, windows, self.run.plan, void_reasons),
            *beside_blocks(self.run.meter_info, comparison.blocks, self.run.plan.alpha),
            *limits_in_blocks(comparison.blocks),
        )
        return Measurement(self.name, self.run.meter_info, windows, (), warnings)

    def _refuse_second_measurement(self) -> None:
        if self.measurement is not None:
            raise FixtureMisuse(
                f"{self.name} measures twice, and a test has one entry in the saved run; "
                "make it two tests, or parametrize it"
            )


class CountingOnlyRecorder(ThisTreeRecorder):
    """Of a run that counts work only: one call, whose time is shown and never judged."""

    # pytest-benchmark's rounds take time that nothing here needs: the bridge switches them off.
    measures_disabled_benchmarks = True

    def measure(self, call: Callable[[], object]) -> None:
        self._refuse_second_measurement()
        self._take(call)

    def measure_prepared(self, calls: Generator[Callable[[], object], None, None]) -> None:
        self._refuse_second_measurement()
        self._take(next(calls))
        calls.close()

    def versus(
        self, baseline: Callable[..., object], candidate: Callable[..., object]
    ) -> Comparison | None:
        self.measure(candidate)
        return None

    def phase(self, name: str) -> AbstractContextManager[object]:
        """It runs once, so there is no call to count."""
        return nullcontext()

    def _take(self, call: Callable[[], object]) -> None:
        window = plain_window(self.run.meter, call, 1, self.run.plan.synchronize)
        self.measurement = Measurement(self.name, self.run.meter_info, (window,), (), ())

    def judge(self, result: Result) -> tuple[Verdict, ...]:
        return self.gate.judge_counted(result)
