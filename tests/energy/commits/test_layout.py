"""What memory layouts do to a comparison, and what ``--energy-against`` does about it."""

import itertools
import random
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_energy.commits.against import Against, folder_as_long, may_be_layout
from pytest_energy.commits.layout import Layout
from pytest_energy.gate import Gate
from pytest_energy.model import Block, Comparison, Domain, Interval, MeterInfo, Window
from pytest_energy.plan import Plan
from tests.energy.commits.test_against import git, nothing_left, repo, run  # noqa: F401 - a fixture

METER = MeterInfo("clock", "measured", (Domain("package-0"),), 0.001, 1e-6)
SECONDS_PER_WINDOW = 0.0001


class PretendedPairs:
    """Fresh pairs, each with a ratio drawn for it."""

    def __init__(self, ratios, kept=0):
        self.ratios = ratios
        self.pairs = [{"ratio": next(ratios)} for _ in range(kept)]

    def kept_for(self, test):
        return len(self.pairs)

    @contextmanager
    def of(self, test, number):
        if number == len(self.pairs):
            self.pairs.append({"ratio": next(self.ratios)})
        yield self.pairs[number]


class Pretended(Against):
    """Sides whose ratio is drawn for each process: no process is started."""

    def __init__(self, first, fresh, kept=0):
        super().__init__("then", {}, None)
        self._pairs = itertools.cycle([{"ratio": ratio} for ratio in first])
        self._fresh = PretendedPairs(iter(fresh), kept)

    @property
    def fresh_pairs(self):
        return len(self._fresh.pairs)

    def _replicate(self, pair, name, number, meter, calls, plan):
        ratio = pair["ratio"]

        def window(letter):
            seconds = SECONDS_PER_WINDOW * (ratio if letter == "A" else 1.0)
            return Window(seconds, {"package-0": 20 * seconds}, 1)

        return [Block("ABBA", tuple(map(window, "ABBA")), number)]


def compare(first, fresh, kept=0):
    against = Pretended(first, fresh, kept)
    gate = Gate()
    plan = replace(Plan(max_time_s=0.2), tolerance=0.03)
    comparison = against.compare("t", METER, plan, lambda ratios: gate.decided(ratios, METER))
    return comparison, against


def around(middle, sd, seed):
    coin = random.Random(seed)
    return iter(lambda: coin.gauss(middle, sd), None)


def test_a_difference_of_two_processes_alone_is_no_regression():
    comparison, against = compare([0.95, 0.96], around(1.0, 0.01, 4))
    assert comparison.speedup.low > 1 / 1.03
    assert against.differed_at_first == {"t"}
    assert {block.replicate for block in comparison.blocks} == set(range(against.fresh_pairs))


def test_a_difference_in_all_processes_is_a_regression():
    comparison, against = compare([0.93, 0.94], around(0.935, 0.01, 5))
    assert comparison.speedup.high < 1 / 1.03
    assert 12 <= against.fresh_pairs <= 24


def test_fresh_processes_that_another_test_has_started_come_first():
    """Then nothing differs at first, and nothing was not confirmed."""
    comparison, against = compare([], around(0.935, 0.01, 5), kept=12)
    assert comparison.speedup.high < 1 / 1.03
    assert not against.differed_at_first
    assert len({block.replicate for block in comparison.blocks}) == 12
    _, against = compare([0.93, 0.94], around(1.0, 0.001, 5), kept=11)
    assert against.differed_at_first == {"t"}, "too few for a verdict"


@pytest.mark.parametrize("ratios", [[1.0, 1.01], [0.5, 0.52], [0.9, 1.1]])
def test_what_no_layout_explains_takes_no_fresh_processes(ratios):
    _, against = compare(ratios, [])
    assert against.fresh_pairs == 0


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


def test_a_time_too_short_for_a_verdict_is_raised():
    """--energy-max-time=0.01 would end with too few starts in any case."""
    against = Pretended([1.0, 1.001], [])
    replicate = against._replicate

    def slow_start(*given):
        time.sleep(0.01)
        return replicate(*given)

    against._replicate = slow_start
    comparison = against.compare("t", METER, Plan(max_time_s=0.01), lambda ratios: True)
    assert len(comparison.blocks) == 12
    assert 0.96 < comparison.speedup.low <= comparison.speedup.high < 1.04
