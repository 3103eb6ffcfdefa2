"""Ratios of net joules: gross joules less the idle power."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_energy.gate import Gate
from pytest_energy.measuring.paired import comparison_of, ratios_to_judge
from pytest_energy.model import Block, Domain, Interval, Measurement, MeterInfo, Result, Window
from pytest_energy.plan import Plan
from pytest_energy.stats.gps_up import fewest_blocks, gps_up
from pytest_energy.stats.net import idle_range, net_gps_up

METER = MeterInfo(
    "powercap", "measured", (Domain("package-0"), Domain("dram-0"), Domain("core-0", "package-0")),
    0.001, 6e-5,
)  # fmt: skip
IDLE_W, OWN_W = 10.0, 10.0


def window(seconds, own_watts, idle_watts=IDLE_W):
    joules = seconds * (own_watts + idle_watts)
    return Window(seconds, {"package-0": 0.9 * joules, "dram-0": 0.1 * joules, "core-0": joules}, 1)


def blocks(own_of_candidate, count=20):
    of = {"A": window(1.0, OWN_W), "B": window(1.0, own_of_candidate)}
    orders = itertools.islice(itertools.cycle(["ABBA", "BAAB"]), count)
    return [Block(order, tuple(of[letter] for letter in order)) for order in orders]


def idle_windows(*watts):
    return tuple(window(0.05, 0.0, each)._replace(calls=0) for each in watts)


def judged(own_of_candidate, idle, net=True):
    taken = blocks(own_of_candidate)
    comparison = comparison_of("old", taken, METER, 0.01)
    measured = Measurement("t", METER, tuple(w for b in taken for w in b.windows), idle)
    verdicts = Gate(net=net).judge(Result("t", measured, comparison))
    return next(verdict for verdict in verdicts if verdict.metric == "greenup")


def test_a_change_that_the_idle_power_hides_is_found():
    """+5 % of the code's own joules is +2.5 % of the sum."""
    idle = idle_windows(9.9, 10.0, 10.0, 10.0, 10.1)
    assert judged(1.05 * OWN_W, idle, net=False).verdict != "regressed"
    verdict = judged(1.05 * OWN_W, idle)
    assert verdict.verdict == "regressed"
    assert verdict.reason.endswith("net of 10 W idle [9.9, 10.1]")
    assert "others" not in judged(OWN_W, idle).reason
    assert judged(OWN_W, idle).verdict == "unchanged"


def test_an_uncertain_idle_power_widens_the_interval():
    sure = net_gps_up(blocks(11.0), METER, 0.01, None, Interval(10.0, 10.0, 10.0)).greenup
    unsure = net_gps_up(blocks(11.0), METER, 0.01, None, Interval(10.0, 5.0, 15.0)).greenup
    assert sure.value == pytest.approx(10 / 11)
    assert (unsure.low, unsure.high) == pytest.approx((5 / 6, 15 / 16))


@given(st.floats(0.5, 2.0), st.floats(0.0, 20.0), st.integers(12, 30))
def test_the_net_ratio_is_that_of_the_codes_own_joules(change, idle_w, count):
    of = {"A": window(1.0, OWN_W, idle_w), "B": window(1.0, change * OWN_W, idle_w)}
    taken = [Block("ABBA", tuple(of[letter] for letter in "ABBA"))] * count
    ratios = net_gps_up(taken, METER, 0.01, 0.005, Interval(idle_w, idle_w, idle_w))
    assert ratios.greenup.value == pytest.approx(1 / change, rel=1e-6)
    assert ratios.speedup == gps_up(taken, METER, 0.01).speedup
    assert ratios.alarm is not None


def test_the_counters_error_is_a_share_of_the_net_joules():
    gross = gps_up(blocks(OWN_W), METER, 0.01).counter_error
    net = net_gps_up(blocks(OWN_W), METER, 0.01, None, Interval(10.0, 10.0, 10.0))
    assert net.counter_error == pytest.approx(2 * gross)


def test_no_net_joules_are_no_ratio():
    ratios = net_gps_up(blocks(OWN_W), METER, 0.01, 0.005, Interval(10.0, 10.0, 21.0))
    assert ratios.greenup is None
    assert ratios.alarm.greenup is None


def test_an_unknown_idle_power_gates_nothing():
    assert idle_range(METER, ()) is None
    verdict = judged(2 * OWN_W, ())
    assert verdict.verdict == "inconclusive"
    assert "idle power is unknown" in verdict.reason


def test_a_comparison_goes_on_until_net_joules_are_decided():
    """5 % of the code's own joules, where gross joules lie around the tolerance."""
    taken = blocks(1.05 * OWN_W, fewest_blocks(0.01))
    gate, known = Gate(net=True), Interval(10.0, 10.0, 10.0)
    assert gate.decided(ratios_to_judge(taken, METER, Plan(idle_watts=known)), METER)
    unknown = Interval(10.0, 0.0, 11.0)
    assert not gate.decided(ratios_to_judge(taken, METER, Plan(idle_watts=unknown)), METER)
