"""--energy-count through pytest, with a worker under valgrind."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pytest_energy.counting.callgrind import read_dump
from pytest_energy.plan import PROCESS_SPREAD
from pytest_energy.runs.json_format import read_run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("valgrind") is None,
        reason="valgrind is not installed: apt-get install valgrind",
    ),
]
TESTS = """
import ctypes, mmap, os, subprocess, sys, time, pytest

COUNTED = os.environ.get("PYTHONHASHSEED") == "0"  # in the worker

def work(n=3000):
    total = 0
    for x in range(n):
        total = (total * 3 + x) % 79
    return total

def illegal():
    if COUNTED:
        page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        page.write(bytes.fromhex("62f17c4828c0c3"))  # vmovaps zmm0, zmm0: AVX-512
        ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()

def test_plain(energy): energy(work)

@pytest.mark.energy(max_instructions=1000)
def test_over_its_budget(energy): energy(work)

def test_more(energy): energy.versus(work, lambda: work(3060))

def test_benchmark(benchmark): benchmark(work)

def test_setup(benchmark):
    benchmark.pedantic(sorted, setup=lambda: ((list(range(5000))[::-1],), {}), rounds=3)

def test_tiny(energy): energy(len, (1, 2))

def test_dies(energy): energy(lambda: os._exit(3) if COUNTED else None)

def test_illegal_instruction(energy): energy(illegal)

def test_forks(energy): energy(lambda: subprocess.run([sys.executable, "-c", ""]))

def hang():
    if COUNTED:
        with open("hanging", "w") as file: file.write(str(os.getpid()))
        time.sleep(99)

def test_hangs(energy): energy(hang)

def test_after_it(energy): energy(work)

def test_of_no_interest(): pass
"""


# A shell's background job inherits that Ctrl-C is ignored.
MAIN = """
import signal, sys, pytest
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(pytest.main(sys.argv[1:]))
"""


@pytest.fixture
def temporary(tmp_path_factory, monkeypatch):
    """An empty folder for temporary files, and no hash seed from outside."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    return folder


def test_each_test_is_counted_and_what_cannot_be_says_why(suite, temporary):
    suite.makepyfile(test_it=TESTS)
    done = suite.runpytest_subprocess(
        *("--energy-count", "--energy-count-timeout=90", "--energy-count-keep=kept"),
        "--benchmark-json=run.json",
    )
    done.stdout.fnmatch_lines(["energy: counting 11 tests with valgrind 3*"])
    done.stdout.fnmatch_lines_random(
        [
            "counted work per call, by callgrind 3*; not joules",
            "  test_plain: * instructions, ±*",
            "  test_dies: not counted: the worker ended with exit code 3*",
            "  test_illegal_instruction: not counted: an instruction that valgrind does not know*",
            "  test_forks: *; it starts processes, whose work is not counted",
            "  test_hangs: not counted: not counted within 90 s*",
        ]
    )
    run = {
        result.name.split("::")[1]: result for result in read_run(suite.path / "run.json").results
    }
    plain = run["test_plain"].counted.candidate
    # Some of them in another worker, since tests between them end theirs.
    for name in ("test_benchmark", "test_after_it", "test_over_its_budget"):
        assert run[name].counted.candidate.instructions == pytest.approx(
            plain.instructions, rel=2 * PROCESS_SPREAD
        )
    more = run["test_more"].counted
    assert more.candidate.instructions / more.baseline.instructions == pytest.approx(
        1.02, abs=2 * PROCESS_SPREAD
    )
    assert 10 < run["test_tiny"].counted.candidate.instructions < 1000
    verdicts = {
        name: {verdict.metric: verdict for verdict in result.verdicts}
        for name, result in run.items()
    }
    assert verdicts["test_more"]["work"].verdict == "regressed"
    assert "test_it.py::work +" in verdicts["test_more"]["work"].reason
    assert verdicts["test_over_its_budget"]["instructions"].verdict == "missed"
    assert verdicts["test_hangs"]["work"].verdict == "not gated"
    assert run["test_hangs"].counted is None  # nothing is saved that was not counted
    kept = suite.path / "kept" / "callgrind.out.test_it.py-test_more.baseline"
    assert read_dump(kept).events["instructions"] > 1_000_000
    assert list(temporary.iterdir()) == []
    assert not Path(f"/proc/{(suite.path / 'hanging').read_text()}").exists()


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_ended_leaves_no_process_and_no_file(suite, temporary, end):
    suite.makepyfile("import time\ndef test_it(energy): energy(time.sleep, 0.01)\n")
    suite.makeconftest(
        """
        import os, pathlib, time
        if os.environ.get("PYTHONHASHSEED") == "0":
            pathlib.Path("counting").write_text(str(os.getpid()))
            time.sleep(99)
        """
    )
    with subprocess.Popen(
        [sys.executable, "-c", MAIN, "--energy-count"],
        cwd=suite.path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        marker = suite.path / "counting"
        _wait(lambda: marker.exists() and marker.read_text() != "")
        process.send_signal(end)
        process.wait(60)
    worker = int(marker.read_text())
    _wait(lambda: not Path(f"/proc/{worker}").exists())
    _wait(lambda: list(temporary.iterdir()) == [])


@pytest.mark.parametrize("work", ["sum(range(7))", "time.sleep(333)"], ids=["ends", "too long"])
def test_what_a_counted_test_leaves_behind_is_killed(suite, temporary, work):
    """In whichever session it is, and if the worker is ended because it takes too long."""
    suite.makepyfile(
        f"""
        import os, subprocess, time
        COUNTED = os.environ.get("PYTHONHASHSEED") == "0"

        def test_it(energy):
            if COUNTED:
                process = subprocess.Popen(["sleep", "321"], start_new_session=True)
                with open("left", "a") as file:
                    print(process.pid, file=file)
            energy(lambda: {work} if COUNTED else None)
        """
    )
    suite.runpytest_subprocess("--energy-count", "--energy-count-timeout=10")
    for left in (suite.path / "left").read_text().split():
        _wait(lambda left=left: not Path(f"/proc/{left}").exists())


def _wait(holds):
    until = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_without_valgrind_the_run_ends_before_it_measures(suite, monkeypatch):
    monkeypatch.setenv("PATH", str(suite.path))
    suite.makepyfile("def test_it(energy): energy(sum, range(9))")
    done = suite.runpytest("--energy", "--energy-meter=clock", "--energy-count")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["ERROR: --energy-count: valgrind is not installed;*apt-get*"])


def test_a_commit_with_more_work_is_found(suite, temporary):
    """Through pytest, and by bisect."""
    (suite.path / "test_it.py").write_text(
        "from library import work\ndef test_work(energy): energy(work)\n"
    )
    for number, turns in enumerate((3000, 3000, 3090, 3090)):
        (suite.path / "library.py").write_text(
            "def work():\n    total = 0\n"
            f"    for x in range({turns}):\n        total = (total * 3 + x) % 79\n# {number}\n"
        )
        if number == 0:
            suite.run("git", "init", "-q")
        suite.run("git", "add", "test_it.py", "library.py")
        suite.run("git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", str(number))
    done = suite.runpytest_subprocess("--energy-count", "--energy-against=HEAD~3")
    done.stdout.fnmatch_lines(["*work +3*limit +1 %: work regressed*library.py::work +*"])
    culprit = suite.run("git", "rev-parse", "HEAD~1").outlines[0]
    done = suite.run(sys.executable, "-m", "pytest_energy", "bisect", "--count", "HEAD~3", "HEAD")
    assert done.outlines[-1] == f"{culprit} made test_it.py::test_work worse"
    assert list(temporary.iterdir()) == []
