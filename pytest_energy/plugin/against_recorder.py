"""The recorder of a run with ``--energy-against``."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from functools import partial

from pytest_energy.commits.against import Against
from pytest_energy.commits.worker_process import ReplicateFailed
from pytest_energy.gate import Budget, Gate
from pytest_energy.model import Comparison, Measurement, Result, Verdict
from pytest_energy.plugin.measuring_run import MeasuringRun
from pytest_energy.plugin.recorder import ThisTreeRecorder, phase_name

# pytest then hides the frames of this module in the traceback of the user's error.
__tracebackhide__ = True


class AgainstRecorder(ThisTreeRecorder):
    """Compares this tree with other commits, whatever the test itself compares.

    The first comparison is the test's own result; each further commit has an entry beside it. If a
    test cannot be compared, it is measured, and a verdict gives the reason.
    """

    def __init__(
        self,
        run: MeasuringRun,
        commits: Sequence[Against],
        name: str,
        gate: Gate,
        group: str | None,
    ):
        self._commits = commits
        self._compared: list[tuple[Against, Comparison, Measurement]] = []
        self._not_gated: list[Verdict] = []
        super().__init__(run, name, gate, group)

    def use_gate(self, gate: Gate) -> None:
        """Thresholds are for two variants of one commit. Two commits are gated on regressions."""
        super().use_gate(replace(gate, thresholds=None))
        if gate.thresholds is not None and not any(v.metric == "gps_up" for v in self._not_gated):
            reason = (
                "--energy-against compares commits; run without it to gate the thresholds of gps_up"
            )
            self._not_gated.append(Verdict("gps_up", "not gated", reason))

    def measure(self, call: Callable[[], object]) -> None:
        self._compare_commits()
        if self.comparison is None:
            super().measure(call)

    def measure_prepared(self, calls: Generator[Callable[[], object], None, None]) -> None:
        self._compare_commits()
        if self.comparison is None:
            super().measure_prepared(calls)

    def versus(
        self, baseline: Callable[..., object], candidate: Callable[..., object]
    ) -> Comparison | None:
        self.measure(candidate)
        return self.comparison

    def judged_phase(self, phase: Result, gate: Gate) -> tuple[Verdict, ...]:
        reason = "a phase runs once; two commits are compared by calls that repeat"
        return (*gate.judge(phase), Verdict("against", "not gated", reason))

    def results(self) -> list[Result]:
        return [*self._of_further_commits(), *super().results()]

    def _of_further_commits(self) -> Iterator[Result]:
        """The judged comparisons with all commits but the first. Budgets are the test's own."""
        gate = replace(self.gate, budget=Budget())
        for against, comparison, measurement in self._compared[1:]:
            name = phase_name(self.name, f"against {against.revision}")
            measured = replace(measurement, name=name, idle=self.run.idle)
            result = Result(name, measured, comparison, group=self.group)
            result = replace(result, verdicts=gate.judge(result))
            yield replace(result, verdicts=(*result.verdicts, *self._of_layout(against, result)))

    def own_result(self) -> Result | None:
        result = super().own_result()
        if result is None:
            return None
        added = list(self._not_gated)
        if self._compared:
            added += self._of_layout(self._compared[0][0], result)
        return replace(result, verdicts=(*result.verdicts, *added))

    def _of_layout(self, against: Against, result: Result) -> list[Verdict]:
        """Why a difference of processes that took turns is not called a regression."""
        undecided = any(verdict.verdict == "inconclusive" for verdict in result.verdicts)
        if self.name not in against.differed_at_first or not undecided:
            return []
        reason = (
            "layout: the few processes that took turns differed by more than the tolerance, and "
            "a pair for each start, with its memory elsewhere, did not confirm it"
        )
        return [Verdict("layout", "inconclusive", reason)]

    def _compare_commits(self) -> None:
        """Compare with each other commit, or add a verdict with the reason why not."""
        self._refuse_second_measurement()
        for against in self._commits:
            self._compare_with(against)
        if self._compared:
            _, self.comparison, self.measurement = self._compared[0]

    def _compare_with(self, against: Against) -> None:
        if self.name not in against.names.paired:
            self._add_not_gated(f"new since {against.label}: there is nothing to compare with")
            return
        meter = self.run.meter_info
        try:
            compared = self._compare(partial(against.compare, self.name, meter))
        except ReplicateFailed as error:
            self._add_not_gated(str(error))
            return
        self._compared.append((against, *compared))

    def _add_not_gated(self, reason: str) -> None:
        self._not_gated.append(Verdict("against", "not gated", reason))
