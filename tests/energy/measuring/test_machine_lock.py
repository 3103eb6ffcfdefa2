"""One process at a time measures on a machine; the system frees the lock of a dead process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time

import pytest

import pytest_energy.measuring.machine_lock as module
from pytest_energy.errors import MachineBusy
from pytest_energy.measuring.machine_lock import (
    HOLDER_VARIABLE,
    LOCK_VARIABLE,
    lock_path,
    machine_lock,
)

HOLDER = """
import os, sys, time
from pytest_energy.measuring.machine_lock import machine_lock
with machine_lock(float(os.environ.get("timeout_s", 20)), print):
    {inside}
    print("held", flush=True)
    sys.stdin.readline()
"""
# Imports come first, because another user may be unable to read this interpreter's folders.
AS_USER = """
import fcntl, os, pytest_energy.measuring.machine_lock
os.setgroups([]); os.setgid({user}); os.setuid({user})
"""
posix = pytest.mark.skipif(os.name != "posix", reason="on Windows all users share one file")
needs_c_fork = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")


@pytest.fixture
def lock(tmp_path, monkeypatch):
    path = tmp_path / "machine.lock"
    monkeypatch.setenv(LOCK_VARIABLE, str(path))
    return path


def holder(inside="pass", user=None):
    """Start a process that holds the lock until it reads a line."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            AS_USER.format(user=user) * bool(user) + HOLDER.format(inside=inside),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf8",
    )
    assert process.stdout.readline() == "held\n"
    return process


def run(script, **environment):
    """Run the script in a new process, with one line on standard input."""
    return subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **environment},
        input="\n",
        capture_output=True,
        encoding="utf8",
        timeout=60,
        check=False,
    )


def end(process):
    process.communicate("\n", timeout=20)


def is_free():
    """True if no other process holds the lock."""
    try:
        with machine_lock(0, lambda line: None):
            return True
    except MachineBusy:
        return False


def test_waiting_is_reported_once_and_names_the_holder(lock):
    other, lines = holder(), []

    def report(line):
        lines.append(line)
        other.stdin.write("\n")
        other.stdin.flush()

    with machine_lock(20, report):
        assert not other.poll() or other.wait(20) == 0
    (line,) = lines
    assert line.startswith(f"waiting for process {other.pid} to finish")
    end(other)


def test_after_the_timeout_the_error_names_the_holder(lock):
    other = holder()
    with pytest.raises(
        MachineBusy, match=rf"process {other.pid} .*longer than 0.3 s.*--energy-lock-timeout"
    ):
        with machine_lock(0.3, lambda line: None):
            pass
    end(other)
    assert is_free()


def test_the_lock_is_reentrant_within_a_process(lock):
    with machine_lock(0, pytest.fail), machine_lock(0, pytest.fail):
        pass
    assert is_free()


def test_an_exception_releases_the_lock(lock):
    with pytest.raises(ZeroDivisionError), machine_lock(0, pytest.fail):
        1 / 0  # noqa: B018
    assert is_free()


def test_the_lock_of_a_killed_process_is_free_at_once(lock):
    other = holder()
    other.send_signal(signal.SIGKILL)
    other.wait(20)
    assert is_free()
    end(other)


@needs_fork
def test_a_forked_child_does_not_hold_the_lock(lock):
    """The code under test may leave a child process running."""
    script = HOLDER.format(
        inside="child = os.fork()\n    if not child:\n        os.close(1)\n"
        "        time.sleep(600)\n    print(child, flush=True)"
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
        assert not is_free()
        process.kill()
        process.wait(20)
        # The child closes the lock when it first runs, which may be after its parent ended.
        deadline_s = time.monotonic() + 20
        while not is_free():
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
    finally:
        os.kill(child, signal.SIGKILL)
        end(process)


C_FORK = """
import ctypes
    library = ctypes.CDLL(None)
    child = library.fork()
    if not child:
        os.close(1)
        library.sleep(600)
        library._exit(0)
    print(child, flush=True)
"""


@needs_c_fork
@pytest.mark.parametrize("end_of_parent", ["a normal end", "a kill"])
def test_a_child_forked_in_c_does_not_keep_the_lock(lock, end_of_parent):
    """No hook of Python runs in it. Only a kill of its parent leaves it the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER.format(inside=C_FORK.strip())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf8",
    )
    child = int(process.stdout.readline())
    assert process.stdout.readline() == "held\n"
    try:
        if end_of_parent == "a normal end":
            end(process)
            assert is_free()
            return
        process.kill()
        process.wait(20)
        lines: list[str] = []
        with (
            pytest.raises(MachineBusy, match=f"process {child} keeps the lock of process"),
            machine_lock(0.3, lines.append),
        ):
            pass
        (line,) = lines
        assert line == (
            f"waiting for process {child} to end, which process {process.pid} forked before it "
            "was killed (at most 0.3 s)"
        )
        end(process)
    finally:
        os.kill(child, signal.SIGKILL)


@needs_c_fork
def test_a_child_forked_in_c_cannot_free_the_lock_of_its_parent(lock):
    """It may come back from the C library and leave the block."""
    inside = "import ctypes; child = ctypes.CDLL(None).fork(); child and os.waitpid(child, 0)"
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            HOLDER.format(inside=f"{inside}\n    if not child: raise SystemExit"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf8",
    )
    assert process.stdout.readline() == "held\n"
    assert not is_free()
    end(process)
    assert is_free()


def test_a_symbolic_link_is_refused(lock, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("kept")
    lock.symlink_to(precious)
    with pytest.raises(MachineBusy, match="symbolic link"), machine_lock(0, pytest.fail):
        pass
    assert precious.read_text() == "kept"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFO on this system")
def test_a_fifo_is_refused_at_once(lock):
    os.mkfifo(lock)
    began_s = time.monotonic()
    with (
        pytest.raises(MachineBusy, match=f"neither a file nor a folder.*{LOCK_VARIABLE}"),
        machine_lock(3600, pytest.fail),
    ):
        pass
    assert time.monotonic() - began_s < 20


@posix
def test_a_folder_can_be_the_lock(lock):
    lock.mkdir()
    other = holder()
    assert not is_free()
    end(other)
    assert is_free()


def test_the_file_may_have_any_content_and_be_read_only(lock):
    lock.write_bytes(b"\0other content")
    lock.chmod(0o444)
    with machine_lock(0, pytest.fail):
        pass
    assert lock.read_bytes() == b"\0other content"


def test_the_error_for_an_unusable_path_names_the_variable(tmp_path, monkeypatch):
    monkeypatch.setenv(LOCK_VARIABLE, str(tmp_path / "missing" / "lock"))
    with (
        pytest.raises(MachineBusy, match=f"cannot be locked.*{LOCK_VARIABLE}"),
        machine_lock(0, pytest.fail),
    ):
        pass


def test_the_timeout_also_limits_a_hanging_file_system(lock, monkeypatch):
    monkeypatch.setattr(module, "_open_now", lambda path: time.sleep(60))
    began_s = time.monotonic()
    with (
        pytest.raises(MachineBusy, match="its file system does not answer"),
        machine_lock(0.2, pytest.fail),
    ):
        pass
    assert time.monotonic() - began_s < 30


@posix
def test_by_default_all_users_share_one_lock(monkeypatch, tmp_path):
    monkeypatch.delenv(LOCK_VARIABLE)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert str(lock_path()) == "/"


@posix
@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs root on Linux")
@pytest.mark.parametrize("kind", ["a folder of root's", "a file in a sticky folder"])
def test_two_users_take_turns(kind, monkeypatch):
    """Neither user owns the folder, and a sticky folder restricts access to other users' files."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o755 if kind == "a folder of root's" else 0o1777)
        path = folder if kind == "a folder of root's" else f"{folder}/lock"
        monkeypatch.setenv(LOCK_VARIABLE, path)
        first = holder(user=54321)
        script = AS_USER.format(user=54322) + HOLDER.format(inside="pass")
        second = run(script, timeout_s="0.5")
        assert f"process {first.pid} has been measuring" in second.stderr
        end(first)
        end(holder(user=54322))
        end(holder(user=54321))


def test_a_child_process_does_not_wait_for_its_parent(lock):
    """A measured test may start pytest --energy itself."""
    with machine_lock(0, pytest.fail):
        end(holder())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc/locks")
def test_a_child_without_the_holder_variable_does_not_wait(lock):
    script = f"import os; os.environ.pop({HOLDER_VARIABLE!r})\n" + HOLDER.format(inside="pass")
    with machine_lock(0, pytest.fail):
        done = run(script)
    assert done.stdout == "held\n", done.stderr


def test_the_holder_variable_of_a_dead_parent_is_ignored(lock, monkeypatch):
    other = holder()
    dead = run("import os; print(os.getpid())").stdout.strip()
    monkeypatch.setenv(HOLDER_VARIABLE, f"{dead} {lock}")
    assert not is_free()
    end(other)


@posix
def test_code_that_closes_all_descriptors_keeps_its_own_files(lock):
    script = (
        HOLDER.format(inside="os.closerange(3, 256); opened = os.open(os.devnull, os.O_RDONLY)")
        + "os.fstat(opened)\nprint('still open')\n"
    )
    done = run(script)
    assert done.stdout == "held\nstill open\n", done.stderr


@pytest.mark.slow
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
    assert suite.runpytest_subprocess().ret == 0  # a run without --energy does not measure
    end(other)
    began_s = time.monotonic()
    assert (
        suite.runpytest_subprocess(
            "--energy", "--energy-meter=clock", "--energy-lock-timeout=60"
        ).ret
        == 0
    )
    assert time.monotonic() - began_s < 50


@pytest.mark.parametrize("value", ["soon", "-1", "inf", "nan"])
def test_an_invalid_timeout_is_a_usage_error(suite, value):
    done = suite.runpytest_subprocess(
        "--energy", "--energy-meter=clock", f"--energy-lock-timeout={value}"
    )
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines([f"*--energy-lock-timeout takes seconds, 0 or more, not '{value}'*"])
