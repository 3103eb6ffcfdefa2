"""What every command shares: help, version, and an exit code that is never 1 for a fault."""

from __future__ import annotations

import errno
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_energy import cli
from pytest_energy.cli import compare, doctor, record
from pytest_energy.cli.exit_codes import ExitCode
from tests.energy.rigs.saved_runs import Runs, write_runs

PROGRAM = [sys.executable, "-m", "pytest_energy"]


def test_without_a_command_it_prints_help(capsys):
    assert cli.main([]) == ExitCode.OK
    out = capsys.readouterr().out
    assert all(name in out for name in ("doctor", "compare", "bisect", "noise"))


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("pytest-energy ")


@pytest.mark.parametrize("command", [command.HELP for command in cli.COMMANDS])
def test_the_help_of_a_command_has_an_example_and_exit_codes(command, capsys):
    program, name, *arguments = shlex.split(command.example)
    assert program == "pytest-energy"
    assert cli.main([name, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"example:\n  {command.example}\n" in out and "\n  2  " in out
    assert all(len(line) <= 100 for line in out.splitlines())
    before, _ = record.split_command([name, *arguments])
    assert cli.parser().parse_args(before).run


def test_an_unknown_command_or_option_is_2(capsys):
    assert cli.main(["dotcor"]) == ExitCode.UNUSABLE
    assert cli.main(["doctor", "--everything"]) == ExitCode.UNUSABLE
    assert "unrecognized arguments: --everything" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error", [RuntimeError("wires\x1b[31m crossed"), MemoryError(), RecursionError("too deep")]
)
def test_a_fault_of_ours_is_one_line_and_not_1(monkeypatch, capsys, error):
    def fail(arguments):
        raise error

    monkeypatch.setattr(doctor, "run", fail)
    assert cli.main(["doctor"]) == ExitCode.UNUSABLE
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "\x1b" not in err
    assert f"a fault of pytest-energy: {type(error).__name__}" in err


def test_the_traceback_of_a_fault_can_be_asked_for(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "run", lambda arguments: 1 / 0)
    monkeypatch.setenv(cli.TRACEBACK_VARIABLE, "1")
    assert cli.main(["doctor"]) == ExitCode.UNUSABLE
    assert "Traceback" in capsys.readouterr().err


def test_ctrl_c_is_130(monkeypatch, capsys):
    def interrupt(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(compare, "run", interrupt)
    assert cli.main(["compare", "a", "b"]) == ExitCode.INTERRUPTED
    assert capsys.readouterr().err == "pytest-energy: interrupted\n"


@pytest.mark.skipif(os.name != "posix", reason="pipes close otherwise on Windows")
def test_a_closed_pipe_is_quiet_and_not_1():
    program = (
        "import sys; from pytest_energy import cli; "
        "cli.doctor.run = lambda arguments: print('x' * 100_000) or 0; "
        "sys.exit(cli.main(['doctor']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.close()
    _, err = process.communicate(timeout=60)
    assert process.returncode == ExitCode.CLOSED_PIPE
    assert err == ""


@pytest.mark.skipif(os.name != "posix", reason="file names are text on Windows")
def test_a_path_that_is_not_utf8_is_named():
    done = subprocess.run(
        [*PROGRAM, "compare", b"caf\xe9.json", "b.json"], capture_output=True, check=False
    )
    assert done.returncode == ExitCode.UNUSABLE
    assert done.stderr.count(b"\n") == 1 and b"caf" in done.stderr


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/proc/kcore"), "/proc/kcore: Perm"),
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files"),
    ],
)
def test_an_error_of_the_system_names_the_file(monkeypatch, capsys, error, line):
    def fail(arguments):
        raise error

    monkeypatch.setattr(doctor, "run", fail)
    assert cli.main(["doctor"]) == ExitCode.UNUSABLE
    assert capsys.readouterr().err.startswith(f"pytest-energy: {line}")


FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("arguments", [["--help"], ["doctor", "--format=json"]])
def test_a_full_disk_behind_standard_output_is_2(arguments):
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with FULL.open("wb") as full:
        done = subprocess.run(
            [*PROGRAM, *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            env=buffered,
            timeout=60,
            check=False,
        )
    assert done.returncode == ExitCode.UNUSABLE
    assert b"No space left" in done.stderr and b"Traceback" not in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="descriptors close otherwise on Windows")
@pytest.mark.parametrize(("closed", "expected"), [(">&-", 2), ("2>&-", 2), (">&- 2>&-", 2)])
def test_closed_streams_do_not_change_the_exit_code(closed, expected, tmp_path):
    command = f"{shlex.join(PROGRAM)} compare {shlex.quote(str(tmp_path))} nowhere {closed}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, timeout=60, check=False)
    assert done.returncode == expected
    assert b"Traceback" not in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="Windows keeps a current folder from removal")
@pytest.mark.parametrize("command", ["doctor", "bisect a b", "pull-request --base a"])
def test_a_removed_current_folder_is_one_line(tmp_path, command):
    folder = tmp_path / "gone"
    folder.mkdir()
    script = f"rmdir {shlex.quote(str(folder))} && {shlex.join(PROGRAM)} {command}"
    done = subprocess.run(
        ["sh", "-c", script], cwd=folder, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == ExitCode.UNUSABLE
    assert done.stderr.count(b"\n") == 1 and b"Traceback" not in done.stderr


NO_HOME = """
import os, pwd, sys

def no_entry(uid):
    raise KeyError(f"getpwuid(): uid not found: {uid}")

pwd.getpwuid = no_entry
os.environ.pop("HOME", None)
os.environ.pop("XDG_CONFIG_HOME", None)
from pytest_energy.cli import main

sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(os.name != "posix", reason="Windows has no passwd")
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["doctor"], 0),
        (["compare", "run.json", "run.json"], 0),
        (["history", "run.json"], 0),
        (["calibrate", "--watts=12,34"], 2),
        (["--version"], 0),
    ],
)
def test_a_user_without_a_home_gets_no_traceback(arguments, expected, tmp_path):
    """As in a container that runs with any user id."""
    write_runs(tmp_path, Runs(1, 1))
    (file,) = tmp_path.glob("*.json")
    file.rename(tmp_path / "run.json")
    done = subprocess.run(
        [sys.executable, "-c", NO_HOME, *arguments],
        cwd=tmp_path,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == expected, done.stderr
    assert b"Traceback" not in done.stderr
    if expected:
        assert b"set XDG_CONFIG_HOME" in done.stderr
