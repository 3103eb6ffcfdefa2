"""One benchmark, and one run, as every writer shows it: the figures and the words, made once.

A `ResultView` comes from a result of this run (`of_result`) or from two sets of saved runs
(`of_changes`). The writers (terminal, Markdown, page, JUnit) format it and work nothing out.
"""

from __future__ import annotations

import os.path
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import median
from typing import Literal

from pytest_energy.model import NO_METER, Block, Interval, MeterInfo, Result, Verdict
from pytest_energy.report.escape import plain
from pytest_energy.runs.comparison import BenchmarkChanges, Change, RunComparison
from pytest_energy.stats.gps_up import CATEGORIES
from pytest_energy.stats.per_call import Figures, figures
from pytest_energy.stats.unpaired import rank_can_tell
from pytest_energy.verdicts import ASKED_RATIO, GREW, NOT_GATED_ESTIMATE

State = Literal["failed", "inconclusive", "improved", "passed", "not gated"]
# Failures come first in every table, then what needs more time.
STATES: tuple[State, ...] = ("failed", "inconclusive", "improved", "passed", "not gated")
RATIO_METRICS = ("speedup", "greenup")
SHORTEST_LABEL = 3
# The reason of `gate.UNSTABLE_SPREAD`: what was seen, what to do, and then value and limit.
UNSTABLE = "unstable: (.*?): end .*?; (.*)"
CUT_AFTER = ("::", "[", "-", "/")
# The quality that is the share of correct items.
CORRECT_SHARE = "accuracy"
NOTHING_ASKED = "nothing was asked: no marker, no comparison, no floor"


@dataclass(frozen=True)
class QualityView:
    """A quality such as accuracy. None: unknown."""

    name: str
    value: float | None
    before: float | None = None
    floor: float | None = None
    ceiling: float | None = None

    @property
    def missed(self) -> bool:
        return self.value is not None and (
            (self.floor is not None and not self.value >= self.floor)
            or (self.ceiling is not None and not self.value <= self.ceiling)
        )

    @property
    def text(self) -> str:
        """``0.892 ≥ 0.87``, ``0.12 ≤ 0.2``, or the value before and after."""
        value = "not a number" if self.value is None else f"{self.value:.3f}"
        if self.before is not None:
            return f"{self.before:.3f} → {value}"
        if self.floor is not None:
            below = self.value is not None and not self.value >= self.floor
            value = f"{value} {'<' if below else '≥'} {self.floor:g}"
        if self.ceiling is not None:
            above = self.value is not None and not self.value <= self.ceiling
            value = f"{value} {'>' if above else '≤'} {self.ceiling:g}"
        return value


@dataclass(frozen=True)
class ResultView:
    """One benchmark. Seconds and joules are per call; None: unknown."""

    name: str
    """The test's node id, printable."""
    group: str
    per_call: Figures | None
    """The figures of this run; None for saved runs, of which only medians are kept."""
    seconds: float | None
    joules: float | None
    baseline: str
    """What the ratios compare with; "" without a comparison."""
    seconds_before: float | None
    joules_before: float | None
    speedup: Interval | None
    greenup: Interval | None
    powerup: Interval | None
    category: str
    """GPS-UP's number and words, or "" where the intervals support none."""
    qualities: tuple[QualityView, ...]
    verdicts: tuple[Verdict, ...]
    advice: tuple[str, ...] = ()
    """For inconclusive ratios: what settles them."""
    explains_open: bool = True
    """Whether to give a reason for each inconclusive ratio; else one line covers all."""
    items: int | None = None
    """How many items one call processes, such as the cases of a batch."""

    @classmethod
    def of_result(cls, result: Result) -> ResultView:
        """A result of this run, or of a saved one."""
        measurement, comparison = result.measurement, result.comparison
        per_call = figures(measurement)
        before: tuple[float | None, float | None] = (None, None)
        if comparison is not None:
            before = _baseline_per_call(comparison.blocks, measurement.meter)
        return cls(
            plain(result.name),
            plain(result.group or ""),
            per_call,
            per_call.seconds.value,
            None if per_call.joules is None else per_call.joules.value,
            "" if comparison is None else short_commits(plain(comparison.baseline_name)),
            *before,
            None if comparison is None else comparison.speedup,
            None if comparison is None else comparison.greenup,
            None if comparison is None else comparison.powerup,
            category_text(None if comparison is None else comparison.category),
            tuple(
                QualityView(
                    plain(quality.name), quality.value, None, quality.floor, quality.ceiling
                )
                for quality in result.qualities
            ),
            tuple(map(_printable, result.verdicts)),
            items=result.items,
        )

    @classmethod
    def of_changes(cls, row: BenchmarkChanges, few_runs: bool) -> ResultView:
        """One benchmark in two sets of saved runs."""
        by_unit = {change.unit: change for change in row.changes}
        seconds, joules = by_unit.get("s"), by_unit.get("J")
        return cls(
            plain(row.name),
            "",
            None,
            seconds.new if seconds else None,
            joules.new if joules else None,
            "OLD",
            seconds.old if seconds else None,
            joules.old if joules else None,
            seconds.ratio if seconds else None,
            joules.ratio if joules else None,
            None,
            "",
            tuple(map(_quality_change, filter(_is_quality, row.changes))),
            tuple(_printable(change.verdict) for change in row.changes),
            tuple(dict.fromkeys(plain(change.advice) for change in row.changes if change.advice))
            if not few_runs
            else (),
            not few_runs,
        )

    def figure(self, name: str) -> Interval | None:
        """One of the figures per call: seconds, joules, net_joules or watts."""
        return None if self.per_call is None else getattr(self.per_call, name)

    @property
    def joules_per_item(self) -> float | None:
        """Gross joules per item, if the test gave the number of items."""
        return self.joules / self.items if self.joules is not None and self.items else None

    @property
    def joules_per_correct_item(self) -> float | None:
        """As `joules_per_item`, for the share of items that the quality ``accuracy`` gives."""
        shares = [each.value for each in self.qualities if each.name == CORRECT_SHARE]
        if self.joules_per_item is None or not shares or not shares[0] or not 0 < shares[0] <= 1:
            return None
        return self.joules_per_item / shares[0]

    @cached_property
    def state(self) -> State:
        """The gravest of its verdicts, in one word."""
        words = {verdict.verdict for verdict in self.verdicts}
        if words & {"missed", "regressed"}:
            return "failed"
        if "inconclusive" in words:
            return "inconclusive"
        if "improved" in words:
            return "improved"
        return "passed" if words & {"met", "unchanged"} else "not gated"

    @cached_property
    def outcome(self) -> str:
        """The words by which the summary sentence counts it; one of `OUTCOMES`."""
        verdicts = {verdict.metric: verdict.verdict for verdict in self.verdicts}
        for word, metric, outcome in _OUTCOME_RULES:
            # Time within its limit does not settle energy that is open.
            settled = word != "unchanged" or self.state != "inconclusive"
            if settled and verdicts.get(metric) == word:
                return outcome
        if self.state == "failed":
            below = any(quality.missed for quality in self.qualities)
            return "below the floor" if below else "over the limit"
        return {
            "inconclusive": "inconclusive",
            "improved": "better",
            "passed": "passed",
            "not gated": "not gated",
        }[self.state]

    @property
    def asks_for_factors(self) -> bool:
        """Whether a threshold of a ratio is asked, so that ratios read better as factors."""
        return any(
            verdict.metric == "gps_up"
            or (verdict.metric in RATIO_METRICS and verdict.verdict in ("met", "missed"))
            or ASKED_RATIO in verdict.reason
            for verdict in self.verdicts
        )

    @property
    def reasons(self) -> list[str]:
        """What was asked and the value beside it, for each verdict that fails or is open."""
        shown = [
            verdict
            for verdict in sorted(self.verdicts, key=lambda verdict: not verdict.fails)
            if verdict.fails
            or (verdict.verdict == "inconclusive" and self.explains_open)
            or verdict.metric == "benchmark"
        ]
        return [
            line for verdict in shown for line in (short_reason(verdict), *grown_functions(verdict))
        ]


# The first that holds is the outcome. Time comes before energy, and both before qualities.
_OUTCOME_RULES = (
    ("regressed", "speedup", "slower"),
    ("regressed", "greenup", "with more energy"),
    ("missed", "speedup", "below the asked speedup"),
    ("missed", "greenup", "below the asked greenup"),
    ("missed", "gps_up", "without the asked comparison"),
    ("improved", "speedup", "faster"),
    ("improved", "greenup", "with less energy"),
    ("regressed", "work", "with more work"),
    ("missed", "work", "below the asked work ratio"),
    ("improved", "work", "with less work"),
    ("unchanged", "speedup", "unchanged"),
    ("unchanged", "greenup", "unchanged"),
)
OUTCOMES = (
    *("slower", "with more energy", "below the asked speedup", "below the asked greenup"),
    *(
        "without the asked comparison",
        "below the floor",
        "over the limit",
        "inconclusive",
        "faster",
        "with less energy",
        "with more work",
        "below the asked work ratio",
        "with less work",
    ),
    *("better", "unchanged", "passed", "not gated"),
)


@dataclass(frozen=True)
class RunView:
    """All benchmarks of a run, the gravest first."""

    rows: tuple[ResultView, ...]
    meter: MeterInfo | None
    results: tuple[Result, ...] = ()
    tolerance: float | None = None
    n_tests: int | None = None
    """Fewer than the rows, if tests measured several phases. None: a test for each row."""

    @classmethod
    def of_results(
        cls, results: Sequence[Result], meter: MeterInfo | None, tolerance: float | None = None
    ) -> RunView:
        return cls(_ordered(map(ResultView.of_result, results)), meter, tuple(results), tolerance)

    @classmethod
    def of_comparison(cls, comparison: RunComparison) -> RunView:
        few_runs = not rank_can_tell(
            len(comparison.old), len(comparison.new), comparison.options.alpha
        )
        rows = _ordered(ResultView.of_changes(row, few_runs) for row in comparison.rows)
        return cls(rows, comparison.new[0].meter, (), comparison.options.tolerance)

    def compared(self, comparison: RunComparison) -> RunView:
        """These results with their changes against other saved runs, in place of their own."""
        changed = {row.name: row for row in RunView.of_comparison(comparison).rows}
        own = {row.name: row for row in self.rows}
        rows = [
            row
            if name not in own
            else replace(row, group=own[name].group, per_call=own[name].per_call)
            for name, row in changed.items()
        ]
        return replace(self, rows=_ordered(rows), tolerance=comparison.options.tolerance)

    @property
    def failed(self) -> bool:
        return any(row.state == "failed" for row in self.rows)

    @property
    def estimated(self) -> bool:
        return self.meter is not None and self.meter.provenance == "estimated"

    @property
    def loud_label(self) -> bool:
        """Whether figures of energy need a label: no sensor of this machine counted them."""
        return self.meter is not None and self.meter.provenance != "measured"

    @property
    def count_text(self) -> str:
        """``16 tests``, or ``1 test with 3 measurements`` where a test measured phases."""
        rows, tests = len(self.rows), self.n_tests or len(self.rows)
        text = f"{tests} {'test' if tests == 1 else 'tests'}"
        return text if tests >= rows else f"{text} with {rows} measurements"

    @cached_property
    def sentence(self) -> str:
        """``3 slower, 1 faster, 12 within 3 %``: how many benchmarks came out how."""
        counts = Counter(row.outcome for row in self.rows)
        parts = []
        for outcome in OUTCOMES:
            if counts[outcome]:
                words = outcome
                if outcome == "unchanged" and self.tolerance is not None:
                    words = f"within {100 * self.tolerance:g} %"
                parts.append(f"{counts[outcome]} {words}")
        return ", ".join(parts) or "no benchmark"

    @cached_property
    def not_gated(self) -> list[str]:
        """Each reason for which something is not gated, with how often it applies.

        Estimated joules are not among them: their label covers that, see `joules_not_gated`.
        """
        reasons = Counter(
            verdict.reason
            for row in self.rows
            for verdict in row.verdicts
            if verdict.verdict == "not gated" and verdict.reason != NOT_GATED_ESTIMATE
        )
        reasons[NOTHING_ASKED] += sum(not row.verdicts for row in self.rows)
        return [f"NOT GATED ({count}x): {reason}" for reason, count in reasons.items() if count]

    @cached_property
    def joules_not_gated(self) -> int:
        """The number of verdicts that estimated joules leave open."""
        return sum(
            verdict.reason == NOT_GATED_ESTIMATE for row in self.rows for verdict in row.verdicts
        )

    @cached_property
    def labels(self) -> list[str]:
        """`short_names` of the rows."""
        return short_names([row.name for row in self.rows])


def provenance_text(meter: MeterInfo | None) -> str:
    """``measured by rapl``, ``ATTRIBUTED by ...`` or ``ESTIMATED by ..., the truth within ...``."""
    if meter is None:
        return "unknown"
    if meter.name == NO_METER:
        return "not measured: only work was counted"
    if meter.provenance == "measured":
        return plain(f"measured by {meter.name}")
    if meter.provenance == "attributed":
        return plain(f"ATTRIBUTED by {meter.name}")
    return plain(f"ESTIMATED by {meter.name}, {band_text(meter)}")


def band_text(meter: MeterInfo) -> str:
    """How far an estimate may be from the truth."""
    low, high = meter.band
    return f"the truth within {low:g} to {high:g} times its value"


def provenance_word(meter: MeterInfo) -> str:
    """The label beside a single figure."""
    return meter.provenance if meter.provenance == "measured" else meter.provenance.upper()


def short_commits(text: str) -> str:
    """Commit ids cut to eight digits, and not repeated in parentheses.

    >>> short_commits("5cfc5ef869506f4dbf8a6bcf5bb3b18070b29aa1 (5cfc5ef86950)")
    '5cfc5ef8'
    """
    short = re.sub(r"\b([0-9a-f]{8})[0-9a-f]{2,32}\b", r"\1", text)
    return re.sub(r"^(\w+) \(\1\)$", r"\1", short)


def category_text(category: int | None) -> str:
    return "" if category is None else f"{category}: {CATEGORIES[category]}"


def short_reason(verdict: Verdict) -> str:
    """A reason without its evidence, which stands in parentheses: the value and the limit first.

    >>> short_reason(Verdict("speedup", "inconclusive", "unstable: a: end b; speedup 2 [1, 3] (c)"))
    'speedup 2 [1, 3]; unstable: a'
    """
    short = verdict.reason.partition(" (")[0]
    unstable = re.fullmatch(UNSTABLE, short)
    return f"{unstable[2]}; unstable: {unstable[1]}" if unstable else short


def grown_functions(verdict: Verdict) -> list[str]:
    """Of a verdict on counted work: a line for the Python, and one for the C functions that grew.

    They stand behind the evidence.
    """
    parts = verdict.reason.split("; ") if verdict.metric == "work" else []
    return [part for part in parts if GREW in part]


def short_names(names: Sequence[str]) -> list[str]:
    """The names without the file, where that is clear, and without what all of them begin with.

    >>> short_names(["a.py::test_a[x-small]", "a.py::test_a[x-large]"])
    ['small', 'large']
    """
    without_file = [name.partition("::")[2] or name for name in names]
    if len(set(without_file)) == len(set(names)):
        names = without_file
    prefix = common_prefix(names)
    if any(len(name) < len(prefix) + SHORTEST_LABEL for name in names):
        prefix = ""  # "0" and "1" are no names
    labels = [name[len(prefix) :] for name in names]
    if "[" in prefix and all(label.endswith("]") for label in labels):
        labels = [label[:-1] for label in labels]
    return labels


def common_prefix(names: Sequence[str]) -> str:
    """What all names begin with, up to a mark at which a name may be cut.

    >>> common_prefix(["a.py::test_a[x-1]", "a.py::test_a[x-2]"])
    'a.py::test_a[x-'
    """
    if len(names) < 2:
        file, mark, _ = names[0].partition("::") if names else ("", "", "")
        return file + mark if mark else ""
    shared = os.path.commonprefix(list(names))
    ends = [shared.rfind(mark) + len(mark) for mark in CUT_AFTER if mark in shared]
    return shared[: max(ends, default=0)]


def _ordered(rows: Iterable[ResultView]) -> tuple[ResultView, ...]:
    return tuple(sorted(rows, key=lambda row: STATES.index(row.state)))


def _baseline_per_call(
    blocks: Sequence[Block], meter: MeterInfo
) -> tuple[float | None, float | None]:
    """Median seconds and joules per call of the baseline's side."""
    if not blocks:
        return None, None
    sides = [block.side("A") for block in blocks]
    joules = median([meter.total_joules(side.joules) / side.calls for side in sides])
    return median([side.seconds_per_call for side in sides]), joules if joules > 0 else None


def _is_quality(change: Change) -> bool:
    return change.unit == "" and change.metric != "benchmark"


def _quality_change(change: Change) -> QualityView:
    return QualityView(plain(change.metric), change.new, change.old)


def _printable(verdict: Verdict) -> Verdict:
    return Verdict(plain(verdict.metric), verdict.verdict, plain(verdict.reason))
