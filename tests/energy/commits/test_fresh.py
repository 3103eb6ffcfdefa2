"""``energy.versus`` across fresh processes: ``--energy-fresh-processes``."""

import random
import sys
from pathlib import Path

import pytest

from pytest_energy.commits.fresh import FreshProcesses, fresh_processes
from pytest_energy.commits.starts import WindowSizes
from pytest_energy.commits.worker_arguments import WORKER_ARGUMENTS, Side
from pytest_energy.commits.worker_process import ReplicateFailed
from pytest_energy.gate import Gate
from pytest_energy.meters import info, open_meter
from pytest_energy.model import Block, Domain, MeterInfo, Window
from pytest_energy.plan import Plan
from pytest_energy.stats.order_statistics import median_sequence

METER = MeterInfo("clock", "measured", (Domain("package-0"),), 0.001, 1e-6)
TEST = """
def work(n):
    return sum(range(n))

def test_it(energy):
    energy.versus(lambda: work(10_000), lambda: work(100_000))

def test_plain(energy):
    energy(lambda: work(10_000))
"""


class Pretended(FreshProcesses):
    """Each process has a ratio of its own, drawn around the true one. No process starts."""

    def __init__(self, ratio, layout_sd):
        super().__init__(None, None)
        self.coin = random.Random(7)
        self.ratio, self.layout_sd = ratio, layout_sd
        self.started = 0

    def _blocks(self, test, number, meter, sizes, plan):
        self.started += 1
        ratio = self.coin.gauss(self.ratio, self.layout_sd)
        windows = {"A": 1e-3 * ratio, "B": 1e-3}
        taken = tuple(Window(windows[x], {"package-0": 20 * windows[x]}, 1) for x in "ABBA")
        return [Block("ABBA", taken, number)] * 9


def compare(ratio, layout_sd, alpha=0.01):
    fresh, gate = Pretended(ratio, layout_sd), Gate()
    decided = lambda ratios: gate.decided(ratios, METER)
    return fresh.compare("t", "old", METER, Plan(alpha=alpha), decided), fresh.started


def test_each_process_counts_once():
    comparison, started = compare(1.0, 0.01)
    assert started == 11
    assert {block.replicate for block in comparison.blocks} == set(range(11))
    assert 0.97 < comparison.speedup.low < 0.995, "as wide as the processes differ"


def test_up_to_three_times_as_many_processes_are_started_if_that_helps():
    assert compare(1.03, 0.01)[1] == 33
    assert compare(1.0, 0.005)[1] == 11


def test_the_interval_holds_over_processes():
    """What one process says with any number of blocks, here 2 % off, is one value of many."""
    comparison, _ = compare(1.0, 0.02)
    assert comparison.speedup.low < 1.0 < comparison.speedup.high
    one = [block for block in comparison.blocks if block.replicate == 0] * 100
    alone = median_sequence(
        [block.side("A").seconds / block.side("B").seconds for block in one], 0.01
    )
    assert not alone.low <= 1.0 <= alone.high


@pytest.fixture
def side(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:hypothesispytest")
    (tmp_path / "test_it.py").write_text(TEST)
    (tmp_path / "test_broken.py").write_text("raise ValueError('never collected')\n")
    options = (*WORKER_ARGUMENTS, "--energy-meter=estimate", "--benchmark-disable")
    return Side("this tree", sys.executable, tmp_path, options, (), (), tmp_path, root=tmp_path)


def test_a_process_measures_both_sides_of_one_test(side):
    """And collects that test's file only."""
    with open_meter("estimate") as meter, fresh_processes(side) as fresh:
        blocks = fresh._blocks("test_it.py::test_it", 5, info(meter), WindowSizes(), Plan())
    assert {block.replicate for block in blocks} == {5}
    seconds = [[b.least_seconds_per_call(letter) for b in blocks] for letter in "AB"]
    assert min(seconds[1]) > 2 * min(seconds[0])


def test_a_test_that_compares_nothing_there_fails_with_the_way_out(side):
    with open_meter("estimate") as meter, fresh_processes(side) as fresh:
        with pytest.raises(ReplicateFailed, match="measures one.*--energy-fresh-processes"):
            fresh.compare("test_it.py::test_plain", "old", info(meter), Plan(), bool)


def test_one_tests_side_has_the_folder_and_the_root_of_the_run():
    side = Side("x", "python", Path("/r/sub"), ("-q",), ("a", "b"), (), Path("/r"), root=Path("/r"))
    one = side.of_test("sub/test_a.py::test[/x]")
    assert one.paths == ("test_a.py",)
    assert one.options == ("-q", "--rootdir=/r")
    assert side.of_test("tests/test_a.py::t").paths == ("../tests/test_a.py",)
    unknown = Side("x", "python", Path("/r/sub"), (), ("a",), (), Path("/r"))
    assert unknown.of_test("sub/test_a.py::t").paths == ("a",)


@pytest.mark.slow
@pytest.mark.parametrize("fresh", [True, False])
def test_the_option_on_the_command_line(pytester, fresh):
    pytester.makepyfile(test_it=TEST)
    pytester.makeini(f"[pytest]\nenergy_fresh_processes = {str(fresh).lower()}\n")
    result = pytester.runpytest_subprocess(
        *("--energy", "--energy-meter=estimate", "--energy-alpha=20%", "-k", "test_it"),
        *("--energy-max-time=1", "-p", "no:hypothesispytest"),
        timeout=100,
    )
    result.assert_outcomes(failed=1, passed=1)
    if fresh:
        result.stdout.re_match_lines([r".*speedup regressed \(baseline .*blocks of \d+ starts.*"])
    else:
        result.stdout.no_re_match_line(r".*blocks of \d+ starts.*")
