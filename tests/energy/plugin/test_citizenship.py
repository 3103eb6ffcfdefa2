"""The plugin together with other plugins and with pytest's own options.

The test of a plugin that is not installed skips. noxfile.py installs all of them, with every
supported version of pytest and pytest-benchmark.
"""

from __future__ import annotations

import importlib.util
import json
import sys

import pytest

pytestmark = pytest.mark.slow  # each test is a process or two; nox runs this file alone

ENERGY = ("--energy", "--energy-meter=clock", "--energy-max-time=0.3", "--benchmark-json=run.json")
SUITE = """
import pytest

@pytest.mark.parametrize("number", range(4))
def test_it(energy, number):
    energy(sum, range(10))

def test_benchmark(benchmark):
    benchmark(sum, range(10))
"""


def needs(module):
    return pytest.mark.skipif(
        importlib.util.find_spec(module) is None,
        reason=f"{module} is not installed; nox installs it",
    )


def saved(suite):
    return sorted(
        benchmark["name"]
        for benchmark in json.loads((suite.path / "run.json").read_text())["benchmarks"]
    )


ALL = ["test_benchmark", *(f"test_it[{number}]" for number in range(4))]


def test_the_plugin_with_pytest_benchmark_only(suite):
    suite.makepyfile(SUITE)
    suite.runpytest_subprocess(*ENERGY).assert_outcomes(passed=5)
    assert saved(suite) == ALL
    assert all(
        b["energy"]["joules"]["value"] > 0
        for b in json.loads((suite.path / "run.json").read_text())["benchmarks"]
    )


@needs("xdist")
def test_xdist_is_refused_with_energy_only(suite):
    suite.makepyfile(SUITE)
    done = suite.runpytest_subprocess(*ENERGY, "-n", "2")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["ERROR: *-n*"])
    assert suite.runpytest_subprocess("-n", "2", "-W", "ignore").ret == 0


@needs("pytest_randomly")
def test_a_random_order_saves_all_results(suite, monkeypatch):
    monkeypatch.delenv("PYTEST_ADDOPTS")
    suite.makepyfile(SUITE)
    for seed in "123":
        suite.runpytest_subprocess(
            *ENERGY,
            "-p",
            "randomly",
            "-p",
            "no:xdist",
            "-p",
            "no:cacheprovider",
            f"--randomly-seed={seed}",
        ).assert_outcomes(passed=5)
        assert saved(suite) == ALL


@needs("pytest_rerunfailures")
def test_a_rerun_replaces_the_result_of_the_failed_attempt(suite):
    suite.makepyfile(
        """
attempts = []

def test_flaky(energy):
    attempts.append(1)
    energy(sum, range(10))
    assert len(attempts) > 1

def test_sound(energy):
    energy(sum, range(10))
"""
    )
    done = suite.runpytest_subprocess(*ENERGY, "--reruns", "2")
    assert done.ret == 0
    done.stdout.fnmatch_lines(["*2 passed, 1 rerun*"])
    assert saved(suite) == ["test_flaky", "test_sound"]


@needs("pytest_cov")
def test_cov(suite):
    suite.makepyfile(SUITE)
    done = suite.runpytest_subprocess(
        *ENERGY, "--cov=.", "--cov-report=term-missing", "-W", "ignore"
    )
    done.assert_outcomes(passed=5)
    # Coverage traces the first call and no window.
    done.stdout.fnmatch_lines(["test_cov.py * 100%*"])
    assert saved(suite) == ALL


@needs("pytest_timeout")
def test_a_timeout_ends_one_test_and_the_next_passes(suite):
    suite.makepyfile(
        "import time\ndef test_slow(energy):\n    energy(time.sleep, 60)\n"
        "def test_sound(energy):\n    energy(sum, range(10))\n"
    )
    done = suite.runpytest_subprocess(*ENERGY, "--timeout=10", "--timeout-method=signal")
    done.assert_outcomes(failed=1, passed=1)
    assert saved(suite) == ["test_sound"]


@needs("pytest_asyncio")
def test_pytest_asyncio_runs_an_async_test(suite):
    suite.makepyfile(
        "import pytest\n@pytest.mark.asyncio\n"
        "async def test_it(energy):\n    energy(sum, range(10))\n"
    )
    suite.runpytest_subprocess(*ENERGY, "-W", "ignore").assert_outcomes(passed=1)
    assert saved(suite) == ["test_it"]


FAILING = """
def test_first(energy):
    energy(sum, range(10))

def test_second(energy):
    energy(sum, range(10))
    assert False

def test_third(energy):
    energy(sum, range(10))
"""


def test_stop_at_the_first_failure_saves_finished_results(suite):
    suite.makepyfile(FAILING)
    suite.runpytest_subprocess(*ENERGY, "-x").assert_outcomes(passed=1, failed=1)
    # A failed test's result is saved, as in pytest-benchmark, since a missed gate fails its test.
    assert saved(suite) == ["test_first", "test_second"]


@pytest.mark.slow
def test_last_failed_reruns_only_the_failed_test(suite):
    suite.makepyfile(FAILING)
    suite.runpytest_subprocess(*ENERGY).assert_outcomes(passed=2, failed=1)
    assert saved(suite) == ["test_first", "test_second", "test_third"]
    done = suite.runpytest_subprocess("--energy", "--energy-meter=clock", "--lf")
    done.assert_outcomes(failed=1)


def test_a_run_in_the_debugger_saves_its_results(suite):
    suite.makepyfile(FAILING)
    done = suite.run(
        *(
            sys.executable,
            "-c",
            (
                "import subprocess, sys; "
                "sys.exit(subprocess.run(sys.argv[1:], input=b'c\\nc\\nc\\n').returncode)"
            ),
        ),
        *(sys.executable, "-m", "pytest", *ENERGY, "--pdb"),
    )
    assert done.ret in (pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED)
    assert "test_first" in saved(suite)


def test_without_the_terminal(suite):
    suite.makepyfile(SUITE)
    assert suite.runpytest_subprocess(*ENERGY, "-p", "no:terminal").ret == 0
    assert saved(suite) == ALL


def test_without_pytest_benchmark(suite):
    # Without pytest-benchmark the plugin measures, gates and reports, but saves no run.
    suite.makepyfile("def test_it(energy):\n    energy(sum, range(10))\n")
    done = suite.runpytest_subprocess("--energy", "--energy-meter=clock", "-p", "no:benchmark")
    done.assert_outcomes(passed=1)
    done.stdout.fnmatch_lines(["*measured by clock*"])


def test_with_assertions_off_and_warnings_as_errors(suite):
    suite.makepyfile(SUITE)
    # pytest-asyncio warns if its own options are not set.
    done = suite.runpytest_subprocess(*ENERGY, "-W", "error", "--assert=plain", "-p", "no:asyncio")
    done.assert_outcomes(passed=5)
