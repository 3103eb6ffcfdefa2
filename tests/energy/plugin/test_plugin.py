"""The plugin's exit codes, failures, tables and saved files."""

import json
import re
import sys
from importlib.util import find_spec

import pytest

MEASURED = (
    "--energy",
    "--energy-meter",
    "clock",
    "--energy-max-time",
    "0.25",
    "-p",
    "no:cacheprovider",
)

# For tests that need a verdict, which takes longer on a busy machine.
PATIENT = (*MEASURED, "--energy-max-time", "20")

WORK = """
import pytest

def work(steps=20_000):
    return sum(range(steps))

def double():
    return work(40_000)
"""


def saved(pytester):
    (path,) = pytester.path.glob(".benchmarks/*/*.json")
    return json.loads(path.read_text(encoding="utf8"))


def no_plugin_frames(result):
    text = result.stdout.str() + result.stderr.str()
    assert "Traceback" not in text
    assert not re.search(r"pytest_energy/\w+\.py:\d+", text)


def test_the_fixture_returns_the_codes_result(suite):
    suite.makepyfile(
        WORK + "def test_it(energy): assert energy(work) == 199990000 and energy.enabled"
    )
    result = suite.runpytest(*MEASURED, "--benchmark-autosave")
    result.assert_outcomes(passed=1)
    entry = saved(suite)["benchmarks"][0]["energy"]
    assert entry["provenance"] == "measured"
    assert entry["watts"]["value"] == pytest.approx(20.0, rel=0.05)
    result.stdout.fnmatch_lines(["energy measured by clock", "- test_it * mJ *W"])


def test_without_the_option_the_fixture_only_calls_the_code(suite):
    suite.makepyfile(
        WORK
        + """
calls = []
def test_one(energy):
    assert energy(calls.append, 1) is None and calls == [1] and not energy.enabled
def test_two(energy):
    assert energy.versus(calls.append, lambda x: calls.append(x + 1), 5) is None
    assert calls == [1, 5, 6]
"""
    )
    result = suite.runpytest()
    result.assert_outcomes(passed=2)
    result.stdout.no_fnmatch_line("*estimated*")


def test_a_candidate_that_does_twice_the_work_fails(suite):
    suite.makepyfile(
        WORK
        + """
@pytest.mark.gps_up(speedup=1.2, greenup=1.1)
def test_slower(energy):
    energy.versus(work, double)
"""
    )
    # Long windows, because calibration may happen at a slow moment of a busy machine.
    result = suite.runpytest(*PATIENT, "--energy-quantisation=0.002")
    assert result.ret == 1
    result.stdout.re_match_lines(
        [
            (
                r"energy gate: speedup 0\.\d+ \[.*\], asked at least 1\.2: speedup missed "
                r"\(baseline work, .*clock\)"
            )
        ]
    )
    result.stdout.re_match_lines(
        [r"energy gate: greenup .*, asked at least 1\.1: greenup missed .*measured by clock"]
    )
    no_plugin_frames(result)


def test_an_accuracy_below_its_floor_fails(suite):
    suite.makepyfile(
        WORK
        + """
def test_accurate(energy):
    energy(work)
    energy.quality("accuracy", 0.83, floor=0.84)
"""
    )
    result = suite.runpytest(*MEASURED)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["energy gate: accuracy 0.83, floor 0.84: accuracy missed"])
    no_plugin_frames(result)


def test_floors_are_checked_without_the_option_too(suite):
    suite.makepyfile("def test_it(energy): energy.quality('accuracy', 0.5, floor=0.6)")
    result = suite.runpytest()
    assert result.ret == 1
    result.stdout.fnmatch_lines(["energy gate: accuracy 0.5, floor 0.6: accuracy missed"])


def test_an_error_above_its_ceiling_fails(suite):
    suite.makepyfile(
        """
def test_it(energy):
    energy.quality('error', 0.3, ceiling=0.25)
def test_within(energy):
    energy.quality('error', 0.2, ceiling=0.25)
"""
    )
    result = suite.runpytest()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["energy gate: error 0.3, ceiling 0.25: error missed"])


def test_floors_are_checked_when_nothing_is_measured(suite):
    suite.makepyfile("def test_it(energy): energy.quality('accuracy', 0.5, floor=0.6)")
    result = suite.runpytest(*MEASURED)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["energy gate: accuracy 0.5, floor 0.6: accuracy missed"])


def test_a_regression_fails_without_a_threshold(suite):
    suite.makepyfile(WORK + "def test_it(energy): energy.versus(work, double)")
    result = suite.runpytest(*PATIENT)
    assert result.ret == 1
    result.stdout.re_match_lines(
        [r"energy gate: time \+\d+ % \[.*\], limit \+3 %: speedup regressed .*"]
    )
    result.stdout.re_match_lines([r"energy gate: energy \+\d+ %.*: greenup regressed .*"])


@pytest.mark.parametrize(
    ("limits", "verdict"), [("max_joules=1e-9", "joules missed"), ("max_watts=1", "watts missed")]
)
def test_an_exceeded_budget_fails(suite, limits, verdict):
    suite.makepyfile(WORK + f"@pytest.mark.energy({limits})\ndef test_it(energy): energy(work)")
    result = suite.runpytest(*MEASURED, "--energy-max-time=2")
    assert result.ret == 1
    result.stdout.re_match_lines(
        [rf"energy gate: .*, limit .*: {verdict} \(.* windows; joules measured by clock\)"]
    )


def test_a_kept_budget_passes(suite):
    suite.makepyfile(
        WORK + "@pytest.mark.energy(max_joules=9, max_watts=25, max_seconds=9)\n"
        "def test_it(energy): energy(work)"
    )
    suite.runpytest(*MEASURED).assert_outcomes(passed=1)


def test_estimated_joules_do_not_gate_and_the_run_reports_it(suite):
    suite.makepyfile(
        WORK + "@pytest.mark.energy(max_joules=1e-9)\ndef test_it(energy): energy(work)"
    )
    arguments = (
        "--energy",
        "--energy-meter",
        "clock:provenance=estimated",
        "--energy-max-time",
        "3",  # enough windows for an interval, also on a busy machine
    )
    result = suite.runpytest(*arguments)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "*ESTIMATED by meter clock*",
            "energy ~ ESTIMATED by clock*; joules NOT GATED (1x)",
            "- test_it * mJ",
        ]
    )
    suite.runpytest(*arguments, "--energy-gate-estimates").assert_outcomes(failed=1)


def test_inconclusive_is_reported_and_fails_only_when_strict(suite):
    suite.makepyfile(
        WORK + "@pytest.mark.gps_up(speedup=1.0)\ndef test_it(energy): energy.versus(work, work)"
    )
    result = suite.runpytest(*MEASURED)
    # The threshold equals the true ratio, so at most 1 % of runs decide it.
    result.stdout.fnmatch_lines(
        ["[?] test_it *", "    speedup *, asked at least 1", "inconclusive: *"]
    )
    result.assert_outcomes(passed=1)
    suite.runpytest(*MEASURED, "--energy-strict").assert_outcomes(failed=1)


@pytest.mark.parametrize(
    ("marker", "words"),
    [
        ("energy(max_joule=1)", "no keyword 'max_joule'"),
        ("gps_up(1.2)", "keywords only"),
        ("gps_up(speedup='fast')", "above 0, not 'fast'"),
        ("energy(max_watts=-1)", "above 0, not -1"),
    ],
)
@pytest.mark.parametrize("options", [(), MEASURED], ids=["off", "on"])
def test_a_wrong_marker_is_a_usage_error(suite, marker, words, options):
    suite.makepyfile(f"import pytest\n@pytest.mark.{marker}\ndef test_it(energy): pass")
    result = suite.runpytest(*options)
    assert result.ret == 4
    result.stderr.fnmatch_lines([f"ERROR: *test_it: *{words}*"])


def test_a_gps_up_marker_without_a_comparison_fails(suite):
    suite.makepyfile(WORK + "@pytest.mark.gps_up(speedup=2)\ndef test_it(energy): energy(work)")
    result = suite.runpytest(*MEASURED)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["energy gate: *never called energy.versus: gps_up missed"])


@pytest.mark.parametrize("signature", ["energy", ""])
def test_a_marker_on_a_test_that_measures_nothing_fails(suite, signature):
    suite.makepyfile(
        f"import pytest\n@pytest.mark.energy(max_joules=1)\ndef test_it({signature}): pass"
    )
    result = suite.runpytest(*MEASURED)
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        ["energy gate: a marker of this test requires a measurement, and the test measured nothing"]
    )
    suite.runpytest().assert_outcomes(passed=1)


def test_a_floor_that_is_not_a_number_is_refused(suite):
    suite.makepyfile("def test_it(energy): energy.quality('accuracy', 0.5, floor=float('inf'))")
    result = suite.runpytest()
    result.stdout.fnmatch_lines(
        ["*FixtureMisuse: the floor of 'accuracy' must be a finite number, not inf"]
    )


def test_a_floor_above_the_ceiling_is_refused(suite):
    suite.makepyfile("def test_it(energy): energy.quality('error', 0.5, floor=2, ceiling=1)")
    result = suite.runpytest()
    result.stdout.fnmatch_lines(
        ["*FixtureMisuse: the floor of 'error', 2, is above its ceiling, 1"]
    )


def test_an_invalid_ini_switch_is_a_named_error(suite):
    suite.makeini("[pytest]\nenergy_strict = maybe\n")
    result = suite.runpytest()
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: energy_strict in the ini file: *maybe*"])


def test_measuring_twice_in_one_test_is_refused(suite):
    suite.makepyfile(WORK + "def test_it(energy): energy(work); energy(work)")
    result = suite.runpytest(*MEASURED)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*FixtureMisuse: *measures twice*"])


def test_an_exception_of_the_code_fails_its_test(suite):
    suite.makepyfile(
        "def boom(): raise ZeroDivisionError('mine')\ndef test_it(energy): energy(boom)"
    )
    result = suite.runpytest(*MEASURED)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E *ZeroDivisionError: mine"])


def test_an_expected_failure_stays_expected(suite):
    suite.makepyfile(
        WORK + "@pytest.mark.xfail(strict=True)\n@pytest.mark.gps_up(speedup=9)\n"
        "def test_it(energy): energy.versus(work, work)"
    )
    suite.runpytest(*PATIENT).assert_outcomes(xfailed=1)


def test_an_unknown_meter_is_a_usage_error(suite):
    result = suite.runpytest("--energy", "--energy-meter", "wattmeter")
    assert result.ret == 4
    result.stderr.fnmatch_lines(
        ["ERROR: no meter is called 'wattmeter'; installed are: auto, clock, *powercap*"]
    )


def test_a_missing_sensor_is_a_usage_error_with_a_remedy(suite):
    result = suite.runpytest("--energy", "--energy-meter", "powercap:root=nowhere")
    assert result.ret == 4
    result.stderr.fnmatch_lines(
        ["ERROR: --energy-meter powercap:root=nowhere: nowhere*;*powercap:root=DIR*"]
    )


def test_xdist_workers_are_a_usage_error(suite):
    pytest.importorskip("xdist")
    suite.makepyfile("def test_it(energy): pass")
    result = suite.runpytest("--energy", "--energy-meter", "clock", "-n", "2")
    assert result.ret == 4
    result.stderr.fnmatch_lines(
        ["ERROR: --energy cannot run with xdist's workers*belong to the whole machine*-n 0*"]
    )


def test_a_run_that_measures_nothing_reports_it(suite):
    suite.makepyfile("def test_it(): pass")
    result = suite.runpytest(*MEASURED)
    result.stdout.fnmatch_lines(["NOTHING WAS MEASURED*"])


def test_with_the_plugin_disabled_the_option_is_an_error(suite):
    suite.makepyfile("def test_it(): pass")
    assert (
        suite.runpytest_subprocess("--energy", "-p", "no:energy").ret == pytest.ExitCode.USAGE_ERROR
    )


def test_a_run_without_tests_does_not_pass(suite):
    assert suite.runpytest(*MEASURED).ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_the_command_line_overrides_the_ini_file(suite):
    suite.makeini("[pytest]\nenergy_meter = clock:watts=5\nenergy_max_time = 0.5\n")
    suite.makepyfile(WORK + "def test_it(energy): energy(work)")
    suite.runpytest("--energy").stdout.re_match_lines([r"- test_it .* (4\.9|5\.0)\d W"])
    suite.runpytest("--energy", "--energy-meter", "clock:watts=8").stdout.re_match_lines(
        [r"- test_it .* (7\.9|8\.0)\d W"]
    )


def test_a_conftest_can_wait_for_queued_work(suite):
    suite.makeconftest("waits = []\ndef pytest_energy_synchronize(): waits.append(1)")
    suite.makepyfile(
        WORK + "def test_it(energy):\n    energy(work)\n"
        "    import conftest\n    assert len(conftest.waits) >= 4"
    )
    suite.runpytest(*MEASURED).assert_outcomes(passed=1)


def test_a_fixture_can_measure_for_its_test(suite):
    suite.makepyfile(
        WORK
        + """
@pytest.fixture
def measured(energy): return energy(work)
@pytest.mark.energy(max_watts=1)
def test_it(measured): pass
"""
    )
    suite.runpytest(*MEASURED, "--energy-max-time", "2").assert_outcomes(failed=1)


DYING_METER = """
    import pytest
    from pytest_energy.errors import MeterFailed

    @pytest.fixture(autouse=True)
    def dying(request):
        yield
        if request.node.name == "test_last":
            from clock_meter import ClockMeter as meter
            def read(self):
                raise MeterFailed("the driver died")
            meter.read = read
    """


def test_a_meter_that_dies_before_the_closing_idle_windows_loses_nothing(suite):
    suite.makeconftest(DYING_METER)
    suite.makepyfile("def test_last(energy):\n    energy(sum, range(10))\n")
    done = suite.runpytest_subprocess(
        "--energy", "--energy-meter=clock", "--benchmark-json=run.json"
    )
    assert done.ret == 0
    done.stdout.fnmatch_lines(
        ["*net joules use only the idle windows before the first measurement: the driver died*"]
    )
    assert len(json.loads((suite.path / "run.json").read_text())["benchmarks"]) == 1


@pytest.mark.skipif(
    find_spec("coverage") is None, reason="coverage, of the group check, is not installed"
)
def test_coverage_sees_the_lines_behind_a_measurement(suite, monkeypatch):
    # `make coverage` sets it for this test.
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
    suite.makepyfile(
        """
        def test_it(energy):
            energy(sum, range(10))
            assert helper(1) == 2
            assert helper(2) == 3

        def helper(number):
            more = number
            more += 1
            return more
        """
    )
    done = suite.run(
        sys.executable,
        "-m",
        "coverage",
        "run",
        "--branch",
        "--include=test_*.py",
        "-m",
        "pytest",
        *MEASURED,
    )
    assert done.ret == 0
    report = suite.run(sys.executable, "-m", "coverage", "report", "--show-missing")
    report.stdout.fnmatch_lines(["test_coverage_sees* 100%*"])


RUN_TWICE = """
from _pytest.runner import runtestprotocol

def pytest_runtest_protocol(item, nextitem):
    # pytest-rerunfailures does the same: the second attempt replaces the first.
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    runtestprotocol(item, nextitem=nextitem, log=False)
    for report in runtestprotocol(item, nextitem=nextitem, log=False):
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True
"""


def test_the_second_attempt_replaces_the_first(suite):
    suite.makeconftest(RUN_TWICE)
    suite.makepyfile(
        WORK + "def test_it(energy): energy(work)\ndef test_other(energy): energy(work)"
    )
    result = suite.runpytest(*MEASURED, "--benchmark-json=run.json", "--junitxml=run.xml")
    result.assert_outcomes(passed=2)
    names = [
        each["name"] for each in json.loads((suite.path / "run.json").read_text())["benchmarks"]
    ]
    assert names == ["test_it", "test_other"]
    assert (suite.path / "run.xml").read_text().count('name="energy_joules"') == 2


def test_a_repeated_quality_is_refused(suite):
    suite.makepyfile(
        "def test_it(energy):\n    energy.quality('accuracy', 0.9)\n"
        "    energy.quality('accuracy', 0.8)"
    )
    result = suite.runpytest(*MEASURED)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*FixtureMisuse: the quality 'accuracy' was given twice in *test_it*"]
    )


def test_the_tests_of_a_run_share_its_false_alarms(suite):
    suite.makepyfile(
        "import pytest\n"
        "@pytest.mark.parametrize('n', range(50))\n"
        "def test_it(n, energy): pass\n"
        "def test_other(): pass\n"
    )
    suite.makeconftest(
        "from pytest_energy.plugin.stash import RUN\n"
        "def pytest_sessionfinish(session):\n"
        "    print('alpha', session.config.stash[RUN].plan.least_alpha)"
    )
    for options, alpha in (((), 0.001), (("--energy-suite-alpha=20%",), 0.004)):
        run = suite.runpytest_inprocess("--energy", "-s", *options)
        run.stdout.fnmatch_lines(f"*alpha {alpha}*")
    # One test alone needs no more than its own alpha.
    run = suite.runpytest_inprocess("--energy", "-s", "-k", "test_it and 49")
    run.stdout.fnmatch_lines("*alpha 0.01*")
