"""Code under test that misbehaves: the user sees its exception, and the next test is unaffected.

docs/reliability.md lists what happens in each case.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
from importlib.util import find_spec

import pytest

from pytest_energy.runs.json_format import read_run

pytestmark = pytest.mark.slow  # each test is a process; nox runs this file alone

ENERGY = ("--energy", "--energy-meter=clock", "--energy-max-time=0.5", "--benchmark-json=run.json")
# Runs after the test that misbehaves, which must not affect it.
SOUND = """
def test_sound(energy):
    import gc
    assert gc.isenabled()
    energy(sum, range(10))
"""


def run(suite, code, *options):
    suite.makepyfile(code + SOUND)
    return suite.runpytest_subprocess(*ENERGY, *options)


def failing_after(calls, statement):
    """The source of a function `work` that runs the statement after this many calls."""
    return f"""
import sys, pytest
calls = []

def work():
    calls.append(1)
    if len(calls) > {calls}:
        {statement}

"""


def saved_names(suite):
    return [
        benchmark["name"]
        for benchmark in json.loads((suite.path / "run.json").read_text())["benchmarks"]
    ]


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("raise ValueError('mine')", "E*ValueError: mine"),
        ("assert 1 == 2", "E*assert 1 == 2"),
        ("sys.exit(7)", "E*SystemExit: 7"),
        ("raise BaseException('rare')", "E*BaseException: rare"),
        ("(lambda f: f(f))(lambda f: f(f))", "E*RecursionError*"),
        ("pytest.fail('on purpose')", "*Failed: on purpose"),
    ],
)
@pytest.mark.parametrize("after", [0, 25])
def test_an_exception_is_shown_unchanged_and_ends_one_test(suite, statement, message, after):
    done = run(suite, failing_after(after, statement) + "def test_bad(energy):\n    energy(work)\n")
    done.assert_outcomes(failed=1, passed=1)
    done.stdout.fnmatch_lines([message])
    done.stdout.fnmatch_lines(["*work*"])  # the traceback ends at the user's line
    assert saved_names(suite) == ["test_sound"]


def test_a_skip_in_the_code_skips_the_test(suite):
    done = run(
        suite, "import pytest\ndef test_bad(energy):\n    energy(lambda: pytest.skip('not here'))\n"
    )
    done.assert_outcomes(skipped=1, passed=1)


def test_ctrl_c_in_the_code_ends_the_run_and_saves_finished_results(suite):
    suite.makepyfile(
        "def test_first(energy):\n    energy(sum, range(10))\n"
        "def work():\n    raise KeyboardInterrupt\n"
        "def test_second(energy):\n    energy(work)\n"
    )
    done = suite.runpytest_subprocess(*ENERGY)
    assert done.ret == pytest.ExitCode.INTERRUPTED
    assert saved_names(suite) == ["test_first"]


def test_an_exception_in_a_comparison_ends_one_test(suite):
    done = run(
        suite,
        """
def test_baseline(energy):
    energy.versus(lambda: 1 / 0, lambda: None)

def test_candidate(energy):
    energy.versus(lambda: None, lambda: [][1])
""",
    )
    done.assert_outcomes(failed=2, passed=1)
    done.stdout.fnmatch_lines(["E*ZeroDivisionError*"])
    done.stdout.fnmatch_lines(["E*IndexError*"])
    assert saved_names(suite) == ["test_sound"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_code_that_forks_and_starts_processes(suite):
    done = run(
        suite,
        """
import os, subprocess, sys, time

def fork():
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)

def spawn():
    subprocess.run([sys.executable, "-S", "-c", ""], check=True)

left = []

def leave():
    if not left:
        left.append(subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(30)"]))

def test_fork(energy):
    energy(fork)

def test_spawn(energy):
    energy(spawn)

def test_child_left_running(energy):
    energy(leave)
    left[0].kill()
    left[0].wait()
""",
    )
    done.assert_outcomes(passed=4)
    assert len(saved_names(suite)) == 4


def test_a_forked_child_neither_saves_nor_releases_the_lock(suite):
    done = run(
        suite,
        """
import os

def test_it(energy):
    energy(sum, range(10))
    if not os.fork():
        os._exit(0)
    os.wait()
""",
    )
    done.assert_outcomes(passed=2)
    assert saved_names(suite) == ["test_it", "test_sound"]


def test_code_with_asyncio_and_threads(suite):
    done = run(
        suite,
        """
import asyncio, threading

async def nothing():
    await asyncio.sleep(0)

def in_thread():
    thread = threading.Thread(target=sum, args=(range(100),))
    thread.start()
    thread.join()

def test_asyncio(energy):
    energy(lambda: asyncio.run(nothing()))

def test_threads(energy):
    energy(in_thread)

def test_thread_left_running(energy):
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait, daemon=True)
    thread.start()
    energy(sum, range(10))
    stop.set()
""",
    )
    done.assert_outcomes(passed=4)


def test_pytest_reports_an_exception_in_a_thread(suite):
    done = run(
        suite,
        """
import threading, pytest

@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_bad(energy):
    def work():
        thread = threading.Thread(target=lambda: 1 / 0)
        thread.start()
        thread.join()
    energy(work)
""",
    )
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    done.stdout.fnmatch_lines(["*ZeroDivisionError*"])


@pytest.mark.parametrize(
    "setting", ["gc.enable()", "gc.set_threshold(1)", "gc.freeze()", "gc.collect()"]
)
def test_code_that_changes_the_garbage_collector(suite, setting):
    # gc.disable() is missing here, because its effect lasts, as it does without the plugin.
    suite.makepyfile(
        f"""
import gc, pytest

@pytest.fixture(autouse=True)
def before():
    before = gc.isenabled(), gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before[1])

def test_bad(energy):
    energy(lambda: {setting})
    assert gc.isenabled()
"""
        + SOUND
    )
    suite.runpytest_subprocess(*ENERGY).assert_outcomes(passed=2)


def test_pytest_captures_the_output_of_the_code(suite, monkeypatch):
    code = """
import os, sys
line = "x" * int(os.environ["LINE"]) + "\\n"
calls = []

def work():
    if len(calls) < 500:
        calls.append(1)
        sys.stdout.write(line)
        os.write(1, line.encode())

def test_loud(energy):
    energy(work)
    assert len(calls) == 500
"""
    monkeypatch.setenv("LINE", "99999")  # 500 calls with two outputs of 100 kB each: 100 MB
    done = run(suite, code)
    done.assert_outcomes(passed=2)
    assert "xxxx" not in done.stdout.str()
    monkeypatch.setenv("LINE", "4095")
    run(suite, code, "-s").stdout.fnmatch_lines(["xxxx*"])


def test_code_that_changes_folder_environment_and_signals(suite):
    done = run(
        suite,
        """
import os, signal, tempfile

def test_bad(energy):
    def work():
        os.chdir(folder)
        os.environ.clear()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    folder = tempfile.mkdtemp()
    energy(work)
""",
        "--benchmark-autosave",
        "--energy-markdown=comment.md",
        "--energy-report=page.html",
    )
    # The files are in the folder where the run started.
    done.assert_outcomes(passed=2)
    assert saved_names(suite) == ["test_bad", "test_sound"]
    assert "Energy: 2 not gated" in (suite.path / "comment.md").read_text(encoding="utf8")
    assert "test_sound" in (suite.path / "page.html").read_text(encoding="utf8")
    assert len(list(suite.path.glob(".benchmarks/*/*.json"))) == 1


def test_steps_of_the_wall_clock_change_no_result(suite):
    done = run(
        suite,
        """
import time

def test_bad(energy):
    calls = []
    def work():
        calls.append(1)
        sleep(0.001)
    sleep, true_time = time.sleep, time.time
    time.time = lambda: true_time() + 86400.0 * (-1) ** len(calls)  # one day forward or back
    try:
        energy(work)
    finally:
        time.time = true_time
""",
    )
    done.assert_outcomes(passed=2)
    seconds = next(
        b["energy"]["seconds"]["value"]
        for b in json.loads((suite.path / "run.json").read_text())["benchmarks"]
        if b["name"] == "test_bad"
    )
    assert 0.001 <= seconds < 60  # a step of the clock would make it 86400


@pytest.mark.parametrize("options", [("--energy",), ()])
@pytest.mark.parametrize(
    "statement",
    [
        "energy(work)",
        "energy(lambda: work())",
        "energy.versus(int, work)",
        "benchmark.pedantic(work, setup=int)",
    ],
)
def test_a_coroutine_function_is_refused(suite, statement, options):
    suite.makepyfile(f"""
async def work():
    raise AssertionError("nobody awaits it")

def test_bad(energy, benchmark):
    {statement}
""")
    done = suite.runpytest_subprocess(*(*ENERGY[1:], *options), "-W", "ignore")
    if not options and "benchmark" in statement:
        done.assert_outcomes(passed=1)  # only pytest-benchmark calls the function
        return
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(
        ["E*FixtureMisuse: *returns a coroutine*measure lambda: asyncio.run*"]
    )


def test_asynchronous_code_is_measured_in_its_own_event_loop(suite):
    done = run(
        suite,
        """
import asyncio

async def work():
    await asyncio.sleep(0)
    return 7

def test_loop(energy):
    assert energy(lambda: asyncio.run(work())) == 7
""",
    )
    done.assert_outcomes(passed=2)


@pytest.mark.parametrize("after", [0, 25])
@pytest.mark.parametrize(
    "statement", ["energy(work)", "energy.versus(int, work)", "benchmark(work)"]
)
def test_the_traceback_ends_in_the_users_code(suite, statement, after):
    work = failing_after(after, 'raise ValueError("mine")')
    done = run(suite, work + f"def test_bad(energy, benchmark):\n    {statement}\n")
    done.assert_outcomes(failed=1, passed=1)
    done.stdout.fnmatch_lines(["*test_the_traceback_ends_in_the_users_code.py:*: ValueError"])
    for module in ("fixture", "measure", "session", "versus", "windows"):
        done.stdout.no_fnmatch_line(f"*pytest_energy*{module}.py:*")


def test_a_tracer_is_off_within_windows_and_on_after_them(suite):
    done = run(
        suite,
        """
import sys

seen = []

def work():
    seen.append(sys.gettrace())

def test_traced(energy):
    def tracer(frame, event, argument):
        return None
    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        energy(work)
        assert sys.gettrace() is tracer
    finally:
        sys.settrace(before)
    assert seen[0] is tracer and set(seen[1:]) == {None}
""",
    )
    done.assert_outcomes(passed=2)


def test_a_call_of_nanoseconds_gets_a_warning(suite):
    done = run(suite, "def test_short(energy):\n    energy(int)\n")
    done.assert_outcomes(passed=2)
    done.stdout.fnmatch_lines(["warning: a call takes * ns, much of it for the call itself*"])


def test_the_plugin_keeps_no_reference_to_a_result(suite):
    done = run(
        suite,
        """
import gc, weakref

class Big:
    pass

made = []

def work():
    big = Big()
    big.self = big
    made.append(weakref.ref(big))
    return big

def test_results_are_freed(energy):
    energy(work)
    gc.collect()
    assert not any(ref() for ref in made)
""",
    )
    done.assert_outcomes(passed=2)


def test_a_run_leaves_no_thread_and_no_open_file(suite):
    # The runs are in this process, which then has the same threads, files and collector state.
    threads, enabled = threading.active_count(), gc.isenabled()
    files = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    suite.makepyfile("def test_bad(energy):\n    energy(lambda: 1 / 0)\n")
    for _ in range(3):
        # pytest-rerunfailures leaves a thread after each run, and pytest-asyncio warns.
        assert (
            suite.runpytest_inprocess(*ENERGY[:2], "-p", "no:rerunfailures", "-p", "no:asyncio").ret
            == 1
        )
    assert threading.active_count() == threads and gc.isenabled() == enabled
    if sys.platform == "linux":
        assert len(os.listdir("/proc/self/fd")) <= files + 1


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "fsync"),
        ("os", "fstat"),
        ("os", "lseek"),
        ("json", "dumps"),
        ("pathlib.Path", "mkdir"),
        ("gc", "disable"),
        ("gc", "isenabled"),
        ("sys", "gettrace"),
        ("inspect", "iscoroutine"),
    ],
)
def test_a_temporary_patch_loses_no_result(suite, module, name):
    done = run(
        suite,
        f"""
import gc, inspect, json, os, pathlib, sys

def test_patched(energy, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr({module}, "{name}", lambda *given, **named: [][0])
        energy(sum, range(10))
""",
    )
    done.assert_outcomes(passed=2)
    assert saved_names(suite) == ["test_patched", "test_sound"]


def test_a_permanent_patch_is_one_error_line_at_the_end(suite):
    done = run(
        suite,
        """
import os

def test_patched(energy):
    def refuse(*given, **named):
        raise LookupError("refused")
    os.open = refuse
    energy(sum, range(10))
""",
    )
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.assert_outcomes(passed=2)
    done.stdout.fnmatch_lines(["ERROR: the run could not be saved: *LookupError: refused*"])
    done.stdout.no_fnmatch_line("*Traceback*")
    done.stderr.no_fnmatch_line("*Traceback*")


def test_a_permanent_patch_of_what_the_end_needs_is_one_line_and_saves_the_run(suite):
    code = "def test_patched(energy):\n    energy(sum, range(10))\n"
    assert run(suite, code).ret == 0
    (suite.path / "run.json").rename(suite.path / "old.json")
    left = "    import pathlib\n    pathlib.Path.read_text = lambda *given, **named: [][0]\n"
    done = run(suite, code + left, "--energy-compare=old.json", "--energy-markdown=comment.md")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.assert_outcomes(passed=2)
    done.stdout.fnmatch_lines(["ERROR: the comparison and the report failed: IndexError: *"])
    done.stdout.no_fnmatch_line("*Traceback*")
    done.stdout.no_fnmatch_line("*INTERNALERROR*")


def test_code_that_replaces_getcwd(suite):
    done = run(suite, "import os\ndef test_it(energy):\n    energy(int)\n    os.getcwd = None\n")
    done.stdout.no_fnmatch_line("*INTERNALERROR*")
    done.stdout.fnmatch_lines(["ERROR: the run could not be saved: *; its benchmarks are in *"])
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    (journal,) = suite.path.glob(".benchmarks/*.jsonl")
    assert [result.name.rpartition("::")[2] for result in read_run(journal).results] == [
        "test_it",
        "test_sound",
    ]


def test_code_that_deletes_the_current_folder(suite):
    done = run(
        suite,
        """
import os, shutil

def test_deleted(energy, tmp_path):
    os.chdir(tmp_path)
    energy(sum, range(10))
    shutil.rmtree(tmp_path)
""",
        "--benchmark-autosave",
    )
    done.assert_outcomes(passed=2)
    assert saved_names(suite) == ["test_deleted", "test_sound"]
    assert len(list(suite.path.glob(".benchmarks/*/*.json"))) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limits")
@pytest.mark.parametrize(("limit", "value"), [("NOFILE", 5), ("FSIZE", 100)])
def test_code_that_lowers_a_limit(suite, limit, value, monkeypatch):
    # Without any plugin, pytest fails where its own output is a buffered file of limited size.
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    done = run(
        suite,
        f"""
import resource

def test_limited(energy):
    energy(sum, range(10))
    hard = resource.getrlimit(resource.RLIMIT_{limit})[1]
    resource.setrlimit(resource.RLIMIT_{limit}, ({value}, hard))
""",
    )
    # The limit stays for the later tests, and the run is saved.
    assert "test_limited" in saved_names(suite)
    done.stdout.no_fnmatch_line("*Traceback*")


@pytest.mark.skipif(find_spec("pyfakefs") is None, reason="pyfakefs is not installed")
def test_code_with_a_fake_file_system(suite):
    done = run(
        suite,
        """
def test_fake(energy, fs):
    fs.create_file("/some/other/folder")
    energy(sum, range(10))
""",
    )
    done.assert_outcomes(passed=2)
    assert saved_names(suite) == ["test_fake", "test_sound"]
