"""--energy-count with canned counts: verdicts, saved runs, other machines, other commits."""

from __future__ import annotations

import html
import importlib.util
import json
import sys

import pytest

from pytest_energy.errors import CountingUnavailable
from pytest_energy.model import Counted, CountedWork
from pytest_energy.plugin import count_run
from pytest_energy.runs import compare
from pytest_energy.runs.json_format import read_run

TESTS = """
import pytest

def test_plain(energy): energy(sum, range(9))

@pytest.mark.energy(max_instructions=900)
def test_budget(energy): energy(sum, range(9))

def test_rounds(benchmark): benchmark(sum, range(9))

@pytest.mark.gps_up(work=1.5)
def test_versus(energy):
    energy.quality("accuracy", 0.9, floor=0.5)
    energy.versus(sum, max, [1, 2])
"""
CONDITIONS = {"cache": "D1 32 KiB", "instruction_set": "x86_64 avx2"}


def work(instructions=1000, **functions):
    return CountedWork(
        "callgrind 3.19.0",
        {"instructions": instructions},
        0.002,
        4,
        functions,
        conditions=CONDITIONS,
    )


@pytest.fixture
def counts(monkeypatch):
    """What each side's worker counts: {side: {test: Counted}}; 1000 instructions otherwise."""
    canned = {}

    def count_sides(sides, tests, settings, janitor):
        found = [canned.get("now" if each.label == "this tree" else "before", {}) for each in sides]
        return [
            {name: side.get(name.split("::")[1], Counted(work())) for name in tests}
            for side in found
        ]

    monkeypatch.setattr(count_run, "count_sides", count_sides)
    monkeypatch.setattr(count_run, "counting_tool", lambda: ("a canned tool", True))
    return canned


@pytest.fixture
def counted(suite, counts):
    """Runs pytest --energy-count on `TESTS`."""
    suite.makepyfile(test_it=TESTS)
    counts["now"] = {"test_versus": Counted(work(1000), work(2000))}

    def run(*arguments):
        return suite.runpytest_inprocess("--energy-count", *arguments)

    return run


def test_counting_alone_judges_counts_and_measures_nothing(counted, suite):
    done = counted("--benchmark-json=run.json")
    done.assert_outcomes(passed=3, failed=1)
    done.stdout.fnmatch_lines(
        ["energy: counting work only; *", "energy: counting 4 tests with a canned tool"]
    )
    done.stdout.fnmatch_lines_random(
        [
            "energy gate: counted work 1.00 *limit 0.9 k instructions: instructions missed*",
            "  test_plain: 1.00 k instructions, ± 0.20%",
            "  test_versus: 2.00 k instructions → 1.00 k instructions, ± 0.20%",
        ]
    )
    done.stdout.no_fnmatch_line("*ESTIMATED*")
    saved = {
        result.name.split("::")[1]: result for result in read_run(suite.path / "run.json").results
    }
    assert set(saved) == {"test_plain", "test_budget", "test_rounds", "test_versus"}
    verdicts = {v.metric: v.verdict for v in saved["test_versus"].verdicts}
    assert verdicts == {"accuracy": "met", "work": "met"}
    assert saved["test_plain"].counted == Counted(work())


def test_what_needs_a_measurement_is_not_gated(suite, counts):
    suite.makepyfile(
        """
        import pytest
        @pytest.mark.energy(max_joules=1, max_seconds=1)
        def test_it(energy): energy(sum, range(9))
        """
    )
    done = suite.runpytest_inprocess("--energy-count")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stdout.fnmatch_lines(["NOTHING GATED by markers: *measure with --energy*"])


def test_an_ini_file_alone_starts_no_count(suite, counts):
    suite.makepyfile(TESTS)
    suite.makeini("[pytest]\nenergy_count = true")
    done = suite.runpytest_inprocess()
    done.assert_outcomes(passed=4)
    done.stdout.no_fnmatch_line("*counting*")


def edit_run(path, change):
    saved = json.loads(path.read_text())
    change(saved["energy"])
    path.write_text(json.dumps(saved))


def test_a_run_of_another_machine_is_compared_by_its_counts(counted, counts, suite):
    counted("--benchmark-json=old.json")
    old = suite.path / "old.json"
    edit_run(old, lambda energy: energy["machine"].update(cpu="another", cores=96))
    done = counted("--energy-compare=old.json", "-k", "plain")
    assert done.ret == 0
    done.stdout.fnmatch_lines(["compared by counted work, tolerance 1.0%: *"])
    counts["now"]["test_plain"] = Counted(work(1020, sort=500))
    done = counted("--energy-compare=old.json", "-k", "plain")
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    done.stdout.fnmatch_lines(["4 tests: 1 with more work*", "    instructions grew: sort +500"])


def test_a_measured_run_of_another_machine_is_compared_by_its_counts(counted, suite):
    options = ("--energy", "--energy-meter=clock", "--energy-max-time=0.2", "-k", "plain")
    counted(*options, "--benchmark-json=old.json")
    edit_run(suite.path / "old.json", lambda energy: energy["machine"].update(cores=96))
    done = counted(*options, "--energy-compare=old.json")
    assert done.ret == 0
    done.stdout.fnmatch_lines(["compared by counted work*: another machine*cores*"])


@pytest.mark.parametrize(
    ("where", "value", "named"),
    [
        ("python", "CPython 3.9.1", "python: CPython 3.9.1"),
        ("torch", "1.0", "torch: 1.0 / 2.0"),
        ("cache", "D1 64 KiB", "cache: D1 64 KiB / D1 32 KiB"),
        ("instruction_set", "aarch64", "instruction_set: aarch64"),
        ("tool", "callgrind 3.21.0", "tool: callgrind 3.21.0"),
    ],
)
def test_counts_that_are_not_alike_are_refused_and_named(
    counted, suite, monkeypatch, where, value, named
):
    here = {"python": "CPython 3.11.2", "distributions": {"torch": "2.0"}}
    monkeypatch.setattr(compare, "software", lambda: here)
    counted("--benchmark-json=old.json", "-k", "plain")
    path = suite.path / "old.json"
    saved = json.loads(path.read_text())
    saved["energy"]["machine"]["cores"] = 96
    saved["energy"]["software"] = json.loads(json.dumps(here))
    side = saved["benchmarks"][0]["energy"]["work"]["candidate"]
    if where == "python":
        saved["energy"]["software"]["python"] = value
    elif where == "torch":
        saved["energy"]["software"]["distributions"]["torch"] = value
    elif where == "tool":
        side["tool"] = value
    else:
        side["conditions"][where] = value
    path.write_text(json.dumps(saved))
    done = counted("--energy-compare=old.json", "-k", "plain")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    assert named in done.stdout.str() + done.stderr.str()


def test_another_commit_is_compared_by_counts_alone(counted, counts, suite):
    suite.run("git", "init", "-q")
    suite.run("git", "add", "--all")
    suite.run("git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "then")
    counts["now"] |= {"test_plain": Counted(work(1200, sort=500))}
    counts["before"] = {"test_rounds": Counted(reason="it has no such test")}
    done = counted("--energy-against=HEAD")
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    done.stdout.fnmatch_lines(
        [
            "energy gate: work +20*work regressed*instructions grew: sort +500*",
            "NOT GATED (1x): HEAD (*): it has no such test",
        ]
    )


def test_a_worker_that_cannot_collect_ends_the_run(counted, monkeypatch):
    def refuse(*given):
        raise CountingUnavailable("the counting worker ended before its first test: exit code 4")

    monkeypatch.setattr(count_run, "count_sides", refuse)
    done = counted()
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    assert "--energy-count: the counting worker ended" in done.stdout.str() + done.stderr.str()


@pytest.mark.slow
def test_comment_and_page_name_the_functions_that_grew(counted, counts, suite):
    counted("--benchmark-json=old.json")
    counts["now"]["test_plain"] = Counted(work(1020, sort=500))
    page = importlib.util.find_spec("vl_convert") is not None
    counted(
        *("--energy-compare=old.json", "-k", "plain", "--energy-markdown=comment.md"),
        *(["--energy-report=page.html"] if page else []),
        "--benchmark-json=new.json",
    )
    comment = html.unescape((suite.path / "comment.md").read_text())
    assert "with more work" in comment and "instructions grew: sort +500" in comment
    assert "ESTIMATED" not in comment
    if page:
        assert "test_plain" in (suite.path / "page.html").read_text()
    done = suite.run(sys.executable, "-m", "pytest_energy", "history", "old.json", "new.json")
    assert done.ret == 0
    done.stdout.fnmatch_lines(["any machine; counted work only, *", "*instructions up 2.0%*"])


def test_workers_side_by_side_are_refused(counted):
    done = counted("-n", "2")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["ERROR: --energy-count cannot run with xdist*"])
