"""A gate that was asked for and gates nothing: the exit code is not 0, and a line gives the reason.

docs/gate.md has a row for each test here.
"""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

MEASURED = ("--energy", "--energy-meter=clock", "--energy-max-time=0.25", "-p", "no:cacheprovider")
ESTIMATED = (*MEASURED[:1], "--energy-meter=clock:provenance=estimated", *MEASURED[2:])
ALLOW = "--energy-allow-ungated"
WORK = """
import pytest

def work(steps=20_000):
    return sum(range(steps))
"""
BUDGET = WORK + "@pytest.mark.energy(max_seconds=9)\n"
JOULES_ONLY = WORK + "@pytest.mark.energy(max_joules=9)\ndef test_it(energy): energy(work)\n"


def nothing_gated(result, gate, reason):
    result.stdout.fnmatch_lines([f"NOTHING GATED by {gate}: *{reason}*{ALLOW} accepts this"])


def save(suite, *options):
    assert suite.runpytest(*MEASURED, "--benchmark-json=old.json", *options).ret == 0
    return suite.path / "old.json"


def test_benchmark_only_runs_energy_tests(suite):
    suite.makepyfile(
        WORK + "@pytest.mark.energy(max_seconds=1e-9)\ndef test_it(energy): energy(work)\n"
        "def test_other(): pass\n"
    )
    result = suite.runpytest(*MEASURED, "--energy-max-time=2", "--benchmark-only")
    result.assert_outcomes(failed=1, skipped=1)
    assert suite.runpytest("--benchmark-only").ret == 0  # pytest-benchmark's own, without --energy


@pytest.mark.parametrize(
    ("option", "signature"), [("--benchmark-only", ""), ("--benchmark-skip", "benchmark")]
)
def test_an_option_that_skips_a_marked_test_is_refused(suite, option, signature):
    suite.makepyfile(BUDGET + f"def test_it({signature}): pass\ndef test_b(energy): energy(work)")
    result = suite.runpytest(*MEASURED, option)
    assert result.ret == 4
    result.stderr.fnmatch_lines([f"ERROR: {option} skips tests with gates: *::test_it; *{ALLOW}"])
    assert suite.runpytest(*MEASURED, option, ALLOW).ret == 0


def test_benchmark_skip_beside_a_baseline_is_refused(suite):
    suite.makepyfile(WORK + "def test_it(benchmark): benchmark(work)")
    old = save(suite, "--benchmark-max-time=0.1")
    result = suite.runpytest(*MEASURED, f"--energy-compare={old}", "--benchmark-skip")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: --benchmark-skip skips tests with gates: *test_it*"])


def test_a_disabled_benchmark_with_a_marker_fails(suite):
    suite.makepyfile(BUDGET + "def test_it(benchmark): benchmark(work)")
    result = suite.runpytest(*MEASURED, "--benchmark-disable")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["energy gate: a marker of this test requires a measurement*"])


def test_disabled_benchmarks_beside_a_baseline_gate_nothing(suite):
    suite.makepyfile(WORK + "def test_it(benchmark): benchmark(work)")
    old = save(suite, "--benchmark-max-time=0.1")
    options = (*MEASURED, f"--energy-compare={old}", "--benchmark-disable")
    result = suite.runpytest(*options)
    assert result.ret == 4
    nothing_gated(result, "--energy-compare", "no benchmark of this run has joules")
    assert suite.runpytest(*options, ALLOW).ret == 0


def test_all_marked_tests_skipped(suite):
    suite.makepyfile(BUDGET + "@pytest.mark.skipif(True, reason='no card')\ndef test_it(energy): 0")
    result = suite.runpytest(*MEASURED)
    assert result.ret == 4
    nothing_gated(result, "markers", "test_it: none of these tests measured anything")
    assert suite.runpytest(*MEASURED, ALLOW).ret == 0


def test_one_marked_test_skipped_and_another_gated(suite):
    suite.makepyfile(
        BUDGET + "@pytest.mark.parametrize('here', [True, False])\n"
        "def test_it(energy, here):\n    if not here: pytest.skip('no card')\n    energy(work)"
    )
    assert suite.runpytest(*MEASURED, "--energy-max-time=2").ret == 0


def test_only_estimated_joules_asked(suite):
    suite.makepyfile(JOULES_ONLY)
    result = suite.runpytest(*ESTIMATED)
    assert result.ret == 4
    nothing_gated(result, "markers", "joules are estimated")
    assert suite.runpytest(*ESTIMATED, ALLOW).ret == 0
    suite.makeini("[pytest]\nenergy_allow_ungated = true\n")
    assert suite.runpytest(*ESTIMATED).ret == 0


@pytest.mark.parametrize(
    ("limit", "reason"),
    [("max_joules=9", "joules NOT GATED"), ("max_instructions=5", "not counted")],
)
def test_a_limit_that_cannot_be_gated_beside_gated_seconds(suite, limit, reason):
    suite.makepyfile(JOULES_ONLY.replace("max_joules=9", f"{limit}, max_seconds=9"))
    result = suite.runpytest(*ESTIMATED, "--energy-max-time=2")
    assert result.ret == 0
    result.stdout.fnmatch_lines([f"*{reason}*"])


@pytest.mark.parametrize(("strict", "code"), [((), 0), (("--energy-strict",), 1)])
def test_net_joules_where_all_power_is_idle_power(suite, strict, code):
    """The meter counts as much while the process sleeps."""
    suite.makepyfile(WORK + "def test_it(energy): energy.versus(work, work)\n")
    result = suite.runpytest(*MEASURED, "--energy-net", *strict)
    assert result.ret == code
    result.stdout.fnmatch_lines(["*1 inconclusive*", "* net of * W idle *"])


def test_a_marker_without_thresholds(suite):
    suite.makepyfile(WORK + "@pytest.mark.gps_up()\ndef test_it(energy): energy.versus(work, work)")
    result = suite.runpytest(*MEASURED)
    assert result.ret == 4
    nothing_gated(result, "markers", "the gps_up marker has no threshold")


@pytest.mark.parametrize(("limit", "code"), [("floor=0.5", 0), ("ceiling=2.0", 0), ("", 4)])
def test_a_marker_without_thresholds_beside_a_floor(suite, limit, code):
    """A suite that shows ratios and gates qualities: a slower technique is a result."""
    suite.makepyfile(
        WORK + "@pytest.mark.gps_up()\ndef test_it(energy):\n    energy.versus(work, work)\n"
        f"    energy.quality('accuracy', 0.9, {limit})\n"
    )
    assert suite.runpytest(*MEASURED).ret == code


def test_a_floor_of_a_bare_marker_replaces_no_limit_of_another(suite):
    suite.makepyfile(
        JOULES_ONLY + "@pytest.mark.gps_up()\ndef test_other(energy):\n"
        "    energy.versus(work, work)\n    energy.quality('accuracy', 0.9, floor=0.5)\n"
    )
    result = suite.runpytest(*ESTIMATED)
    assert result.ret == 4
    nothing_gated(result, "markers", "test_it")


@pytest.mark.parametrize("option", ["--collect-only", "--fixtures", "--fixtures-per-test"])
def test_an_option_that_only_lists_asks_for_no_gate(suite, option):
    suite.makepyfile(BUDGET + "def test_it(energy): energy(work)")
    result = suite.runpytest(*MEASURED, option)
    assert result.ret == 0
    result.stdout.no_fnmatch_line("*NOTHING GATED*")


STACKED = "@pytest.mark.energy(max_watts=1e5)\n@pytest.mark.energy(max_seconds=2e-9)\n"
OF_A_CLASS = (
    "@pytest.mark.energy(max_seconds=2e-9)\nclass TestIt:\n"
    "    @pytest.mark.energy(max_watts=1e5)\n    def test_it(self, energy): energy(work)\n"
)
CLOSEST = STACKED.replace("max_watts=1e5", "max_seconds=7") + "def test_it(energy): energy(work)"


@pytest.mark.parametrize(
    "test",
    [
        f"{STACKED}def test_it(energy): energy(work)",
        "\n".join([*reversed(STACKED.splitlines()), "def test_it(energy): energy(work)"]),
        OF_A_CLASS,
        f"pytestmark = pytest.mark.energy(max_seconds=2e-9)\n{OF_A_CLASS.splitlines()[1]}\n"
        + "\n".join(OF_A_CLASS.splitlines()[2:]),
        CLOSEST,
    ],
    ids=["outer and inner", "inner and outer", "class", "module", "closest"],
)
def test_the_limits_of_all_markers_of_a_test_are_gated(suite, test):
    suite.makepyfile(WORK + test)
    result = suite.runpytest(*MEASURED, "--energy-max-time=2")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["energy gate: time *, limit *: seconds missed *"])


def test_the_closest_of_two_limits_is_gated(suite):
    suite.makepyfile(WORK + OF_A_CLASS.replace("max_watts=1e5", "max_seconds=7"))
    assert suite.runpytest(*MEASURED, "--energy-max-time=2").ret == 0


def test_thresholds_of_two_markers_are_gated(suite):
    suite.makepyfile(
        WORK + "@pytest.mark.gps_up(speedup=30)\n@pytest.mark.gps_up()\n"
        "def test_it(energy): energy.versus(work, work)"
    )
    result = suite.runpytest(*MEASURED, "--energy-max-time=2")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*asked at least 30*"])


def test_markers_that_a_conftest_adds_after_every_plugin(suite):
    suite.makepyfile(WORK + "def test_it(energy): energy(work)")
    suite.makeconftest(
        "import pytest\n@pytest.hookimpl(trylast=True)\n"
        "def pytest_collection_modifyitems(items):\n"
        "    for item in items: item.add_marker(pytest.mark.energy(max_seconds=1e-9))\n"
    )
    assert suite.runpytest(*MEASURED, "--energy-max-time=2").ret == 1


ADD_MARKER = "request.node.add_marker(pytest.mark.energy(max_seconds=1e-9))"


@pytest.mark.parametrize(
    "test",
    [
        (
            f"@pytest.fixture(autouse=True)\ndef limited(request): {ADD_MARKER}\n"
            "def test_it(energy): energy(work)"
        ),
        f"def test_it(energy, request):\n    energy(work)\n    {ADD_MARKER}",
    ],
    ids=["a fixture", "the test"],
)
def test_markers_that_are_added_while_the_test_runs(suite, test):
    suite.makepyfile(WORK + test)
    result = suite.runpytest(*MEASURED, "--energy-max-time=2")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*limit 1 ns*"])


def test_a_conftest_that_unregisters_the_plugin(suite):
    suite.makepyfile(BUDGET + "def test_it(energy): energy(work)")
    suite.makeconftest(
        "def pytest_configure(config): config.pluginmanager.unregister(name='energy')"
    )
    # Its name is that of the entry point; pytester's own process has it as a module.
    result = suite.runpytest_subprocess(*MEASURED)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*the energy plugin was unregistered during the run*"])


def test_a_conftest_that_replaces_the_fixture(suite):
    suite.makepyfile(BUDGET + "def test_it(energy): energy(work)")
    suite.makeconftest("import pytest\n@pytest.fixture\ndef energy(): return lambda call: call()")
    suite.runpytest(*MEASURED).assert_outcomes(failed=1)


def test_a_marker_on_a_unittest_class(suite):
    suite.makepyfile(
        WORK + "import unittest\n@pytest.mark.energy(max_seconds=9)\n"
        "class TestIt(unittest.TestCase):\n    def test_it(self): work()"
    )
    suite.runpytest(*MEASURED).assert_outcomes(failed=1)


def test_pytest_exit_with_0(suite):
    suite.makepyfile(BUDGET + "def test_it(energy): pytest.exit('enough', returncode=0)")
    result = suite.runpytest(*MEASURED)
    assert result.ret == 4
    nothing_gated(result, "markers", "test_it")


@pytest.mark.parametrize(
    ("hook", "code"), [("collection_modifyitems", 4), ("sessionstart", 0), ("configure", 0)]
)
def test_pytest_exit_with_0_before_any_test(suite, hook, code):
    """Before the session has started, pytest asks no plugin for the exit code."""
    suite.makepyfile(BUDGET + "def test_it(energy): energy(work)")
    suite.makeconftest(f"import pytest\ndef pytest_{hook}(): pytest.exit('no card', returncode=0)")
    result = suite.runpytest_subprocess(*MEASURED)
    assert result.ret == code
    assert "no card" in result.stdout.str() + result.stderr.str()


def test_pytest_exit_while_a_module_is_collected(suite):
    suite.makepyfile("import pytest\npytest.exit('no card', returncode=0)")
    assert suite.runpytest_subprocess(*MEASURED).ret == pytest.ExitCode.INTERRUPTED


@pytest.mark.parametrize("unbuffered", ["1", ""])
def test_os_exit_is_no_pass(suite, unbuffered, monkeypatch):
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    suite.makepyfile(
        BUDGET + "def test_it(energy):\n    energy(work)\n    __import__('os')._exit(0)\n"
    )
    result = suite.runpytest_subprocess(*MEASURED)
    assert result.ret == 4
    result.stdout.fnmatch_lines("*a test called os._exit(0): nothing after it ran or was gated*")


def test_a_test_that_replaces_the_process_fails(suite):
    suite.makepyfile(
        BUDGET + "def test_it(energy):\n"
        "    import os, sys\n"
        "    energy(work)\n"
        "    os.execl(sys.executable, 'python', '-c', '')\n"
    )
    result = suite.runpytest_subprocess(*MEASURED)
    assert result.ret == 1
    result.stdout.fnmatch_lines("*os.execv would replace the process of the run*")


def test_an_exit_from_c_is_not_noticed(suite):
    suite.makepyfile(
        BUDGET + "def test_it(energy):\n"
        "    import ctypes\n"
        "    energy(work)\n"
        "    ctypes.CDLL(None)._exit(0)\n"
    )
    result = suite.runpytest_subprocess(*MEASURED, "--junitxml=report.xml")
    assert result.ret == 0
    result.stdout.no_fnmatch_line("*passed*")
    assert not (suite.path / "report.xml").exists()


def test_ctrl_c_is_no_pass(suite):
    suite.makepyfile(BUDGET + "def test_it(energy):\n    energy(work)\n    raise KeyboardInterrupt")
    assert suite.runpytest_subprocess(*MEASURED).ret == pytest.ExitCode.INTERRUPTED


def test_an_expected_failure_is_pytests_own(suite):
    missed = WORK + "@pytest.mark.xfail\n@pytest.mark.energy(max_seconds=1e-9)\n"
    suite.makepyfile(missed + "def test_it(energy): energy(work)")
    result = suite.runpytest(*MEASURED, "--energy-max-time=2")
    assert result.ret == 0
    result.assert_outcomes(xfailed=1)


def test_a_module_that_is_skipped_has_no_tests(suite):
    suite.makepyfile(
        "import pytest\npytest.importorskip('no_such_module')\n" + BUDGET + "def t(): 0"
    )
    assert suite.runpytest(*MEASURED).ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_a_selection_without_the_marked_tests(suite):
    suite.makepyfile(BUDGET + "def test_it(energy): energy(work)\ndef test_other(): pass")
    result = suite.runpytest(*MEASURED, "-k", "other")
    assert result.ret == 0
    result.assert_outcomes(passed=1, deselected=1)
    result.stdout.fnmatch_lines(["NOTHING WAS MEASURED*"])


@pytest.mark.parametrize("quiet", [("-p", "no:terminal"), ("--no-summary",), ("-qq",)])
def test_a_run_that_prints_nothing_has_the_same_exit_code(suite, quiet):
    suite.makepyfile(JOULES_ONLY)
    assert suite.runpytest_subprocess(*ESTIMATED, *quiet).ret == 4


@pytest.mark.parametrize("content", ["", "{}", '{"benchmarks": []}', "[1]"])
def test_an_empty_baseline_is_refused_before_measuring(suite, content):
    suite.makepyfile(WORK + "def test_it(energy): raise AssertionError('measured')")
    (suite.path / "old.json").write_text(content)
    result = suite.runpytest(*MEASURED, "--energy-compare=old.json")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: --energy-compare: old.json: *"])


def test_a_baseline_without_benchmarks_is_refused_before_measuring(suite):
    suite.makepyfile(WORK + "def test_it(energy): energy(work)")
    old = edited(save(suite), lambda document: document["benchmarks"].clear())
    result = suite.runpytest(*MEASURED, f"--energy-compare={old}")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: --energy-compare: *no benchmark of this run has joules"])


def test_setup_only_gates_nothing(suite):
    suite.makepyfile(BUDGET + "def test_it(energy): energy(work)")
    assert suite.runpytest(*MEASURED, "--setup-only").ret == 4


def edited(path, edit):
    document = json.loads(path.read_text(encoding="utf8"))
    edit(document)
    path.write_text(json.dumps(document), encoding="utf8")
    return path


def other_machine(document):
    document["energy"]["machine"]["cpu"] = "another one"


def other_meter(document):
    document["energy"]["meters"][0]["name"] = "wattmeter"
    for benchmark in document["benchmarks"]:
        benchmark["energy"]["meter"] = "wattmeter"


def other_python(document):
    document["energy"]["software"]["python"] = "PyPy 3.10.1"


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (other_machine, "another machine"),
        (other_meter, "another meter"),
        (other_python, "other software"),
    ],
)
@pytest.mark.parametrize("strict", [(), ("--energy-strict",)])
def test_an_incomparable_baseline_is_refused_before_measuring(suite, edit, reason, strict):
    suite.makepyfile(WORK + "def test_it(energy): energy(work)")
    old = edited(save(suite), edit)
    suite.makepyfile("def test_it(energy): raise AssertionError('measured')")
    result = suite.runpytest(*MEASURED, f"--energy-compare={old}", *strict)
    assert result.ret == 4
    result.stderr.fnmatch_lines(
        [f"ERROR: --energy-compare would gate nothing: {reason}: *; {ALLOW} measures all the same"]
    )


def test_an_incomparable_baseline_may_be_allowed(suite):
    suite.makepyfile(WORK + "def test_it(energy): energy(work)")
    old = edited(save(suite), other_machine)
    result = suite.runpytest(*MEASURED, f"--energy-compare={old}", ALLOW)
    assert result.ret == 0
    nothing_gated(result, "--energy-compare", "another machine")


def test_a_baseline_without_any_of_the_tests(suite):
    suite.makepyfile(WORK + "def test_it(energy): energy(work)")
    old = save(suite)
    suite.makepyfile(WORK + "def test_new(energy): energy(work)")
    result = suite.runpytest(*MEASURED, f"--energy-compare={old}")
    assert result.ret == 4
    nothing_gated(result, "--energy-compare", "nothing to compare: none of the 1 benchmarks")


@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind counts")
def test_counts_against_two_commits_are_refused(suite):
    suite.makepyfile(WORK + "def test_it(energy): energy(work)")
    options = ("--energy-against=HEAD", "--energy-against=main")
    result = suite.runpytest("--energy-count", *options)
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*--energy-count compares with one commit*"])


@pytest.mark.slow
def test_against_a_commit_without_the_tests(suite):
    suite.makepyfile(test_then=WORK + "def test_then(energy): energy(work)")
    commit(suite, "test_then.py")
    (suite.path / "test_then.py").unlink()
    suite.makepyfile(test_now=WORK + "def test_now(energy): energy(work)")
    options = ("--energy", "--energy-meter=estimate", "--energy-max-time=0.3", "--energy-against")
    result = suite.runpytest(*options, "HEAD")
    assert result.ret == 4
    nothing_gated(result, "--energy-against", "new since HEAD*there is nothing to compare with")
    assert suite.runpytest(*options, "HEAD", ALLOW).ret == 0


def commit(suite, *files):
    identity = ("-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    for arguments in (("init", "-q"), ("add", *files), ("commit", "-q", "-m", "Then")):
        subprocess.run(["git", *identity, *arguments], cwd=suite.path, check=True)


USAGE_ERROR = """
import pytest
def pytest_configure(config):
    raise pytest.UsageError("the accelerator of --device is missing")
"""


@pytest.mark.slow
def test_against_a_commit_whose_pytest_refuses_to_start(suite):
    """Its usage error is no proof that it has no tests."""
    suite.makepyfile(WORK + "def test_it(energy): energy(work)")
    suite.makeconftest(USAGE_ERROR)
    commit(suite, ".")
    suite.makeconftest("")
    options = ("--energy", "--energy-meter=estimate", "--energy-max-time=0.3", "--energy-against")
    reason = (
        "HEAD (*: pytest collected no tests there and ended with 4: ERROR: the accelerator of *"
    )
    result = suite.runpytest(*options, "HEAD")
    assert result.ret == 4
    result.stderr.fnmatch_lines([f"ERROR: --energy-against HEAD would gate nothing: {reason}"])
    result = suite.runpytest(*options, "HEAD", ALLOW)
    assert result.ret == 0
    nothing_gated(result, "--energy-against", reason)


def test_without_a_gate_nothing_is_required(suite):
    suite.makepyfile(WORK + "def test_it(): pass")
    assert suite.runpytest(*MEASURED).ret == 0
    assert suite.runpytest(*MEASURED, "--benchmark-skip").ret == 0


@pytest.mark.parametrize("marker", ["energy()", "energy(tolerance=0.2)"])
def test_an_energy_marker_without_limits_asks_for_no_gate(suite, marker):
    suite.makepyfile(WORK + f"@pytest.mark.{marker}\ndef test_it(energy): energy(work)")
    result = suite.runpytest(*MEASURED)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["NOT GATED*nothing was asked*"])


def test_a_misspelt_marker_is_pytests_own(suite):
    suite.makepyfile(WORK + "@pytest.mark.energie(max_seconds=3)\ndef test_it(energy): pass")
    result = suite.runpytest(*MEASURED, "-W", "default")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*PytestUnknownMarkWarning: Unknown pytest.mark.energie*"])
    assert suite.runpytest(*MEASURED, "--strict-markers").ret != 0
