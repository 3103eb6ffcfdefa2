"""The bridge to pytest-benchmark measures its fixture, saves runs and loses no finished result."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pytest_energy import cli
from pytest_energy.runs import journal, json_format
from pytest_energy.runs.load import load_runs

SUITE = """
    import os, signal, time, pytest

    @pytest.mark.parametrize("number", range({n}))
    def test_it(energy, number):
        energy(sum, range(10))
        {then}
    """


def command(*options):
    return [sys.executable, "-m", "pytest", "--energy", "--energy-meter=clock", *options]


def journals(folder):
    return sorted(Path(folder).glob(f".benchmarks/**/*{journal.SUFFIX}"))


def saved(folder):
    return sorted(Path(folder).glob(".benchmarks/*/*.json"))


@pytest.mark.slow
def test_a_saved_run_leaves_no_journal(suite):
    suite.makepyfile(SUITE.format(n=3, then="pass"))
    done = suite.runpytest_subprocess("--energy", "--energy-meter=clock", "--benchmark-autosave")
    assert done.ret == 0
    assert len(json_format.read_run(saved(suite.path)[0]).results) == 3
    assert journals(suite.path) == []


@pytest.mark.slow
def test_a_run_without_a_save_option_writes_no_journal(suite):
    suite.makepyfile(
        SUITE.format(
            n=2, then="assert not os.path.exists('.benchmarks') or not os.listdir('.benchmarks')"
        )
    )
    assert suite.runpytest_subprocess("--energy", "--energy-meter=clock").ret == 0


@pytest.mark.parametrize(
    "end", ["os.kill(os.getpid(), signal.SIGKILL)", "os.abort()", "os._exit(3)"]
)
@pytest.mark.slow
def test_results_before_a_kill_are_readable(suite, end, capsys):
    suite.makepyfile(SUITE.format(n=5, then=f"if number == 3: {end}"))
    subprocess.run(
        command("--benchmark-autosave"), cwd=suite.path, capture_output=True, check=False
    )
    (path,) = journals(suite.path)
    run = json_format.read_run(path)
    # The kill ended the fourth test, so that one has no result.
    assert [result.name.rpartition("[")[2] for result in run.results] == ["0]", "1]", "2]"]
    assert run.results[0].measurement.windows and run.machine and run.at
    assert cli.main(["export", str(path), "--format=csv"]) == 0
    assert capsys.readouterr().out.count("\n") == 4


def test_a_test_that_pytest_has_reported_survives_a_kill(suite):
    suite.makepyfile(SUITE.format(n=3, then="pass"))
    with open(suite.path / "conftest.py", "a") as conftest:
        conftest.write(
            "import os, signal\n"
            "def pytest_runtest_logreport(report):\n"
            "    if report.when == 'teardown' and '[1]' in report.nodeid:\n"
            "        os.kill(os.getpid(), signal.SIGKILL)\n"
        )
    subprocess.run(
        command("--benchmark-autosave"), cwd=suite.path, capture_output=True, check=False
    )
    (path,) = journals(suite.path)
    names = [result.name.rpartition("[")[2] for result in json_format.read_run(path).results]
    assert names == ["0]", "1]"]


@pytest.mark.slow
def test_the_next_run_prints_the_path_of_the_journal(suite):
    suite.makepyfile(SUITE.format(n=2, then="if number == 1 and 'DIE' in os.environ: os._exit(3)"))
    subprocess.run(
        command("--benchmark-autosave"),
        cwd=suite.path,
        env={**os.environ, "DIE": "1"},
        capture_output=True,
        check=False,
    )
    (path,) = journals(suite.path)
    again = suite.runpytest_subprocess("--energy", "--energy-meter=clock", "--benchmark-autosave")
    again.stdout.fnmatch_lines(
        [
            (
                "energy: an earlier run was interrupted before it was saved; "
                f"its finished results: {path}"
            )
        ]
    )
    assert journals(suite.path) == [path]  # only the user removes it
    assert len(saved(suite.path)) == 1


@pytest.mark.slow
def test_ctrl_c_saves_finished_results(suite):
    suite.makepyfile(
        SUITE.format(
            n=5, then="if number == 2: os.kill(os.getpid(), signal.SIGINT); time.sleep(30)"
        )
    )
    suite.makeconftest("import signal; signal.signal(signal.SIGINT, signal.default_int_handler)")
    done = subprocess.run(
        command("--benchmark-autosave"), cwd=suite.path, capture_output=True, check=False
    )
    assert done.returncode == pytest.ExitCode.INTERRUPTED
    names = [result.name for result in json_format.read_run(saved(suite.path)[0]).results]
    assert len(names) in (2, 3) and journals(suite.path) == []


FULL_DISK = """
    import resource, signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, resource.RLIM_INFINITY))
    """


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of file sizes")
@pytest.mark.slow
def test_a_disk_that_is_full_at_the_end_keeps_the_journal(suite):
    suite.makepyfile(SUITE.format(n=3, then="pass"))
    # pytest-benchmark's file is longer than the journal: it has more statistics and indentation.
    size = 0
    for size in (8_000, 12_000, 16_000, 24_000):
        for path in journals(suite.path):
            path.unlink()
        suite.makeconftest(FULL_DISK.format(size=size))
        done = suite.runpytest_subprocess(
            "--energy", "--energy-meter=clock", "--benchmark-json=run.json"
        )
        if journals(suite.path) and "its benchmarks are in" in done.stdout.str():
            break
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stdout.fnmatch_lines(["*ERROR: the run could not be saved: *File too large*"])
    done.stdout.no_fnmatch_line("*Traceback*")
    (path,) = journals(suite.path)
    assert len(json_format.read_run(path).results) == 3


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of file sizes")
@pytest.mark.slow
def test_a_disk_that_is_full_from_the_start_is_an_error_at_the_end(suite):
    suite.makepyfile(SUITE.format(n=3, then="pass"))
    suite.makeconftest(FULL_DISK.format(size=100))
    # The run prints to a pipe, because the limit would apply to a file.
    line = command("--benchmark-json=run.json", "-p", "no:cacheprovider")
    done = subprocess.run(line, cwd=suite.path, capture_output=True, encoding="utf8", check=False)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "3 passed" in done.stdout and "Traceback" not in done.stdout
    assert "ERROR: the run could not be saved: " in done.stdout
    assert "nor could its journal " in done.stdout


@pytest.mark.slow
def test_a_second_save_never_overwrites_the_first(suite):
    suite.makepyfile(SUITE.format(n=1, then="pass"))
    for _ in range(2):
        assert (
            suite.runpytest_subprocess(
                "--energy", "--energy-meter=clock", "--benchmark-autosave"
            ).ret
            == 0
        )
    first, second = saved(suite.path)
    assert first.name[:4] == "0001" and second.name[:4] == "0002"


@pytest.mark.slow
def test_a_number_that_another_run_took_is_not_reused(suite):
    suite.makepyfile(SUITE.format(n=1, then="pass"))
    suite.makeconftest(
        """
        from pytest_benchmark.storage.file import FileStorage
        asked = []
        number = FileStorage._next_num.fget

        def taken(self):
            asked.append(1)
            if len(asked) == 1:  # another run saves between the choice of a number and the write
                self.get("0001_mine.json").write_text("{}")
                return "0001"
            return number(self)

        FileStorage._next_num = property(taken)
        """
    )
    assert (
        suite.runpytest_subprocess("--energy", "--energy-meter=clock", "--benchmark-save=mine").ret
        == 0
    )
    assert [path.name for path in saved(suite.path)] == ["0001_mine.json", "0002_mine.json"]
    assert saved(suite.path)[0].read_text() == "{}"


@pytest.mark.slow
def test_killed_runs_leave_complete_results(suite):
    """Three kills; studies/kill_study.py has 200."""
    suite.makepyfile(SUITE.format(n=20, then="print(number)"))
    for wait_s in (0.0, 0.02, 0.05):
        for path in journals(suite.path):
            path.unlink()
        process = subprocess.Popen(
            command("--benchmark-autosave", "-s"),
            cwd=suite.path,
            stdout=subprocess.PIPE,
            encoding="utf8",
        )
        while not process.stdout.readline().startswith(("0", "test_killed")):
            pass
        time.sleep(wait_s)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        for path in journals(suite.path):
            names = [result.name for result in json_format.read_run(path).results]
            assert (
                names == [f"{names[0].partition('[')[0]}[{i}]" for i in range(len(names))]
                if names
                else True
            )


def test_a_failed_save_is_one_line_and_keeps_the_journal(suite):
    """A full disk without a real limit, which would also stop the files of coverage."""
    suite.makeconftest(
        "def pytest_benchmark_update_json(output_json):\n"
        "    raise OSError(28, 'No space left on device', 'run.json')"
    )
    suite.makepyfile(SUITE.format(n=2, then="pass"))
    done = suite.runpytest(
        "--energy", "--energy-meter=clock", "--energy-max-time=0.3", "--benchmark-json=run.json"
    )
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stdout.fnmatch_lines(
        [
            (
                "*ERROR: the run could not be saved: run.json: No space left on device; "
                "its benchmarks are in *"
            )
        ]
    )
    (path,) = journals(suite.path)
    assert len(json_format.read_run(path).results) == 2


def test_a_failed_journal_is_reported_with_the_failed_save(suite, monkeypatch):
    def failing(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(journal.Journal, "_append_missing", failing)
    suite.makeconftest(
        "def pytest_benchmark_update_json(output_json):\n"
        "    raise OSError(28, 'No space left on device')"
    )
    suite.makepyfile(SUITE.format(n=2, then="pass"))
    done = suite.runpytest(
        "--energy", "--energy-meter=clock", "--energy-max-time=0.3", "--benchmark-json=run.json"
    )
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stdout.fnmatch_lines(["*could not be saved: the file: No space left on device; nor*"])
    done.stdout.fnmatch_lines(["*nor could its journal * be written: No space left on device"])


UNREADABLE = """
    import pytest
    from dataclasses import replace
    from pytest_energy.model import Window
    from pytest_energy.plugin import recorder

    @pytest.fixture
    def broken_window(monkeypatch):
        measure = recorder.measure

        def broken(*arguments, **keywords):
            made = measure(*arguments, **keywords)
            first, *others = made.windows
            window = Window({seconds}, dict.fromkeys(first.joules, {joules}), first.calls)
            return replace(made, windows=(window, *others))

        monkeypatch.setattr(recorder, "measure", broken)

    def test_broken(broken_window, energy):
        energy(sum, range(10))

    def test_valid(energy):
        energy(sum, range(10))
    """


@pytest.mark.parametrize(
    ("seconds", "joules", "reason"),
    [
        (0.5, -3.0, "-3.0 is not a finite number of 0 or more"),
        (0.5, "float('nan')", "nan is not a finite number"),
    ],
)
def test_an_invalid_result_is_not_saved_and_the_others_are(suite, seconds, joules, reason):
    suite.makepyfile(UNREADABLE.format(seconds=seconds, joules=joules))
    done = suite.runpytest(
        "--energy", "--energy-meter=clock", "--energy-max-time=0.3", "--benchmark-autosave"
    )
    done.stdout.fnmatch_lines([f"NOT SAVED: *::test_broken: {reason}*"])
    (path,) = saved(suite.path)
    assert [result.name.rpartition("::")[2] for result in json_format.read_run(path).results] == [
        "test_valid"
    ]


def test_a_test_that_ran_twice_is_saved_once(suite):
    path = suite.makepyfile(SUITE.format(n=1, then="pass"))
    suite.runpytest(
        *("--energy", "--energy-meter=clock", "--energy-max-time=0.3", "--benchmark-autosave"),
        *("--keep-duplicates", str(path), str(path)),
    ).assert_outcomes(passed=2)
    assert load_runs(saved(suite.path)[0])[0].benchmarks.keys() == {f"{path.name}::test_it[0]"}


MEASURED = ("--energy", "--energy-meter=clock", "--energy-max-time=0.25", "-p", "no:cacheprovider")
WORK = """
import pytest

def work(steps=20_000):
    return sum(range(steps))
"""


def saved_document(suite):
    (path,) = saved(suite.path)
    return json.loads(path.read_text(encoding="utf8"))


def test_an_unmodified_benchmark_suite_gets_joules(suite):
    suite.makepyfile(
        WORK
        + """
def test_called(benchmark):
    assert benchmark(work) == 199990000
def test_pedantic(benchmark):
    assert benchmark.pedantic(work, args=(1000,), rounds=3) == 499500
def test_with_setup(benchmark):
    benchmark.pedantic(work, setup=lambda: ((300_000,), {}), rounds=3)
"""
    )
    result = suite.runpytest(*MEASURED, "--benchmark-max-time", "0.1", "--benchmark-autosave")
    result.assert_outcomes(passed=3)
    entries = saved_document(suite)["benchmarks"]
    assert len(entries) == 3
    for entry in entries:
        assert entry["energy"]["watts"]["value"] == pytest.approx(20.0, rel=0.1)
        assert entry["energy"]["joules"]["value"] > 0
    result.stdout.fnmatch_lines(["*Name (time in *"])  # pytest-benchmark's own table remains


def test_a_suite_without_benchmark_fixtures_prints_one_table(suite):
    suite.makepyfile(WORK + "def test_it(energy): energy(work)")
    suite.runpytest(*MEASURED).stdout.no_fnmatch_line("*Name (time in *")


def test_pytest_benchmark_can_compare_a_saved_run(suite):
    suite.makepyfile(
        WORK
        + """
@pytest.mark.parametrize("steps", [20_000, 30_000])
@pytest.mark.benchmark(group="sums")
def test_it(energy, steps):
    energy(work, steps)
    energy.quality("accuracy", 1.0)
"""
    )
    suite.runpytest(*MEASURED, "--benchmark-autosave").assert_outcomes(passed=2)
    document = saved_document(suite)
    assert document["machine_info"]["node"] == ""
    assert document["energy"]["schema"] == 2
    assert document["energy"]["meters"][0]["name"] == "clock"
    assert document["energy"]["idle"]
    assert [entry["group"] for entry in document["benchmarks"]] == ["sums", "sums"]
    assert [entry["param"] for entry in document["benchmarks"]] == ["20000", "30000"]
    assert document["benchmarks"][0]["energy"]["net_joules"] is not None
    result = suite.run(
        "pytest-benchmark", "compare", *map(str, suite.path.glob(".benchmarks/*/*.json"))
    )
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*2 tests*", "*test_it*20000*"])


def test_a_disabled_benchmark_is_reported_as_not_gated(suite):
    suite.makepyfile(
        WORK + "def test_one(benchmark): benchmark(work)\n"
        "def test_two(benchmark): benchmark.pedantic(work)"
    )
    result = suite.runpytest(*MEASURED, "--benchmark-disable")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        [
            "NOTHING WAS MEASURED*",
            "NOT GATED: *::test_one: not measured*disabled",
            "NOT GATED: *::test_two: not measured*disabled",
        ]
    )


def test_the_plugin_works_without_pytest_benchmark(suite):
    suite.makepyfile(WORK + "def test_it(energy): energy(work)")
    result = suite.runpytest(*MEASURED, "-p", "no:benchmark")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["energy measured by clock", "- test_it * mJ *W"])
