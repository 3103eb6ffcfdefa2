"""The requirements of a benchmark, and the verdicts on them."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_energy.gate import Budget, Gate, Thresholds
from pytest_energy.model import Block, CpuSeconds, Interval, Quality
from pytest_energy.stats.gps_up import COUNTER_SHARE, GpsUp, gps_up
from pytest_energy.verdicts import count_blocks
from tests.energy.rigs.made_up import (
    ESTIMATE,
    SENSOR,
    UNKNOWN,
    block,
    compared,
    exactly,
    measurement,
    result,
    results,
    window,
)

TOLERANCE = 0.1  # 1 / 1.1 to 1.1
SURE = exactly(1.0)


def verdicts_of(
    gate: Gate, speedup: Interval = SURE, greenup: Interval | None = SURE, meter=SENSOR
) -> dict[str, str]:
    """The gate's verdicts on two ratios."""
    made = compared((block(window(10.0, 10.0, 10**6), window(10.0, 10.0, 10**6)),), meter)
    return verdicts(
        gate,
        result(
            measurement(window(1.0, 1.0), meter=meter),
            replace(made, speedup=speedup, greenup=greenup),
        ),
    )


def verdicts(gate: Gate, made) -> dict[str, str]:
    judged = gate.judge(made)
    assert len({verdict.metric for verdict in judged}) == len(judged)
    return {verdict.metric: verdict.verdict for verdict in judged}


def decided(
    gate: Gate, speedup: Interval = SURE, greenup: Interval | None = SURE, meter=SENSOR
) -> bool:
    return gate.decided(GpsUp(speedup, greenup, SURE if greenup else None), meter)


@pytest.mark.parametrize(
    ("ratio", "verdict"),
    [
        (Interval(1.3, 1.2, 1.4), "met"),
        (Interval(1.3, 1.1999, 1.4), "inconclusive"),
        (Interval(1.1, 1.0, 1.2), "inconclusive"),
        (Interval(1.1, 1.0, 1.1999), "missed"),
        (exactly(1.2), "met"),
        (UNKNOWN, "inconclusive"),
    ],
)
@pytest.mark.parametrize("metric", ["speedup", "greenup"])
def test_threshold(metric, ratio, verdict):
    gate = Gate(thresholds=Thresholds(**{metric: 1.2}))
    assert verdicts_of(gate, **{metric: ratio}) == {metric: verdict}
    assert decided(gate, **{metric: ratio}) == (verdict != "inconclusive")


@pytest.mark.parametrize(
    ("ratio", "verdict"),
    [
        (Interval(1.2, 1.1001, 1.3), "improved"),
        (Interval(1.2, 1.1, 1.3), "inconclusive"),
        (Interval(1.0, 1 / 1.1, 1.1), "unchanged"),
        (Interval(1.0, 0.9, 1.1), "inconclusive"),
        (Interval(0.9, 0.8, 1 / 1.1), "inconclusive"),
        (Interval(0.9, 0.8, 0.9), "regressed"),
        (UNKNOWN, "inconclusive"),
    ],
)
@pytest.mark.parametrize("metric", ["speedup", "greenup"])
def test_tolerance(metric, ratio, verdict):
    gate = Gate(tolerance=TOLERANCE)
    other = "greenup" if metric == "speedup" else "speedup"
    assert verdicts_of(gate, **{metric: ratio}) == {metric: verdict, other: "unchanged"}
    assert decided(gate, **{metric: ratio}) == (verdict != "inconclusive")


# The 95 % interval of 6 windows is from the least to the greatest: 0.5 to 1.5 s and J, at 1 W.
SIX = [window(seconds, seconds) for seconds in (0.5, 0.8, 0.9, 1.1, 1.2, 1.5)]


@pytest.mark.parametrize(
    ("metric", "limit", "verdict"),
    [
        ("seconds", 1.5, "met"),
        ("seconds", 1.4999, "inconclusive"),
        ("seconds", 0.5, "inconclusive"),
        ("seconds", 0.4999, "missed"),
        ("joules", 1.5, "met"),
        ("joules", 0.5, "inconclusive"),
        ("joules", 0.4999, "missed"),
        ("watts", 1.0, "met"),
        ("watts", 0.9999, "missed"),
    ],
)
def test_budget(metric, limit, verdict):
    gate = Gate(Budget(**{f"max_{metric}": limit}))
    assert verdicts(gate, result(measurement(*SIX))) == {metric: verdict}


def test_budget_of_too_few_windows_is_inconclusive():
    gate = Gate(Budget(max_seconds=100.0, max_joules=1e-9))
    assert verdicts(gate, result(measurement(*SIX[:5]))) == {
        "seconds": "inconclusive",
        "joules": "inconclusive",
    }


def test_a_counter_that_stood_still_meets_no_budget():
    gate = Gate(Budget(100.0, 100.0, 100.0))
    still = result(measurement(*SIX, window(1.0, 0.0)))
    assert verdicts(gate, still) == {
        "joules": "inconclusive",
        "watts": "inconclusive",
        "seconds": "met",
    }


def test_a_counter_that_stood_still_meets_no_threshold():
    assert verdicts_of(Gate(), greenup=None) == {"speedup": "unchanged", "greenup": "inconclusive"}


def test_a_counter_that_stood_still_does_not_prolong_a_comparison():
    """No later block makes the greenup known, so only the speedup prolongs a comparison."""
    assert decided(Gate(), greenup=None)
    assert not decided(Gate(), speedup=UNKNOWN, greenup=None)


@pytest.mark.parametrize(
    ("window_s", "verdict"),
    # The counter updates every 1 ms: 1 % of a side's two 50 ms windows. A third of 3 % is allowed.
    [(0.051, "unchanged"), (0.049, "inconclusive")],
)
def test_a_counter_too_coarse_for_the_tolerance_is_inconclusive(window_s, verdict):
    alike = compared(tuple(block(window(window_s, 1.0), window(window_s, 1.0)) for _ in range(12)))
    judged = Gate().judge(result(measurement(*SIX), alike))
    assert {v.metric: v.verdict for v in judged} == {"speedup": "unchanged", "greenup": verdict}
    if verdict == "inconclusive":
        assert judged[1].reason.startswith(
            "the counter of made-up is too coarse (its own error is 1.02% of a side's joules in a "
            "block; allowed are 1.00%, a third"
        )
    # More blocks of the same length would not help, so the comparison ends.
    assert Gate().decided(gps_up(alike.blocks, SENSOR, 0.01), SENSOR)


@pytest.mark.parametrize(("counter_error", "lost"), [(0.03 * COUNTER_SHARE, False), (0.0101, True)])
def test_a_counter_just_fine_enough_prolongs_a_comparison(counter_error, lost):
    assert Gate(tolerance=0.03).decided(GpsUp(SURE, UNKNOWN, SURE, counter_error), SENSOR) is lost


def test_a_coarse_counter_meets_no_threshold():
    faster = compared(tuple(block(window(0.03, 2.0), window(0.02, 1.0)) for _ in range(12)))
    judged = Gate(thresholds=Thresholds(1.2, 1.2)).judge(result(measurement(*SIX), faster))
    assert {v.metric: v.verdict for v in judged} == {"speedup": "met", "greenup": "inconclusive"}


def test_a_coarse_counter_suffices_for_a_wider_tolerance():
    alike = compared(tuple(block(window(0.02, 1.0), window(0.02, 1.0)) for _ in range(12)))
    assert verdicts(Gate(tolerance=0.1), result(measurement(*SIX), alike)) == {
        "speedup": "unchanged",
        "greenup": "unchanged",
    }


def test_estimated_joules_are_not_gated():
    gate = Gate(Budget(1e-9, 1e-9, 1e-9))
    estimated = result(measurement(*SIX, meter=ESTIMATE))
    assert verdicts(gate, estimated) == {
        "joules": "not gated",
        "watts": "not gated",
        "seconds": "missed",
    }
    assert verdicts_of(Gate(), greenup=exactly(0.1), meter=ESTIMATE) == {
        "speedup": "unchanged",
        "greenup": "not gated",
    }
    assert decided(Gate(), greenup=UNKNOWN, meter=ESTIMATE)


def test_estimated_joules_are_gated_on_request():
    gate = Gate(Budget(max_joules=1e-9, max_watts=1e-9), gate_estimates=True)
    assert verdicts(gate, result(measurement(*SIX, meter=ESTIMATE))) == {
        "joules": "missed",
        "watts": "missed",
    }
    assert (
        verdicts_of(Gate(gate_estimates=True), greenup=exactly(0.1), meter=ESTIMATE)["greenup"]
        == "regressed"
    )
    assert not decided(Gate(gate_estimates=True), greenup=UNKNOWN, meter=ESTIMATE)


def test_the_band_of_an_estimate_widens_its_interval():
    """At 1.5 J and a band of 0.5 to 2, a budget of 2 J may be exceeded."""
    gate = Gate(Budget(max_joules=2.0), gate_estimates=True)
    assert verdicts(gate, result(measurement(*SIX))) == {"joules": "met"}
    assert verdicts(gate, result(measurement(*SIX, meter=ESTIMATE))) == {"joules": "inconclusive"}


@pytest.mark.parametrize(
    ("value", "floor", "verdict"),
    [
        (0.85, 0.84, "met"),
        (0.84, 0.84, "met"),
        (0.8399, 0.84, "missed"),
        (math.nan, 0.84, "missed"),
        (math.nan, -math.inf, "missed"),
        (-math.inf, 0.84, "missed"),
        (0.1, None, "not gated"),
        (math.nan, None, "not gated"),
    ],
)
def test_quality(value, floor, verdict):
    made = result(measurement(*SIX), None, Quality("accuracy", value, floor))
    assert verdicts(Gate(), made) == {"accuracy": verdict}


@pytest.mark.parametrize(
    ("value", "floor", "ceiling", "verdict"),
    [
        (0.2, None, 0.2, "met"),
        (0.2001, None, 0.2, "missed"),
        (math.nan, None, 0.2, "missed"),
        (math.inf, None, 0.2, "missed"),
        (0.5, 0.4, 0.6, "met"),
        (0.3, 0.4, 0.6, "missed"),
        (0.7, 0.4, 0.6, "missed"),
    ],
)
def test_a_quality_with_a_ceiling(value, floor, ceiling, verdict):
    made = result(measurement(*SIX), None, Quality("error", value, floor, ceiling))
    assert verdicts(Gate(), made) == {"error": verdict}


def test_only_the_markers_ratios_are_gated():
    gate = Gate(thresholds=Thresholds(speedup=1.0))
    assert verdicts_of(gate, greenup=exactly(0.1)) == {"speedup": "met"}
    assert decided(gate, greenup=UNKNOWN)


def test_a_marker_without_a_threshold_is_not_gated():
    assert verdicts_of(Gate(thresholds=Thresholds())) == {"gps_up": "not gated"}
    assert decided(Gate(thresholds=Thresholds()), UNKNOWN, UNKNOWN)


def test_a_threshold_without_a_comparison_is_missed():
    assert verdicts(Gate(thresholds=Thresholds(1.0)), result(measurement(*SIX))) == {
        "gps_up": "missed"
    }


def test_without_requirements_there_is_no_verdict():
    assert verdicts(Gate(), result(measurement(*SIX))) == {}


@pytest.mark.parametrize(
    ("requirement", "field"),
    [(Gate(), "tolerance"), (Thresholds(), "speedup"), (Budget(), "max_joules")],
)
def test_requirements_are_frozen(requirement, field):
    with pytest.raises(FrozenInstanceError):
        setattr(requirement, field, 9.0)


@pytest.mark.parametrize(
    ("gate", "nothing"),
    [
        (Gate(), True),
        (Gate(tolerance=0.5, gate_estimates=True), True),
        (Gate(Budget(max_seconds=1.0)), False),
        (Gate(thresholds=Thresholds()), False),
        (Gate(Budget(max_seconds=1.0), Thresholds()), False),
    ],
)
def test_only_markers_require_a_measurement(gate, nothing):
    assert gate.asks_nothing is nothing


def test_a_reason_names_values_limits_and_evidence():
    twice = tuple(block(window(1.0, 10.0), window(2.0, 20.0)) for _ in range(12))
    made = result(measurement(*SIX), compared(twice), Quality("accuracy", 0.7, 0.84))
    speedup, greenup, joules, accuracy = Gate(Budget(max_joules=0.1), Thresholds(1.2, 1.2)).judge(
        made
    )
    assert speedup.reason == (
        "speedup 0.500 [0.500, 0.500], asked at least 1.2 "
        "(baseline fp32, 12 blocks at 99%; joules measured by made-up)"
    )
    assert greenup.verdict == "missed"
    assert joules.reason == (
        "energy 1.0 [0.5, 1.5] J per call, limit 0.1 J (6 windows; joules measured by made-up)"
    )
    assert accuracy.reason == "accuracy 0.7, floor 0.84"
    assert all(verdict.fails for verdict in (speedup, greenup, joules, accuracy))


@pytest.mark.parametrize(
    ("seconds", "limit", "text"),
    [
        (0.0139, 0.0001, "time 13.9 [13.9, 13.9] ms per call, limit 0.1 ms ("),
        (2e-6, 1.5e-6, "time 2.00 [2.00, 2.00] µs per call, limit 1.5 µs ("),
        (2.0, 1e-9, "time 2.00 [2.00, 2.00] s per call, limit 1 ns ("),
    ],
)
def test_a_value_and_its_limit_are_in_a_unit_that_suits_the_value(seconds, limit, text):
    made = result(measurement(*(window(seconds, 1.0),) * 6), None)
    (verdict,) = Gate(Budget(max_seconds=limit)).judge(made)
    assert verdict.verdict == "missed" and verdict.reason.startswith(text)


def test_high_confidence_is_not_rounded_to_100_per_cent():
    made = compared(
        tuple(block(window(1.0, 1.0), window(1.0, 1.0)) for _ in range(20)), alpha=0.001
    )
    assert "20 blocks at 99.9%" in Gate().judge(result(measurement(*SIX), made))[0].reason


def test_the_block_count_names_starts_if_several_blocks_share_one():
    alike = block(window(1.0, 1.0), window(1.0, 1.0))
    assert count_blocks([alike] * 12) == "12 blocks"
    by_start = [replace(alike, replicate=number // 4) for number in range(12)]
    assert count_blocks(by_start) == "12 blocks of 3 starts"


def test_unknown_bounds_are_named():
    assert f"{UNKNOWN}" == "1.00 [bounds unknown]"
    assert f"{Interval(1.63, 1.6, 1.66)}" == "1.63 [1.60, 1.66]"


def test_a_regression_prints_its_change_in_per_cent_and_its_limit():
    slower = tuple(block(window(1.0, 10.0), window(1.25, 12.5)) for _ in range(12))
    reason = Gate(tolerance=0.05).judge(result(measurement(*SIX), compared(slower)))[0].reason
    assert reason.startswith("time +25 % [+25, +25], limit +5 % (baseline fp32, ")


ratio_bounds = st.lists(st.floats(0.1, 10.0), min_size=3, max_size=3).map(sorted)
ratios = st.one_of(
    st.just(UNKNOWN),
    ratio_bounds.map(lambda bounds: Interval(bounds[1], bounds[0], bounds[2])),
    st.floats(0.1, 10).map(exactly),
)
least_ratios = st.one_of(st.none(), st.floats(0.1, 10.0))
gates = st.builds(
    Gate,
    thresholds=st.one_of(st.none(), st.builds(Thresholds, least_ratios, least_ratios)),
    tolerance=st.floats(0.001, 0.999),
    gate_estimates=st.booleans(),
)


@given(gates, ratios, ratios, st.sampled_from([SENSOR, ESTIMATE]))
def test_a_comparison_is_decided_when_no_verdict_is_inconclusive(gate, speedup, greenup, meter):
    open_verdicts = "inconclusive" in verdicts_of(gate, speedup, greenup, meter).values()
    assert decided(gate, speedup, greenup, meter) == (not open_verdicts)


@given(gates, ratios, st.floats(0, 1), st.floats(0, 1))
def test_a_narrower_interval_never_reverses_a_verdict(gate, ratio, a, b):
    """More evidence can settle an inconclusive verdict, and changes no other."""
    if ratio is UNKNOWN:
        return
    low, high = sorted(ratio.low + share * (ratio.high - ratio.low) for share in (a, b))
    narrow = Interval((low + high) / 2, max(low, ratio.low), min(high, ratio.high))
    before, after = (verdicts_of(gate, speedup=r).get("speedup") for r in (ratio, narrow))
    assert after == before or before == "inconclusive"


@given(results(), gates)
def test_every_requirement_gets_a_verdict(made, gate):
    gate = replace(gate, budget=Budget(1.0, 1.0, 1.0))
    metrics = [verdict.metric for verdict in gate.judge(made)]
    ratios = (
        ["speedup", "greenup"]
        if gate.thresholds is None
        else set_thresholds(gate.thresholds) or ["gps_up"]
    )
    if made.comparison is None:
        ratios = []
    assert metrics[: len(ratios)] == ratios
    rest = ["joules", "watts", "seconds", *(quality.name for quality in made.qualities)]
    never_compared = gate.thresholds is not None and made.comparison is None
    assert metrics[len(ratios) :] == rest + ["gps_up"] * never_compared


def set_thresholds(thresholds: Thresholds) -> list[str]:
    return [name for name, value in vars(thresholds).items() if value is not None]


SLOW_AND_FAST = [("ABBA", (0.2, 0.1, 0.1, 4.0)), ("BAAB", (0.1, 0.2, 4.0, 0.1))]


@pytest.mark.parametrize("gate", [Gate(), Gate(thresholds=Thresholds(speedup=1.5))])
def test_a_disturbed_side_is_neither_improved_nor_met(gate):
    """The baseline waits for a CPU in every second window, like a pool with too many threads."""
    blocks = tuple(
        Block(order, tuple(window(s, s) for s in taken)) for order, taken in SLOW_AND_FAST * 10
    )
    judged = gate.judge(result(measurement(*SIX), compared(blocks)))
    assert judged[0].verdict == "inconclusive"
    assert judged[0].reason.startswith("unstable: ")
    assert "fewer threads than there are idle CPUs" in judged[0].reason


def test_a_wide_interval_is_inconclusive_and_prolongs_the_comparison():
    wide = Interval(1400.0, 886.0, 1996.0)
    assert verdicts_of(Gate(), speedup=wide)["speedup"] == "inconclusive"
    assert not decided(Gate(), speedup=wide)
    assert verdicts_of(Gate(), speedup=Interval(6.0, 5.0, 9.9))["speedup"] == "improved"


def test_a_disturbed_side_that_is_slower_is_still_regressed():
    assert verdicts_of(Gate(), speedup=Interval(0.3, 0.1, 0.9))["speedup"] == "regressed"


def test_one_preempted_window_in_ten_is_not_unstable():
    quiet = [block(window(2.0, 2.0), window(1.0, 1.0))] * 40
    spike = [block(window(90.0, 2.0), window(1.0, 1.0))] * 3
    made = result(measurement(*SIX), compared(tuple(quiet + spike)))
    assert verdicts(Gate(), made)["speedup"] == "improved"


# One test among many.


@pytest.mark.parametrize(
    ("ratio", "alarm", "verdict"),
    [
        (Interval(0.8, 0.75, 0.9), Interval(0.8, 0.7, 0.9), "regressed"),
        (Interval(0.8, 0.75, 0.9), Interval(0.8, 0.7, 0.95), "inconclusive"),
        (Interval(1.2, 1.15, 1.3), Interval(1.2, 1.05, 1.4), "inconclusive"),
        (Interval(1.0, 0.95, 1.05), Interval(1.0, 0.5, 2.0), "unchanged"),
        (Interval(0.8, 0.75, 0.9), UNKNOWN, "inconclusive"),
    ],
)
def test_an_alarm_of_one_test_among_many_needs_the_wider_interval(ratio, alarm, verdict):
    gate = Gate(tolerance=TOLERANCE, alarm_alpha=0.001)
    ratios = GpsUp(ratio, SURE, SURE, alarm=GpsUp(alarm, SURE, SURE))
    speedup, _ = gate._of_ratios(ratios, SENSOR, "")
    assert speedup.verdict == verdict
    assert ("suite: " in speedup.reason) == (verdict == "inconclusive")
    assert gate.decided(ratios, SENSOR) == (verdict != "inconclusive")


def test_a_missed_threshold_needs_it_too_and_one_that_is_met_does_not():
    gate = Gate(thresholds=Thresholds(speedup=1.0), alarm_alpha=0.001)
    wide = GpsUp(Interval(1.0, 0.5, 2.0), None, None)
    for ratio, verdict in ((Interval(0.8, 0.7, 0.9), "inconclusive"), (exactly(1.1), "met")):
        (found,) = gate._of_ratios(GpsUp(ratio, None, None, alarm=wide), SENSOR, "")
        assert found.verdict == verdict


def test_judging_computes_the_wider_interval_from_the_blocks():
    """12 blocks of 20 % more time decide alone; one of many tests needs more blocks."""
    slower = compared(tuple(block(window(10.0, 10.0), window(12.0, 12.0)) for _ in range(12)))
    made = result(measurement(window(1.0, 1.0)), slower)
    assert verdicts(Gate(tolerance=TOLERANCE), made)["speedup"] == "regressed"
    assert verdicts(Gate(tolerance=TOLERANCE, alarm_alpha=0.001), made)["speedup"] == "inconclusive"


# Threads that wait for a CPU.


@pytest.mark.parametrize(
    ("waiting", "verdict"), [(0.0, "met"), (0.05, "met"), (0.2, "inconclusive")]
)
def test_praise_for_waiting_threads_is_unstable(waiting, verdict):
    blocks = tuple(block(window(10.0, 10.0), window(2.0, 2.0)) for _ in range(20))
    comparison = replace(compared(blocks), waiting_share=waiting)
    gate = Gate(thresholds=Thresholds(speedup=2.0))
    (judged,) = gate.judge(result(measurement(window(1.0, 1.0)), comparison))
    assert judged.verdict == verdict
    if verdict == "inconclusive":
        assert judged.reason.startswith("unstable: its threads waited for a CPU 20% of their time")


@pytest.mark.parametrize(
    ("fastest", "waiting", "verdict"),
    [
        (0.9, 0.0, "missed"),
        (0.9, 0.5, "inconclusive"),
        (1.1, 0.5, "missed"),  # no neighbour made all windows slower
    ],
)
def test_a_budget_of_seconds_does_not_fail_for_a_neighbour(fastest, waiting, verdict):
    windows = [window(fastest, 1.0), *[window(2.0, 1.0)] * 9]
    made = replace(measurement(*windows), waiting_share=waiting)
    (judged,) = Gate(Budget(max_seconds=1.0)).judge(result(made))
    assert judged.verdict == verdict
    assert judged.reason.startswith("unstable: it waited") == (verdict == "inconclusive")
    (met,) = Gate(Budget(max_seconds=3.0)).judge(result(made))
    assert met.verdict == "met"


# Joules that are not the code's.


@pytest.mark.parametrize(
    ("others", "idle_watts", "word"),
    [
        (0.0, 0.0, None),
        (0.3, 0.3, None),
        (0.4, 0.0, "other programs used 40% of the CPU time"),
        (0.0, 0.4, "the machine uses 40% of these joules idle"),
    ],
)
def test_joules_that_are_mostly_others_are_not_unchanged(others, idle_watts, word):
    taken = window(10.0, 10.0)._replace(cpu=CpuSeconds(10.0 * (1 - others), 10.0 * others))
    comparison = compared(tuple(block(taken, taken) for _ in range(20)))
    idle = (window(1.0, idle_watts, 0),) * 6
    made = result(measurement(window(1.0, 1.0), idle=idle), comparison)
    speedup, greenup = Gate().judge(made)
    assert speedup.verdict == "unchanged"
    assert greenup.verdict == ("inconclusive" if word else "unchanged")
    assert not word or greenup.reason.startswith(f"others: {word}")


def test_others_do_not_excuse_a_regression():
    slower = [window(10.0, joules)._replace(cpu=CpuSeconds(5.0, 5.0)) for joules in (10.0, 12.0)]
    comparison = compared(tuple(block(*slower) for _ in range(20)))
    _, greenup = Gate().judge(result(measurement(window(1.0, 1.0)), comparison))
    assert greenup.verdict == "regressed"


@pytest.mark.parametrize(
    ("tolerance", "replicate", "said"), [(0.01, None, True), (0.03, None, False), (0.01, 1, False)]
)
def test_a_verdict_of_one_process_says_what_it_cannot_tell(tolerance, replicate, said):
    taken = replace(block(window(10.0, 10.0), window(10.0, 10.0)), replicate=replicate)
    made = result(measurement(window(1.0, 1.0)), compared((taken,) * 20))
    speedup, *_ = Gate(tolerance=tolerance).judge(made)
    assert ("another process of the same code may differ" in speedup.reason) == said
