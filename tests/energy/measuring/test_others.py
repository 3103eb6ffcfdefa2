"""A neighbour of 20 W beside some windows, on a driven powercap tree: verdicts and warnings."""

import random
import re
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_energy.gate import Gate
from pytest_energy.measuring.others import beside_blocks, beside_windows
from pytest_energy.measuring.paired import PendingComparison, never, versus
from pytest_energy.measuring.single import measure
from pytest_energy.meters import info
from pytest_energy.model import Block, CpuSeconds, Measurement, Result
from pytest_energy.plan import Plan
from pytest_energy.stats.gps_up import fewest_blocks
from pytest_energy.stats.others import hit_unequally
from tests.energy.rigs.made_up import SENSOR, window
from tests.energy.rigs.shared_machine import SharedMachine, bursts_of, steady
from tests.energy.rigs.shared_machine import never as no_neighbour

CALL_S = 0.005


def compared(folder: Path, neighbour, change: float = 0.0, seed: int = 1):
    """A comparison at the default settings, its verdict on joules, and its warnings."""
    chance, gate = random.Random(seed), Gate()
    with SharedMachine(folder, neighbour, chance) as machine:
        meter = info(machine.meter)
        comparison = versus(
            machine.call(CALL_S),
            machine.call(CALL_S * (1 + change)),
            meter=machine.meter,
            decided=lambda ratios: gate.decided(ratios, meter),
            coin=chance,
        )
    windows = tuple(block.side("B") for block in comparison.blocks)
    result = Result("test", Measurement("test", meter, windows), comparison)
    (joules,) = [each for each in gate.judge(result) if each.metric == "greenup"]
    return comparison, joules.verdict, list(beside_blocks(meter, comparison.blocks, 0.01))


def test_a_quiet_machine_has_no_warning(tmp_path):
    comparison, verdict, warnings = compared(tmp_path, no_neighbour)
    assert (verdict, warnings) == ("unchanged", [])
    assert not any(map(hit_unequally, comparison.blocks))


@pytest.mark.parametrize("mean_s", [0.02, 0.075, 0.3])
@pytest.mark.parametrize("seed", range(3))
def test_a_neighbour_beside_half_of_the_windows_gives_no_false_verdict(tmp_path, mean_s, seed):
    neighbour = bursts_of(mean_s, random.Random(seed))
    _, verdict, warnings = compared(tmp_path, neighbour, seed=seed)
    assert verdict in ("unchanged", "inconclusive")
    (warning,) = warnings
    assert "powercap counts their joules as yours" in warning
    assert "corrected for their turns" in warning


@pytest.mark.parametrize("mean_s", [0.075, 0.3])
def test_ten_per_cent_more_joules_are_found_beside_a_neighbour(tmp_path, mean_s):
    """Without the correction nearly all of these are inconclusive."""
    found = []
    for seed in range(6):
        folder = tmp_path / str(seed)
        folder.mkdir()
        found.append(compared(folder, bursts_of(mean_s, random.Random(seed)), 0.1, seed)[1])
    assert found.count("regressed") >= 3
    assert "improved" not in found


def test_a_neighbour_that_is_always_there_is_reported(tmp_path):
    _, verdict, warnings = compared(tmp_path, steady)
    assert verdict != "regressed"
    (warning,) = warnings
    assert re.fullmatch(
        "other programs used 5[01]% of the CPU time, and powercap counts their joules as yours; "
        "the ratios are corrected for their turns, the joules are not; end them",
        warning,
    )


def test_a_measurement_beside_a_neighbour_has_a_warning(tmp_path):
    with SharedMachine(tmp_path, steady) as machine:
        measurement = measure(machine.call(CALL_S), meter=machine.meter)
    assert [w.others_share > 0.4 for w in measurement.windows] == [True] * len(measurement.windows)
    assert any("used 50% of the CPU time" in w or "used 51%" in w for w in measurement.warnings)


def of(beside_a_s: float, beside_b_s: float, replicate: int | None = None) -> Block:
    a, b = (
        window(0.075, 2.0)._replace(cpu=CpuSeconds(0.075, others))
        for others in (beside_a_s, beside_b_s)
    )
    return Block("ABBA", (a, b, b, a), replicate)


def test_a_server_that_works_for_one_side_makes_the_joules_incomparable():
    (warning,) = beside_blocks(SENSOR, [of(0.0, 0.075)] * 12, 0.01)
    assert "used 0% of the CPU time beside the baseline and 50% beside the candidate" in warning


def test_blocks_that_do_not_count_are_reported():
    unequal = [of(0.0, 0.15), of(0.15, 0.0)]
    (warning,) = beside_blocks(SENSOR, [of(0.0, 0.0)] * 12 + unequal, 0.01)
    assert warning.endswith(
        "in 2 of 14 blocks they used far more beside one side, and these do not count for joules; "
        "end them"
    )
    (warning,) = beside_blocks(SENSOR, unequal * 6, 0.01)
    assert "in 12 of 12 blocks" in warning and "too few are left for an interval" in warning


def test_a_small_difference_that_follows_a_side_is_reported():
    (warning,) = beside_blocks(SENSOR, [of(0.0, 0.01)] * 12, 0.01)
    assert "used 0% of the CPU time beside the baseline and 12% beside the candidate" in warning
    assert not list(beside_blocks(SENSOR, [of(0.0, 0.01), of(0.01, 0.0)] * 6, 0.01))


def test_blocks_of_one_start_count_as_one_value():
    few_starts = [of(0.0, 0.0, n % 3) for n in range(30)]
    few_starts += [of(*[0.0, 0.15][:: (-1) ** n], n) for n in range(9)]
    (warning,) = beside_blocks(SENSOR, few_starts, 0.01)
    assert "so too few are left" in warning


def test_windows_without_cpu_seconds_have_no_warning():
    assert not list(beside_windows(SENSOR, [window(1.0, 1.0)]))
    assert not list(beside_blocks(SENSOR, [Block("ABBA", (window(1.0, 1.0),) * 4)], 0.01))


@pytest.mark.parametrize(
    ("usable", "unequal", "enough"),
    [
        (12, 0, True),
        (11, 0, False),  # as before: the fewest blocks are taken in overtime
        (12, 20, True),
        (5, 15, False),  # the rest fits into overtime
        (2, 15, True),  # it never would: stop at the time allowed
        (0, 12, True),
    ],
)
def test_overtime_is_spent_only_where_it_can_give_bounds(usable, unequal, enough):
    pending = PendingComparison(SENSOR, Plan(), never)
    assert pending.needed == fewest_blocks(0.01) == 12
    for block in [of(0.0, 0.0)] * usable + [of(0.0, 0.15)] * unequal:
        pending.add(replace(block))
    assert pending.has_enough() is enough
