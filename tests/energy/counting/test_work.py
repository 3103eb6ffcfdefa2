"""Counted work as verdicts, in saved runs and between them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_energy.commits.counted import CountSettings
from pytest_energy.gate import Budget, Gate, Thresholds
from pytest_energy.model import Counted, CountedWork, Verdict
from pytest_energy.report.work_lines import work_lines
from pytest_energy.runs.comparison import CompareOptions
from pytest_energy.runs.summary import summarize_result
from pytest_energy.runs.work import counting_difference, work_changes
from pytest_energy.runs.work_format import work_from_json, work_to_json
from tests.energy.rigs.made_up import measurement, result, window


def work(instructions, spread=1e-5, tool="callgrind 3.21.0", **functions):
    events = {"instructions": instructions, "data_reads": instructions // 3}
    return CountedWork(tool, events, spread, 3, functions)


def made(candidate=None, baseline=None, reason=""):
    counted = Counted(candidate, baseline, reason)
    return replace(result(measurement(window(1.0, 2.0))), counted=counted)


def verdicts(gate, of):
    return {verdict.metric: verdict.verdict for verdict in gate.judge(of)}


@pytest.mark.parametrize(
    ("baseline", "spread", "expected"),
    [
        (1_000_000, 0.0, "unchanged"),
        (1_009_000, 0.0, "unchanged"),
        (1_011_000, 0.0, "improved"),
        (985_000, 0.0, "regressed"),
        (985_000, 0.01, "inconclusive"),  # the spread leaves it open
        (900_000, 0.01, "regressed"),
    ],
)
def test_the_ratio_of_counts_is_judged_with_its_spread(baseline, spread, expected):
    of = made(work(1_000_000, spread), work(baseline, spread))
    assert verdicts(Gate(work_tolerance=0.01), of)["work"] == expected


def test_budget_and_threshold_of_counted_work():
    of = made(work(2000), work(3000))
    assert verdicts(Gate(Budget(max_instructions=2500)), of)["instructions"] == "met"
    assert verdicts(Gate(Budget(max_instructions=1999)), of)["instructions"] == "missed"
    assert verdicts(Gate(thresholds=Thresholds(work=1.4)), of)["work"] == "met"
    assert verdicts(Gate(thresholds=Thresholds(work=1.6)), of)["work"] == "missed"


@pytest.mark.parametrize(
    "of", [made(reason="not counted: it forks"), replace(made(), counted=None)]
)
def test_a_limit_without_a_count_is_not_gated_and_says_why(of):
    (verdict,) = Gate(Budget(max_instructions=10)).judge(of)
    assert (verdict.metric, verdict.verdict) == ("work", "not gated")
    assert "it forks" in verdict.reason or "--energy-count" in verdict.reason


def test_a_run_that_does_not_count_has_no_word_of_it():
    assert Gate().judge(replace(made(), counted=None)) == ()
    assert list(work_lines([replace(made(), counted=None)])) == []


def test_json_keeps_the_counts():
    counted = work(12345, 0.002, _PyEval=9000, memcpy=11)
    assert work_from_json(work_to_json(counted)) == counted


@pytest.mark.parametrize(
    "broken", [{"events": {}}, {"events": {"instructions": -1}}, {"spread": float("nan")}]
)
def test_a_broken_count_is_refused(broken):
    with pytest.raises(ValueError, match=r"instructions|finite"):
        work_from_json({**work_to_json(work(10)), **broken})


def changes(old, new, tolerance=0.01):
    sides = [
        [summarize_result(made(each) if each is not None else made()) for each in side]
        for side in (old, new)
    ]
    return work_changes(*sides, CompareOptions(work_tolerance=tolerance))


def test_one_run_a_side_is_enough_and_the_least_count_stands_for_its_side():
    (change,) = changes([work(1000), work(1030)], [work(1002)])
    assert (change.old, change.new, change.verdict.verdict) == (1000.0, 1002.0, "unchanged")


def test_a_regression_names_the_functions_that_grew():
    old, new = work(1000, sort=300, hash=200), work(1200, sort=480, hash=201, fresh=19)
    (change,) = changes([old], [new])
    assert change.verdict.verdict == "regressed"
    assert change.verdict.reason.endswith("; instructions grew: sort +180, fresh +19, hash +1")


def test_counts_of_different_tools_are_not_compared():
    (change,) = changes([work(1000)], [work(2000, tool="callgrind 3.19.0")])
    assert change.verdict.verdict == "not gated" and "3.19.0" in change.verdict.reason


def test_without_counts_on_both_sides_there_is_no_change():
    assert changes([work(1000)], [None]) == ()


def test_the_terminal_has_the_tool_once_and_a_line_for_each_test():
    lines = list(work_lines([made(work(12_300_000)), made(reason="not counted: it took too long")]))
    assert lines == [
        "counted work per call, by callgrind 3.21.0; not joules",
        "  test_it: 12.3 M instructions, ± 0.00%",
        "  test_it: not counted: it took too long",
    ]


def test_a_line_explains_where_time_and_counted_work_disagree():
    def lines(time, of_work):
        verdicts = (Verdict("speedup", time, ""), Verdict("work", of_work, ""))
        return list(work_lines([replace(made(work(9), work(9)), verdicts=verdicts)]))

    assert "time is regressed, and counted work unchanged" in lines("regressed", "unchanged")[-1]
    assert len(lines("regressed", "regressed")) == 2
    assert len(lines("inconclusive", "unchanged")) == 2


def test_runs_of_other_machines_compare_by_counts_counted_alike():
    old = work(1000)
    assert counting_difference(old, work(2000)) == ""
    other = replace(old, conditions={"cache": "D1 64 KiB"})
    assert counting_difference(old, other) == "cache: not recorded / D1 64 KiB"


def test_a_fine_tolerance_needs_several_processes():
    assert CountSettings(300, 0.01).processes == CountSettings(300, 0.006).processes == 1
    assert CountSettings(300, 0.005).processes == CountSettings(300, 0.002).processes == 4
