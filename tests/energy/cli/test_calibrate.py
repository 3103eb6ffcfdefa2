"""``pytest-energy calibrate``: watts of a wall meter, or of a sensor."""

from __future__ import annotations

import pytest

from pytest_energy import cli
from pytest_energy.meters import MeterSettings
from pytest_energy.meters.calibration import calibration_path, load_calibration
from pytest_energy.meters.estimate import open_estimate
from tests.energy.rigs.clock_meter import ClockMeter
from tests.energy.rigs.powercap_tree import LAYOUTS, DrivenTree, ramp


def test_the_estimate_uses_the_watts_of_a_wall_meter(capsys):
    assert cli.main(["calibrate", "--watts", "41,178"]) == 0
    out = capsys.readouterr().out
    assert "idle 41.0 W" in out and "178 W" in out and f"written to {calibration_path()}" in out
    with open_estimate(MeterSettings()) as meter:
        assert (meter.model.idle_watts, meter.model.full_watts) == (
            pytest.approx(41),
            pytest.approx(178),
        )
        assert any(str(calibration_path()) in note for note in meter.notes)


@pytest.mark.slow
def test_a_sensor_is_read_while_the_cpus_are_busy(tmp_path, capsys):
    """The power of the tree rises with time, as a machine's does with its load."""
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
    printed = capsys.readouterr()
    assert "CPUs busy for" in printed.err
    assert f"written to {output}; use --energy-meter estimate:{output}" in printed.out
    calibration = load_calibration(output)
    assert calibration.source == "powercap"
    assert 0 < calibration.idle_watts < calibration.full_watts


def test_without_a_sensor_it_asks_for_two_values_of_a_wall_meter(only_these_meters, capsys):
    only_these_meters(estimate=lambda settings, argument: ClockMeter(provenance="estimated"))
    assert cli.main(["calibrate", "--meter", "estimate"]) == 2
    assert "pytest-energy calibrate --watts 41,178" in capsys.readouterr().err
    assert not calibration_path().exists()


@pytest.mark.parametrize("watts", ["178,41", "0,100", "x", "41"])
def test_impossible_watts_are_refused(watts, capsys):
    assert cli.main(["calibrate", "--watts", watts]) == 2
    assert "idle" in capsys.readouterr().err
    assert not calibration_path().exists()


def test_an_output_that_cannot_be_written_is_named(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert (
        cli.main(["calibrate", "--watts", "41,178", "--output", str(tmp_path / "file" / "x.json")])
        == 2
    )
    assert "cannot be written" in capsys.readouterr().err
