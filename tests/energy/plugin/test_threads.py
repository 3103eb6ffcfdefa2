"""``energy_threads``: the variables in the run, and its line at the top."""

from __future__ import annotations

import os

import pytest

from pytest_energy.measuring.threads import VARIABLES
from pytest_energy.report.terminal import machine_line


def test_the_code_under_test_sees_the_variables_and_the_next_run_does_not(suite):
    before = {name: os.environ.get(name) for name in VARIABLES}
    suite.makeini("[pytest]\nenergy_threads = 2")
    suite.makepyfile(
        "import os\nSEEN = os.environ['OMP_NUM_THREADS']\ndef test_it(): assert SEEN == '2'"
    )
    run = suite.runpytest_inprocess("--energy")
    run.assert_outcomes(passed=1)
    run.stdout.fnmatch_lines("energy: * CPUs, load *; thread pools of 2 threads")
    assert {name: os.environ.get(name) for name in VARIABLES} == before


@pytest.mark.parametrize("number", ["0", "-1", "1.5", "all"])
def test_a_wrong_number_of_threads_is_refused(suite, number):
    suite.makepyfile("def test_it(): pass")
    run = suite.runpytest_inprocess("--energy", f"--energy-threads={number}")
    assert run.ret == pytest.ExitCode.USAGE_ERROR
    run.stderr.fnmatch_lines(
        f"*--energy-threads takes a number of threads, 1 or more, not *{number}*"
    )


@pytest.mark.parametrize(
    ("load", "threads", "words"),
    [
        (0.3, None, "2 CPUs, load 0.3; thread pools as their libraries choose"),
        (1.2, None, "2 CPUs, load 1.2: other programs are running"),
        (1.2, 1, "2 CPUs, load 1.2; thread pools of 1 thread"),
        (None, None, "2 CPUs; thread pools as their libraries choose"),
    ],
)
def test_the_line_of_the_machine(load, threads, words):
    assert machine_line(2, load, threads).startswith(f"energy: {words}")


@pytest.mark.parametrize(("seconds", "raised"), [("1", True), ("5", False)])
def test_a_time_in_which_no_verdict_fits_is_raised_and_said(suite, seconds, raised):
    suite.makepyfile("def test_it(): pass")
    run = suite.runpytest_inprocess(
        "--energy", "--energy-against=HEAD", f"--energy-max-time={seconds}", "--collect-only"
    )
    line = "energy: --energy-max-time 1 is raised to 1.6: --energy-against needs 11 starts*"
    lines = run.stdout.fnmatch_lines if raised else run.stdout.no_fnmatch_line
    lines([line] if raised else line)
