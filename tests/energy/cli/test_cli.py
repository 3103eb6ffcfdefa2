"""pytest-energy doctor, calibrate and record. (compare and noise are in test_compare.py.)"""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import pytest

from pytest_energy import cli
from pytest_energy.errors import MeterFailed, MeterUnavailable, OptionError
from pytest_energy.meters import MeterCheck, MeterSettings, check_meters, installed, open_meter
from pytest_energy.meters.calibration import PATH_VARIABLE, calibration_path, load_calibration
from pytest_energy.meters.estimate import open_estimate
from pytest_energy.meters.powercap_zones import unreadable
from pytest_energy.meters.replay import open_replay
from pytest_energy.report.doctor import WIDTH, doctor_report
from tests.energy.rigs.clock_meter import ClockMeter
from tests.energy.rigs.powercap_tree import LAYOUTS, DrivenTree, Tree, ramp

METERS = "pytest_energy.meters.registry"


@pytest.fixture(autouse=True)
def no_calibration_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv(PATH_VARIABLE, raising=False)


@pytest.fixture
def only(monkeypatch):
    """Let these factories be all the meters that are installed."""

    def install(**factories):
        monkeypatch.setattr(sys.modules[METERS], "installed", lambda: factories)

    return install


def raises(error):
    def factory(settings, argument):
        raise error

    return factory


# doctor


@pytest.fixture
def sysfs(tmp_path, monkeypatch):
    """A folder in the place of /sys/class, with a client's RAPL zones in it."""
    tree = tmp_path / "powercap"
    tree.mkdir()
    Tree(tree, LAYOUTS["client"])
    monkeypatch.setenv("PYTEST_ENERGY_SYSFS", str(tmp_path))


@pytest.mark.usefixtures("sysfs")
def test_doctor_says_of_each_meter_what_it_can_do_or_what_is_missing(capsys):
    assert cli.main(["doctor", "--trust-sensor"]) == 0  # this machine may be virtual
    out = " ".join(capsys.readouterr().out.split())
    assert "yes powercap: measured; package-0, dram-0" in out
    assert "updates every 1.00 ms, steps of 61.0 µJ; permission: granted" in out
    assert "psys holds the packages already" in out
    for name in installed():
        assert f" {name}: " in out
    assert "This machine can measure joules: powercap" in out


@pytest.mark.usefixtures("sysfs")
def test_doctor_for_programs_says_the_same(capsys):
    assert cli.main(["doctor", "--json"]) == 0
    findings = {finding["name"]: finding for finding in json.loads(capsys.readouterr().out)}
    assert set(findings) == set(installed())
    powercap = findings["powercap"]
    assert powercap["permission"] == "granted"
    assert [domain["name"] for domain in powercap["meter"]["domains"]] == ["package-0", "dram-0"]
    assert powercap["meter"]["update_interval_s"] == 0.001
    assert powercap["meter"]["resolution_joules"] == pytest.approx(61e-6, rel=0.01)
    assert findings["replay"]["meter"] is None and findings["replay"]["remedy"]


def test_doctor_tells_a_refused_counter_from_one_that_is_not_there(only, capsys):
    only(
        powercap=raises(unreadable("/sys/energy_uj", PermissionError(13, "denied"))),
        perf=raises(MeterUnavailable("no PMU", "load it")),
    )
    assert cli.main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert (
        "permission: denied" in out
        and "do: until the next boot: sudo chmod a+r /sys/energy_uj" in out
    )
    assert out.count("permission") == 1
    assert [check.permission for check in check_meters(MeterSettings())] == ["not known", "denied"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MeterFailed("gone half-way"), "gone half-way"),
        (OptionError("no such argument"), "no such argument"),
        (ZeroDivisionError("theirs"), "it raised ZeroDivisionError: theirs"),
    ],
)
def test_no_error_of_a_meter_keeps_doctor_from_the_others(only, capsys, error, said):
    only(broken=raises(error), clock=lambda settings, argument: ClockMeter())
    assert cli.main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert f"no  broken: {said}" in out
    assert "yes clock: measured; package-0, core-0 (inside package-0)" in out


def test_lines_are_80_columns_wide_and_what_is_to_be_copied_stays_whole():
    command = "sudo chmod a+r /sys/devices/virtual/powercap/intel-rapl/intel-rapl:0/intel-rapl:0:0/energy_uj-and-more"
    reason = "a reason that is long enough to be wrapped, since it goes on and on, and says the same thing once more"
    report = doctor_report([MeterCheck("meter", None, reason, command)])
    long = [line for line in report.splitlines() if len(line) > WIDTH]
    assert [line.strip() for line in long] == [command.split()[-1]]
    assert reason in " ".join(report.split())
    assert all(line.startswith("      ") for line in report.splitlines()[1:-2])


# calibrate


def test_calibrate_by_a_wall_meter_is_what_the_estimate_uses_next(capsys):
    assert cli.main(["calibrate", "--watts", "41,178"]) == 0
    out = capsys.readouterr().out
    assert "idle 41.0 W" in out and "178 W" in out and f"written to {calibration_path()}" in out
    with open_estimate(MeterSettings()) as meter:
        assert (meter.model.idle_watts, meter.model.full_watts) == (
            pytest.approx(41),
            pytest.approx(178),
        )
        assert any(str(calibration_path()) in note for note in meter.notes)


def test_calibrate_by_a_sensor_loads_the_cpus_and_fits_what_it_counts(tmp_path, capsys):
    """The driven power rises by itself, as a machine's does with its load."""
    with DrivenTree(
        tmp_path / "tree", LAYOUTS["package only"], ramp(20.0, 220.0, 60.0), seconds=60
    ) as tree:
        output = tmp_path / "here.json"
        command = [
            "calibrate",
            "--meter",
            f"powercap:root={tree.root}",
            "--trust-sensor",  # this machine may be virtual
            "--seconds",
            "0.3",
            "--output",
            str(output),
        ]
        assert cli.main(command) == 0
    said = capsys.readouterr()
    assert "CPUs busy for" in said.err
    assert f"written to {output}; use --energy-meter estimate:{output}" in said.out
    calibration = load_calibration(output)
    assert calibration.source == "powercap"
    assert 0 < calibration.idle_watts < calibration.full_watts


def test_calibrate_without_a_sensor_asks_for_a_wall_meters_figures(only, capsys):
    only(estimate=lambda settings, argument: ClockMeter(provenance="estimated"))
    assert cli.main(["calibrate", "--meter", "estimate"]) == 2
    assert "pytest-energy calibrate --watts 41,178" in capsys.readouterr().err
    assert not calibration_path().exists()


@pytest.mark.parametrize("watts", ["178,41", "0,100", "x", "41"])
def test_calibrate_refuses_impossible_watts(watts, capsys):
    assert cli.main(["calibrate", "--watts", watts]) == 2
    assert "idle" in capsys.readouterr().err
    assert not calibration_path().exists()


def test_calibrate_names_a_place_that_it_cannot_write_to(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert (
        cli.main(["calibrate", "--watts", "41,178", "--output", str(tmp_path / "file" / "x.json")])
        == 2
    )
    assert "cannot be written" in capsys.readouterr().err


# record


def test_what_was_recorded_can_be_played_again(tmp_path, capsys):
    path = tmp_path / "trace.jsonl"
    assert (
        cli.main(
            ["record", str(path), "--meter", "estimate", "--watts", "10,50", "--seconds", "0.2"]
        )
        == 0
    )
    said = capsys.readouterr().err
    assert "J estimated by estimate" in said and f"--energy-meter replay:{path}" in said
    with open_meter(f"replay:{path}") as meter:
        assert meter.provenance == "estimated"
        first = last = meter.read()
        with pytest.raises(MeterFailed, match="has ended"):
            while True:
                last = meter.read()
    assert last.at_s - first.at_s == pytest.approx(0.2, abs=0.15)
    assert (
        10
        <= (last.joules["cpu-estimate"] - first.joules["cpu-estimate"]) / (last.at_s - first.at_s)
        <= 50
    )


def test_a_command_is_recorded_from_start_to_end_and_its_exit_code_is_ours(tmp_path, capfd):
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
        assert len(path.read_text().splitlines()) > 5
        assert meter.read().at_s > 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "either --seconds S or a command"),
        (["--seconds", "1", "--", "true"], "either --seconds S or a command"),
        (["--seconds", "0"], "a number above 0, not '0'"),
        (["--seconds", "soon"], "a number above 0, not 'soon'"),
        (["--", "no-such-command-anywhere"], "no-such-command-anywhere cannot be started"),
        (["--seconds", "1", "--meter", "nonsense"], "no meter is called 'nonsense'"),
    ],
)
def test_record_says_what_is_wrong_with_what_it_was_given(tmp_path, capsys, arguments, said):
    meter = [] if "--meter" in arguments else ["--meter", "estimate"]
    assert cli.main(["record", str(tmp_path / "t.jsonl"), *meter, *arguments]) == 2
    assert said in capsys.readouterr().err


@pytest.fixture
def at_the_second_look(monkeypatch):
    """Have looking whether the recorded command has ended raise this, the second time."""

    def raising(error):
        looks = iter([False])

        def look(process, wait_s):
            for ended in looks:
                return ended
            raise error

        monkeypatch.setattr("pytest_energy.cli.record._wait", look)

    return raising


@pytest.mark.parametrize(
    ("ended_by", "code"),
    [(("--seconds", "600"), 0), (("--", sys.executable, "-c", "import sys; sys.exit(7)"), 7)],
)
def test_ctrl_c_ends_a_recording_and_keeps_it(tmp_path, capsys, at_the_second_look, ended_by, code):
    at_the_second_look(KeyboardInterrupt)
    path = tmp_path / "trace.jsonl"
    assert cli.main(["record", str(path), "--meter", "estimate", *ended_by]) == code
    assert f"written to {path}" in capsys.readouterr().err
    assert len(path.read_text().splitlines()) == 3  # what it is, and two readings


def test_where_recording_fails_the_command_is_ended_too(
    tmp_path, capsys, monkeypatch, at_the_second_look
):
    at_the_second_look(MeterFailed("the sensor is gone"))
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


def test_record_names_a_place_that_it_cannot_write_to(tmp_path, capsys):
    assert (
        cli.main(
            ["record", str(tmp_path / "no" / "t.jsonl"), "--meter", "estimate", "--seconds", "1"]
        )
        == 2
    )
    assert "cannot be written" in capsys.readouterr().err
