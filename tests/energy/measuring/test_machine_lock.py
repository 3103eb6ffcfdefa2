"""One measurement at a time on a machine, and nobody waits for the dead."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from pytest_energy.errors import MachineBusy
from pytest_energy.measuring.machine_lock import LOCK_VARIABLE, lock_path, machine_lock

HOLDER = """
import os, sys, time
from pytest_energy.measuring.machine_lock import machine_lock
with machine_lock(5, print):
    {inside}
    print("held", flush=True)
    sys.stdin.readline()
"""
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")


@pytest.fixture
def lock(tmp_path, monkeypatch):
    path = tmp_path / "machine.lock"
    monkeypatch.setenv(LOCK_VARIABLE, str(path))
    return path


def holder(inside="pass"):
    """A process that has the lock, until a line is written to it."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER.format(inside=inside)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf8",
    )
    assert process.stdout.readline() == "held\n"
    return process


def let_go(process):
    process.communicate("\n", timeout=20)


def taken():
    """Whether it can be had now."""
    try:
        with machine_lock(0, lambda line: None):
            return True
    except MachineBusy:
        return False


def test_who_waits_is_told_once_for_whom_and_then_has_it(lock):
    other, said = holder(), []

    def tell(line):
        said.append(line)
        other.stdin.write("\n")
        other.stdin.flush()

    with machine_lock(20, tell):
        assert not other.poll() or other.wait(20) == 0
    (line,) = said
    assert line.startswith(f"waiting for process {other.pid} (since ")
    let_go(other)


def test_after_the_timeout_it_says_who_has_it(lock):
    other = holder()
    with pytest.raises(
        MachineBusy, match=rf"process {other.pid} .*longer than 0.3 s.*--energy-lock-timeout"
    ):
        with machine_lock(0.3, lambda line: None):
            pass
    let_go(other)
    assert taken()


def test_within_one_process_it_waits_for_nothing(lock):
    with machine_lock(0, pytest.fail), machine_lock(0, pytest.fail):
        pass
    assert taken()


def test_an_error_inside_lets_go(lock):
    with pytest.raises(ZeroDivisionError), machine_lock(0, pytest.fail):
        1 / 0  # noqa: B018
    assert taken()


def test_the_lock_of_a_killed_process_is_free_at_once(lock):
    other = holder()
    other.send_signal(signal.SIGKILL)
    other.wait(20)
    assert taken()
    let_go(other)


@needs_fork
def test_a_forked_child_does_not_keep_it(lock):
    """The code under test may leave a process behind."""
    script = HOLDER.format(
        inside="child = os.fork()\n    if not child:\n        os.close(1)\n        time.sleep(600)\n    print(child, flush=True)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf8",
    )
    child = int(process.stdout.readline())
    try:
        assert process.stdout.readline() == "held\n"
        assert not taken()
        process.kill()
        process.wait(20)
        # The child lets go in its first moment, which may come after its parent's last.
        deadline_s = time.monotonic() + 20
        while not taken():
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
    finally:
        os.kill(child, signal.SIGKILL)
        let_go(process)


def test_a_link_is_not_followed(lock, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("kept")
    lock.symlink_to(precious)
    with pytest.raises(MachineBusy, match="symbolic link"), machine_lock(0, pytest.fail):
        pass
    assert precious.read_text() == "kept"


def test_a_file_that_cannot_be_locked_is_an_error_with_a_way_out(tmp_path, monkeypatch):
    monkeypatch.setenv(LOCK_VARIABLE, str(tmp_path))  # a folder
    with (
        pytest.raises(MachineBusy, match=f"cannot be locked.*{LOCK_VARIABLE}"),
        machine_lock(0, pytest.fail),
    ):
        pass


def test_without_the_variable_it_is_the_same_for_everybody(monkeypatch):
    monkeypatch.delenv(LOCK_VARIABLE)
    assert lock_path().name == "pytest-energy.lock"


def test_two_runs_take_turns(suite, lock):
    suite.makepyfile("def test_it(energy): energy(sum, range(10))")
    other = holder()
    busy = suite.runpytest_subprocess(
        "--energy", "--energy-meter=clock", "--energy-lock-timeout=0.2"
    )
    assert busy.ret == pytest.ExitCode.USAGE_ERROR
    busy.stdout.fnmatch_lines([f"*waiting for process {other.pid} *"])
    busy.stderr.fnmatch_lines([f"*process {other.pid} *has been measuring on this machine*"])
    assert suite.runpytest_subprocess("--energy", "--energy-meter=clock", "--collect-only").ret == 0
    assert suite.runpytest_subprocess().ret == 0  # without --energy nothing is measured
    let_go(other)
    began_s = time.monotonic()
    assert (
        suite.runpytest_subprocess(
            "--energy", "--energy-meter=clock", "--energy-lock-timeout=60"
        ).ret
        == 0
    )
    assert time.monotonic() - began_s < 50


@pytest.mark.parametrize("value", ["soon", "-1", "inf", "nan"])
def test_bad_timeouts(suite, value):
    done = suite.runpytest_subprocess(
        "--energy", "--energy-meter=clock", f"--energy-lock-timeout={value}"
    )
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines([f"*--energy-lock-timeout takes seconds, 0 or more, not '{value}'*"])
