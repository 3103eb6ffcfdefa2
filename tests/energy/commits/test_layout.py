"""What memory layouts do to a comparison, and what ``--energy-against`` does about it."""

import random
import subprocess
import sys
from dataclasses import replace
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_energy.commits.against import FIRST_PAIRS, Against, folder_as_long, may_be_layout
from pytest_energy.commits.layout import Layout
from pytest_energy.gate import Gate
from pytest_energy.model import Block, Comparison, Domain, Interval, MeterInfo, Window
from pytest_energy.plan import Plan
from pytest_energy.stats.gps_up import fewest_starts
from tests.energy.commits.test_against import git, nothing_left, repo, run  # noqa: F401 - a fixture

METER = MeterInfo("clock", "measured", (Domain("package-0"),), 0.001, 1e-6)
SECONDS_PER_WINDOW = 0.0001


class Pretended(Against):
    """Each pair of processes has a ratio of its own: ``first``, then ``fresh``. No process starts.

    A pair pretends to take ``start_s`` to start, and ``set_up_s`` to set the test up.
    """

    def __init__(self, first, fresh, start_s=1.0, set_up_s=0.1):
        super().__init__("then", {}, None)
        self._more = chain(first, fresh)
        self._ratios = [next(self._more) for _ in range(FIRST_PAIRS)]
        self._set_up_s = set_up_s
        self._fresh = SimpleNamespace(
            kept_for=lambda name: len(self._ratios) - FIRST_PAIRS, start_s=start_s
        )

    @property
    def pairs(self):
        return len(self._ratios)

    def _start(self, starts, number, which):
        if which == len(self._ratios):
            self._ratios.append(next(self._more))
        ratio = self._ratios[which]

        def window(letter):
            seconds = SECONDS_PER_WINDOW * (ratio if letter == "A" else 1.0)
            return Window(seconds, {"package-0": 20 * seconds}, 1)

        return [Block("ABBA", tuple(map(window, "ABBA")), number)], self._set_up_s


def compare(first, fresh, **seconds):
    against = Pretended(first, fresh, **seconds)
    gate = Gate()
    plan = replace(Plan(max_time_s=0.2), tolerance=0.03)
    comparison = against.compare("t", METER, plan, lambda ratios: gate.decided(ratios, METER))
    return comparison, against


def around(middle, sd, seed):
    coin = random.Random(seed)
    return iter(lambda: coin.gauss(middle, sd), None)


SLOW = {"start_s": 10.0}
"""Pairs take so long to start that only an alarm pays for more of them."""


def starts_of(comparison):
    return {block.replicate for block in comparison.blocks}


def test_each_start_has_its_own_pair_of_processes():
    comparison, against = compare([], around(1.0, 0.01, 4))
    assert starts_of(comparison) == set(range(11))
    assert against.pairs == 11
    assert not against.differed_at_first


def test_bad_luck_of_a_pair_is_one_value_of_many():
    comparison, against = compare([0.9, 0.9], around(1.0, 0.005, 4))
    assert 0.97 < comparison.speedup.low < 1.0 < comparison.speedup.high < 1.03
    assert against.pairs > 11


@pytest.mark.parametrize("slow", [SLOW, {"set_up_s": 2.0}])
def test_pairs_that_start_slowly_take_turns(slow):
    comparison, against = compare([1.0, 1.001], around(1.0, 0.001, 4), **slow)
    assert against.pairs == 3
    assert starts_of(comparison) == set(range(11))
    assert not against.differed_at_first


def test_a_test_that_is_set_up_slowly_takes_three_of_the_pairs_that_another_has_started():
    against = Pretended([], around(1.0, 0.001, 4))
    assert len(starts_of(against.compare("t", METER, Plan(), bool))) == 11
    taken, against._set_up_s = [], 2.0
    start = against._start
    against._start = lambda starts, number, which: (
        taken.append(which),
        start(starts, number, which),
    )[1]
    against.compare("u", METER, Plan(), bool)
    assert set(taken) == {0, 1, 2}


def test_a_difference_of_processes_that_took_turns_is_no_regression():
    comparison, against = compare([0.95, 0.96, 0.95], around(1.0, 0.01, 4), **SLOW)
    assert comparison.speedup.low > 1 / 1.03
    assert against.differed_at_first == {"t"}
    assert starts_of(comparison) == set(range(against.pairs))


@pytest.mark.parametrize("seconds", [{}, SLOW])
def test_a_difference_in_all_processes_is_a_regression(seconds):
    comparison, against = compare([], around(0.935, 0.01, 5), **seconds)
    assert comparison.speedup.high < 1 / 1.03
    assert 11 <= against.pairs <= 33


@pytest.mark.parametrize("ratios", [[1.0, 1.01, 1.0], [0.5, 0.52, 0.51], [0.9, 1.1, 1.0]])
def test_what_no_layout_explains_takes_no_more_processes(ratios):
    _, against = compare(ratios, iter(()), **SLOW)
    assert against.pairs == 3


@pytest.mark.parametrize(
    ("speedup", "greenup", "expected"),
    [
        ((0.9, 0.92), (0.9, 0.92), True),
        ((1.1, 1.2), None, True),
        ((0.4, 0.5), (0.4, 0.5), False),
        ((0.4, 0.5), (0.8, 0.9), True),
        ((0.96, 0.98), (0.98, 1.01), False),
    ],
)
def test_which_comparisons_are_measured_again(speedup, greenup, expected):
    def interval(ends):
        return None if ends is None else Interval(sum(ends) / 2, *ends)

    comparison = Comparison("then", interval(speedup), interval(greenup), None, None, (), 0.99)
    assert may_be_layout(comparison, 0.03) is expected


def test_memory_lies_elsewhere_in_each_process():
    script = (
        "import random\nfrom pytest_energy.commits.layout import pad_heap\n"
        "padding = pad_heap(random.Random({}))\n"
        "print(id([bytes({}) for _ in range(32)][-1]) % 4096)"
    )
    for size in (20, 2000, 50_000):
        places = set()
        for seed in range(6):
            command = [sys.executable, "-c", script.format(seed, size)]
            places.add(subprocess.run(command, capture_output=True, check=True).stdout)
        assert len(places) >= 4, size


def test_layouts_are_drawn_and_the_users_hash_seed_stays(monkeypatch):
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    coin = random.Random(1)
    one, other = Layout.draw(7, coin), Layout.draw(7, coin)
    assert one.hash_seed == other.hash_seed
    assert one.environment_bytes != other.environment_bytes
    assert one.heap_seed != other.heap_seed
    assert one.variables()["PYTHONHASHSEED"] == "7"
    monkeypatch.setenv("PYTHONHASHSEED", "random")
    assert one.variables()["PYTHONHASHSEED"] == "random"


@pytest.mark.parametrize(("repo", "name"), [("/home/somebody/project", "AAAAAAAA"), ("/r", "A")])
def test_the_two_sides_have_paths_of_one_length(repo, name):  # noqa: F811
    assert folder_as_long(Path("/tmp/abcdefgh"), Path(repo)).name == name


LUCKY = """
import os, sys
folder, this_tree = os.environ["COUNTED_IN"], {this_tree}
slow = False
if "pytest_energy.plugin.worker" in sys.modules and this_tree:
    open(os.path.join(folder, str(os.getpid())), "w").close()
    slow = len(os.listdir(folder)) <= 2
def work():
    return sum(range(26_000 if slow else 20_000))
"""


@pytest.mark.slow
def test_bad_luck_of_the_first_processes_is_not_called_regressed(pytester, repo, monkeypatch):  # noqa: F811
    (repo.parent / "counted").mkdir()
    monkeypatch.setenv("COUNTED_IN", str(repo.parent / "counted"))
    (repo / "library.py").write_text(LUCKY.format(this_tree=False))
    git(repo, "commit", "-qam", "then")
    (repo / "library.py").write_text(LUCKY.format(this_tree=True))
    result = run(
        pytester, "--energy", "--energy-meter=estimate", "--energy-max-time=4",
        "--energy-tolerance=12%", "--energy-alpha=20%", "--energy-against", "HEAD",
        "-k", "fixture",
    )  # fmt: skip
    result.assert_outcomes(passed=1, deselected=1)
    result.stdout.no_fnmatch_line("*1 slower*")
    assert len(list((repo.parent / "counted").iterdir())) > 2, "fresh processes were started"
    nothing_left(repo)


def test_the_maximum_time_ends_a_comparison_at_a_look():
    def starts_within(max_time_s):
        against = Pretended([], around(1.03, 0.02, 1))
        plan = Plan(max_time_s=max_time_s)
        return len(against.compare("t", METER, plan, lambda ratios: False).blocks)

    a_start_s = 4 * SECONDS_PER_WINDOW
    assert starts_within(a_start_s) == 11
    assert starts_within(15 * a_start_s) == 16
    assert starts_within(60.0) == 33


def test_a_short_time_has_enough_starts_for_an_alarm():
    against = Pretended([], around(0.9, 0.001, 1))
    plan = Plan(max_time_s=1e-6).as_one_of(50, 0.05)
    comparison = against.compare("t", METER, plan, lambda ratios: False)
    assert len(comparison.blocks) == 16 >= fewest_starts(0.001)
