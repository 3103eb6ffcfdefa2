"""``pytest-energy record``: a trace of a command or of a time."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from pytest_energy import cli
from pytest_energy.errors import MeterFailed
from pytest_energy.meters import MeterSettings, open_meter
from pytest_energy.meters.replay import open_replay


def test_a_trace_can_be_replayed(tmp_path, capsys):
    path = tmp_path / "trace.jsonl"
    assert (
        cli.main(
            ["record", str(path), "--meter", "estimate", "--watts", "10,50", "--seconds", "0.2"]
        )
        == 0
    )
    printed = capsys.readouterr().err
    assert "J estimated by estimate" in printed and f"--energy-meter replay:{path}" in printed
    with open_meter(f"replay:{path}") as meter:
        assert meter.provenance == "estimated"
        first = last = meter.read()
        with pytest.raises(MeterFailed, match="has ended"):
            while True:
                last = meter.read()
    assert 0.05 < last.at_s - first.at_s < 20  # the wait of 0.2 s may begin and end late
    assert (
        10
        <= (last.joules["cpu-estimate"] - first.joules["cpu-estimate"]) / (last.at_s - first.at_s)
        <= 50
    )


def test_a_command_is_recorded_and_gives_its_exit_code(tmp_path, capfd):
    path = tmp_path / "trace.jsonl"
    code = textwrap.dedent("""
        import sys, time
        time.sleep(0.2)
        print("--seconds is mine", *sys.argv[1:])
        sys.exit(7)
    """)
    assert (
        cli.main(
            [
                "record",
                str(path),
                "--meter",
                "estimate",
                "--",
                sys.executable,
                "-c",
                code,
                "--",
                "--meter",
            ]
        )
        == 7
    )
    assert capfd.readouterr().out == "--seconds is mine -- --meter\n"
    with open_replay(MeterSettings(), str(path)) as meter:
        # A header, the first and the last reading, and others in between.
        assert len(path.read_text().splitlines()) > 3
        assert meter.read().at_s > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "either --seconds S or a command"),
        (["--seconds", "1", "--", "true"], "either --seconds S or a command"),
        (["--seconds", "0"], "a number above 0, not '0'"),
        (["--seconds", "soon"], "a number above 0, not 'soon'"),
        (["--", "no-such-command-anywhere"], "no-such-command-anywhere cannot be started"),
        (["--seconds", "1", "--meter", "nonsense"], "no meter is called 'nonsense'"),
    ],
)
def test_invalid_arguments_are_named(tmp_path, capsys, arguments, message):
    meter = [] if "--meter" in arguments else ["--meter", "estimate"]
    assert cli.main(["record", str(tmp_path / "t.jsonl"), *meter, *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.fixture
def at_the_second_wait(monkeypatch):
    """Raise an error at the second wait for the recorded command."""

    def raising(error):
        waits = iter([False])

        def wait(process, wait_s):
            for ended in waits:
                return ended
            raise error

        monkeypatch.setattr("pytest_energy.cli.record._wait", wait)

    return raising


@pytest.mark.parametrize(
    ("ended_by", "code"),
    [(("--seconds", "600"), 0), (("--", sys.executable, "-c", "import sys; sys.exit(7)"), 7)],
)
def test_ctrl_c_ends_a_recording_and_keeps_it(tmp_path, capsys, at_the_second_wait, ended_by, code):
    at_the_second_wait(KeyboardInterrupt)
    path = tmp_path / "trace.jsonl"
    assert cli.main(["record", str(path), "--meter", "estimate", *ended_by]) == code
    assert f"written to {path}" in capsys.readouterr().err
    assert len(path.read_text().splitlines()) == 3  # a header and two readings


def test_a_failing_meter_ends_the_command_too(tmp_path, capsys, monkeypatch, at_the_second_wait):
    at_the_second_wait(MeterFailed("the sensor is gone"))
    started = []
    monkeypatch.setattr(
        "pytest_energy.cli.record._start",
        lambda command: started.append(subprocess.Popen(command)) or started[0],
    )
    command = (sys.executable, "-c", "import time; time.sleep(600)")
    assert (
        cli.main(["record", str(tmp_path / "trace.jsonl"), "--meter", "estimate", "--", *command])
        == 2
    )
    assert "the sensor is gone" in capsys.readouterr().err
    assert started[0].poll() is not None


def test_an_output_that_cannot_be_written_is_named(tmp_path, capsys):
    assert (
        cli.main(
            ["record", str(tmp_path / "no" / "t.jsonl"), "--meter", "estimate", "--seconds", "1"]
        )
        == 2
    )
    assert "cannot be written" in capsys.readouterr().err
