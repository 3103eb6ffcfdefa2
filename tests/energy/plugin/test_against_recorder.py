"""This tree against several commits in one run: ``--energy-against A --energy-against B``."""

import json
from dataclasses import replace

import pytest

from pytest_energy.commits.names import Names
from pytest_energy.gate import Budget, Gate
from pytest_energy.meters import open_meter
from pytest_energy.options import Options
from pytest_energy.plugin.against_recorder import AgainstRecorder
from pytest_energy.plugin.measuring_run import MeasuringRun
from tests.energy.commits.test_against import SLOWER, git, nothing_left, repo, run  # noqa: F401 - a fixture
from tests.energy.commits.test_layout import Pretended

NAME = "test_it.py::test_it"


class Commit(Pretended):
    """A commit whose code took ``ratio`` times as long, or that lacks the test."""

    def __init__(self, revision, ratio, has_the_test=True):
        super().__init__([ratio], iter(lambda: ratio, None))
        self.label = f"{revision} (0123456789ab)"
        paired = frozenset({NAME}) if has_the_test else frozenset()
        self.names = Names(paired, (), (), ())

    def _start(self, starts, number, which):
        (block,), set_up_s = super()._start(starts, number, which)
        windows = tuple(map(self._of_package, block.windows))
        return [replace(block, windows=windows)], set_up_s

    @staticmethod
    def _of_package(window):
        return window._replace(joules={"cpu-estimate": 20 * window.seconds})


@pytest.fixture
def measuring_run():
    with open_meter("estimate") as meter:
        yield MeasuringRun(Options(), meter)


def results(measuring_run, *commits, gate=None):
    recorder = AgainstRecorder(measuring_run, commits, NAME, gate or Gate(), None)
    recorder.measure(lambda: None)
    return recorder.results()


def words(result):
    return {v.metric: v.verdict for v in result.verdicts if v.metric in ("speedup", "against")}


def test_creep_since_the_release_is_found_beside_an_unchanged_last_commit(measuring_run):
    release, last = results(measuring_run, Commit("main", 1.0), Commit("v1.0", 0.9))
    assert (last.name, words(last)) == (NAME, {"speedup": "unchanged"})
    assert (release.name, words(release)) == (f"{NAME}::against v1.0", {"speedup": "regressed"})
    assert release.comparison.baseline_name == "v1.0 (0123456789ab)"


def test_a_budget_is_judged_once(measuring_run):
    gate = Gate(Budget(max_seconds=1.0))
    release, last = results(measuring_run, Commit("main", 1.0), Commit("v1", 1.0), gate=gate)
    assert [v.metric for v in last.verdicts].count("seconds") == 1
    assert "seconds" not in [v.metric for v in release.verdicts]


def test_a_test_that_one_commit_lacks_is_compared_with_the_other(measuring_run):
    (only,) = results(measuring_run, Commit("v1", 1.0, has_the_test=False), Commit("main", 1.0))
    assert only.name == NAME
    assert words(only) == {"speedup": "unchanged", "against": "not gated"}
    assert only.comparison.baseline_name.startswith("main")


def test_a_test_that_both_lack_is_measured(measuring_run):
    new = [Commit(revision, 1.0, has_the_test=False) for revision in ("v1", "main")]
    (only,) = results(measuring_run, *new)
    assert only.comparison is None
    assert [v.verdict for v in only.verdicts] == ["not gated", "not gated"]
    assert len(only.measurement.windows) >= 6


def test_counted_work_has_one_baseline(pytester, monkeypatch):
    pytester.makepyfile(test_it="def test_it(energy): energy(sum, [1])")
    result = pytester.runpytest(
        *("--energy-count", "--energy-against=a", "--energy-against=b"), "-p", "no:hypothesispytest"
    )
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--energy-count compares with one commit: give*once"])


@pytest.mark.slow
def test_two_commits_in_one_run(pytester, repo):  # noqa: F811
    """The first commit's code is as fast as this tree's, the tag's is twice as fast."""
    (repo / "library.py").write_text(SLOWER)
    git(repo, "commit", "-qam", "slower")
    result = run(
        pytester, "--energy", "--energy-meter=estimate", "--energy-tolerance=30%",
        "--energy-alpha=20%", "--energy-against=HEAD", "--energy-against=then", "-k", "fixture",
        "--benchmark-json=run.json",
    )  # fmt: skip
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines(
        [
            "energy gate: time +* speedup regressed (baseline then (*",
            "compared with HEAD (*): 1 test is in both",
            "compared with then (*): 1 test is in both",
        ]
    )
    saved = json.loads((repo / "run.json").read_text())["benchmarks"]
    assert [each["fullname"] for each in saved] == [
        "test_it.py::test_fixture::against then", "test_it.py::test_fixture",
    ]  # fmt: skip
    assert all(each["energy"]["versus"] for each in saved)
    nothing_left(repo)
