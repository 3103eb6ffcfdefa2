"""What every command shares: help, version, and an exit code that is never 1 for a fault."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pytest_energy import cli
from pytest_energy.cli import compare, doctor
from pytest_energy.cli.exit_codes import ExitCode

PROGRAM = [sys.executable, "-m", "pytest_energy"]


def test_without_a_command_it_prints_help(capsys):
    assert cli.main([]) == ExitCode.OK
    out = capsys.readouterr().out
    assert all(name in out for name in ("doctor", "compare", "bisect", "noise"))


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("pytest-energy ")


def test_every_command_has_a_description_and_fits_its_help():
    for command in cli.COMMANDS:
        assert command.add_command.__doc__
    for line in cli.parser().format_help().splitlines():
        assert len(line) <= 100


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
