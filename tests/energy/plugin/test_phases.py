"""energy.measuring, energy.items, and a second measurement, with and without --energy."""

import pytest

from tests.energy.plugin.test_plugin import MEASURED, WORK, saved

PIPELINE = """
def test_pipeline(energy):
    with energy.measuring("load"):
        data = list(range(20_000))

    @energy.measuring("sort")
    def sort():
        return sorted(data)

    for _ in range(7):
        assert sort() == data
    energy.items(32)
    energy.quality("accuracy", 0.8, floor=0.5)
    energy(sum, data)
"""


def test_each_phase_is_an_entry_of_the_saved_run(suite):
    suite.makepyfile(WORK + PIPELINE)
    result = suite.runpytest(*MEASURED, "--benchmark-autosave", "-vv")
    result.assert_outcomes(passed=1)
    entries = {entry["fullname"].partition("::")[2]: entry for entry in saved(suite)["benchmarks"]}
    assert set(entries) == {"test_pipeline::load", "test_pipeline::sort", "test_pipeline"}
    assert len(entries["test_pipeline::load"]["energy"]["windows"]) == 1
    assert entries["test_pipeline::load"]["energy"]["seconds"]["high"] is None
    assert len(entries["test_pipeline::sort"]["energy"]["windows"]) == 7
    assert entries["test_pipeline"]["energy"]["items"] == 32
    result.stdout.fnmatch_lines(
        [
            "1 test with 3 measurements: *",
            "*per item*",
            "*measured once, so there is no interval*",
            "    *J per item, * per correct item",
        ]
    )


def test_without_the_option_phases_only_run(suite):
    suite.makepyfile(WORK + PIPELINE)
    suite.runpytest().assert_outcomes(passed=1)


def test_a_limit_holds_for_the_phases_of_a_test_without_another_measurement(suite):
    suite.makepyfile(
        WORK
        + """
@pytest.mark.energy(max_joules=1e-9)
def test_it(energy):
    for _ in range(7):
        with energy.measuring("work"):
            work()
"""
    )
    result = suite.runpytest(*MEASURED)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["energy gate: energy *J per call, limit 1 nJ*"])


def test_a_ratio_cannot_be_asked_of_phases(suite):
    suite.makepyfile(
        WORK
        + """
@pytest.mark.gps_up(speedup=1.1)
def test_it(energy):
    with energy.measuring("work"):
        work()
"""
    )
    result = suite.runpytest(*MEASURED)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*requires a measurement, and the test measured nothing*"])


@pytest.mark.parametrize("arguments", [(), MEASURED], ids=["without", "with"])
@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("energy(work); energy(work)", "measures twice"),
        ("energy(work); energy.versus(work, work)", "measures twice"),
        ("\n    with energy.measuring('a'): energy(work)", "contains a measurement"),
        ("\n    with energy.measuring('a'), energy.measuring('b'): pass", "inside the phase 'a'"),
        ("energy.measuring('').__enter__()", "takes the name of a phase"),
        ("energy.items(0)", "takes a whole number"),
        ("energy.items(2); energy.items(3)", "was called twice: 2, then 3"),
    ],
)
def test_misuse_fails_alike_with_and_without_the_option(suite, arguments, body, message):
    suite.makepyfile(WORK + f"def test_it(energy): {body}")
    result = suite.runpytest(*arguments)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"*FixtureMisuse: *{message}*"])


@pytest.mark.slow
def test_a_phase_is_not_compared_with_another_commit(suite):
    suite.makepyfile(
        WORK
        + """
def test_it(energy):
    with energy.measuring("load"):
        work()
    energy(work)
"""
    )
    for command in ("init -q", "add .", "-c user.name=n -c user.email=e@e commit -qm one"):
        suite.run("git", *command.split())
    arguments = (*MEASURED, "--energy-against", "HEAD", "-vv")
    result = suite.runpytest_subprocess(*arguments)
    result.stdout.fnmatch_lines(["*against not gated: a phase runs once*"])
    result.stdout.fnmatch_lines(["*speedup *against HEAD*"])


def test_a_rerun_replaces_the_phases_of_the_failed_attempt(suite):
    pytest.importorskip("pytest_rerunfailures")
    suite.makepyfile(
        WORK
        + """
attempts = []
def test_it(energy):
    with energy.measuring("load"):
        work()
    attempts.append(1)
    assert len(attempts) == 2
"""
    )
    result = suite.runpytest_subprocess(*MEASURED, "--reruns", "1", "--benchmark-autosave")
    result.stdout.fnmatch_lines(["1 test: *"])
    assert len(saved(suite)["benchmarks"]) == 1
