"""--energy-count through pytest: a worker under valgrind, verdicts, and a run that is saved."""

from __future__ import annotations

import json
import shutil

import pytest

from pytest_energy.runs.json_format import read_run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("valgrind") is None,
        reason="valgrind is not installed: apt-get install valgrind",
    ),
]
TESTS = """
import os, time, pytest

def work(n=3000):
    total = 0
    for x in range(n):
        total = (total * 3 + x) % 79
    return total

def test_plain(energy): energy(work)

@pytest.mark.energy(max_instructions=1000)
def test_over_its_budget(energy): energy(work)

def test_more(energy): energy.versus(work, lambda: work(3600))

def test_benchmark(benchmark): benchmark(work)

def test_dies_under_valgrind(energy):
    energy(lambda: os._exit(3) if "LD_PRELOAD" in os.environ or "GLIBCPP_FORCE_NEW" in os.environ
           or os.environ.get("PYTHONHASHSEED") == "0" else work())

def test_after_it(energy): energy(work)

def test_hangs(energy):
    energy(lambda: time.sleep(99) if os.environ.get("PYTHONHASHSEED") == "0" else work())

def test_of_no_interest(): pass
"""


def test_each_test_is_counted_once_and_what_cannot_be_says_why(suite, monkeypatch):
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    suite.makepyfile(test_it=TESTS)
    done = suite.runpytest_subprocess(
        *("--energy", "--energy-meter=clock", "--energy-max-time=1", "--energy-count"),
        *("--energy-count-timeout=45", "--benchmark-json=run.json"),
    )
    done.stdout.fnmatch_lines(["energy: counting 7 tests with valgrind 3*"])
    done.stdout.fnmatch_lines_random(
        [
            "counted work per call, by callgrind 3*; not joules",
            "  test_plain: * instructions, ±*",
            "  test_dies_under_valgrind: not counted: the worker ended with exit code 3*",
            "  test_hangs: not counted: not counted within 45 s*",
        ]
    )
    run = {
        result.name.split("::")[1]: result for result in read_run(suite.path / "run.json").results
    }
    plain = run["test_plain"].counted.candidate
    # A worker that starts again has another heap: 2.8 % between equal loops was seen.
    for name in ("test_benchmark", "test_after_it", "test_over_its_budget"):
        assert run[name].counted.candidate.instructions == pytest.approx(
            plain.instructions, rel=0.05
        )
    more = run["test_more"].counted
    assert more.candidate.instructions / more.baseline.instructions == pytest.approx(
        36 / 30, abs=0.05
    )
    verdicts = {
        name: {verdict.metric: verdict.verdict for verdict in result.verdicts}
        for name, result in run.items()
    }
    assert verdicts["test_more"]["work"] == "regressed"
    assert verdicts["test_over_its_budget"]["instructions"] == "missed"
    assert verdicts["test_hangs"]["work"] == "not gated"
    assert run["test_hangs"].counted is None  # nothing is saved that was not counted
    json.loads((suite.path / "run.json").read_text())


def test_without_valgrind_the_run_ends_before_it_measures(suite, monkeypatch):
    monkeypatch.setenv("PATH", str(suite.path))
    suite.makepyfile("def test_it(energy): energy(sum, range(9))")
    done = suite.runpytest("--energy", "--energy-meter=clock", "--energy-count")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["ERROR: --energy-count: valgrind is not installed;*apt-get*"])
