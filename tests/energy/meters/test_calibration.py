"""Calibration files with idle and full-load watts: fitted, saved, loaded, and refused."""

from __future__ import annotations

import json
import math
import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_energy.errors import MeterFailed, MeterUnavailable, OptionError
from pytest_energy.meters import Meter, MeterSettings, info
from pytest_energy.meters.calibration import (
    PATH_VARIABLE,
    Calibration,
    busy_cpus,
    calibration_of_watts,
    calibration_path,
    fit_watts,
    load_calibration,
    save_calibration,
)
from pytest_energy.meters.estimate import open_estimate
from pytest_energy.meters.power_model import (
    CALIBRATED_BAND,
    CURVE_EXPONENT,
    PowerModel,
    fit_power_curve,
)
from pytest_energy.meters.process_cpu import ProcessTreeClock
from pytest_energy.model import Domain, Reading
from tests.energy.rigs.real_time import undisturbed

linux = pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="requires Linux's /proc")


@pytest.fixture(autouse=True)
def no_calibration_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv(PATH_VARIABLE, raising=False)


@given(st.floats(1, 500), st.floats(1, 500), st.integers(10, 50), st.integers(2, 6))
def test_a_fit_finds_the_curve_that_made_the_points(idle_watts, more_watts, fiftieths, loads):
    exponent = fiftieths * 2 / 100 if loads > 2 else CURVE_EXPONENT
    truth = PowerModel(idle_watts, idle_watts + more_watts, "a test", exponent)
    fitted = fit_power_curve(
        [(n / (loads - 1), truth.watts(n / (loads - 1))) for n in range(loads)]
    )
    assert fitted == pytest.approx((truth.idle_watts, truth.full_watts, exponent), rel=1e-6)


def test_a_fit_accepts_watts_that_fall_at_full_load():
    # From a Threadripper 1950X, probably by its power limit: 174.7 W with 16 busy threads, 165.3 W
    # with 32.
    idle_watts, full_watts, exponent = fit_power_curve(
        [(0, 44.4), (0.1, 75.7), (0.25, 92.4), (0.5, 174.7), (1, 165.3)]
    )
    assert idle_watts == pytest.approx(44.4, rel=0.05)
    assert 165 < full_watts < 190
    assert 0.3 < exponent < 0.8


@pytest.mark.parametrize(
    "points",
    [
        [],
        [(0.0, 5.0)],
        [(0.0, 5.0), (0.0, 6.0)],
        [(0.0, 6.0), (1.0, 5.0)],
        [(0.0, 0.0), (1.0, 5.0)],
        [(0.0, 1.0), (2.0, 5.0)],
    ],
)
def test_points_that_fit_no_curve_are_refused(points):
    with pytest.raises(ValueError, match="requires|must"):
        fit_power_curve(points)


class TwoStateSensor(Meter):
    """The sensor of a machine that draws 20 W idle, and 60 W while this process tree is busy."""

    name, provenance, domains = "a sensor", "measured", (Domain("package-0"),)
    update_interval_s, resolution_joules = 1e-3, 1e-6

    def __init__(self, busy_watts=60.0):
        self._busy_watts = busy_watts
        self._clock = ProcessTreeClock()
        self._joules, (self._at_s, self._cpu_s) = 0.0, self._clock.read()

    def read(self):
        at_s, cpu_s = self._clock.read()
        busy = (cpu_s - self._cpu_s) / (at_s - self._at_s) > 0.05
        self._joules += (at_s - self._at_s) * (self._busy_watts if busy else 20.0)
        self._at_s, self._cpu_s = at_s, cpu_s
        return Reading(at_s, {"package-0": self._joules})

    def close(self):
        self._clock.close()


@linux
def test_calibrating_against_a_sensor_gives_its_watts(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    steps = []
    with TwoStateSensor() as sensor:
        calibration = fit_watts(sensor, seconds_per_load=0.3, settle_s=0.2, on_step=steps.append)
    assert calibration.points == (
        (0.0, pytest.approx(20.0)),
        (0.5, pytest.approx(60.0)),
        (1.0, pytest.approx(60.0)),
    )
    assert calibration.idle_watts == pytest.approx(20.0, rel=0.05)
    assert len(steps) == 3


@linux
def test_a_sensor_that_ignores_the_load_is_an_error(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    with (
        TwoStateSensor(busy_watts=10.0) as sensor,
        pytest.raises(MeterFailed, match="must rise with the CPU load"),
    ):
        fit_watts(sensor, seconds_per_load=0.2, settle_s=0.2)


@linux
def test_busy_cpus_are_busy_and_end_with_the_block():
    clock = ProcessTreeClock()
    with busy_cpus(1):

        @undisturbed  # on a busy machine, the loop starts late
        def check():
            before = clock.read()
            time.sleep(0.3)
            after = clock.read()
            assert (after[1] - before[1]) / (after[0] - before[0]) > 0.1

    clock.close()
    with pytest.raises(ChildProcessError):
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)


def test_an_estimate_cannot_calibrate_itself():
    with (
        open_estimate(MeterSettings(watts=(10, 60))) as meter,
        pytest.raises(OptionError, match="needs a sensor"),
    ):
        fit_watts(meter)


def test_the_watts_of_a_wall_meter_must_be_possible():
    with pytest.raises(OptionError, match="0 < idle"):
        calibration_of_watts(0.0, 90.0)


def test_a_saved_calibration_is_used_and_named():
    save_calibration(calibration_of_watts(30.0, 90.0), calibration_path())
    with open_estimate(MeterSettings()) as meter:
        about = info(meter)
        assert (meter.model.idle_watts, meter.model.full_watts) == pytest.approx((30.0, 90.0))
    assert about.band == CALIBRATED_BAND
    assert "a wall meter" in about.notes[0]
    assert any(str(calibration_path()) in note for note in about.notes)


def test_the_users_watts_override_a_calibration():
    save_calibration(calibration_of_watts(30.0, 90.0), calibration_path())
    with open_estimate(MeterSettings(watts=(1.0, 2.0))) as meter:
        assert meter.model.full_watts == 2.0


def test_a_calibration_of_another_machine_is_skipped_with_a_note(tmp_path, monkeypatch):
    path = tmp_path / "other.json"
    save_calibration(
        Calibration(1.0, 2.0, 0.6, 4096, "another CPU", "a sensor", ((0.0, 1.0), (1.0, 2.0))), path
    )
    monkeypatch.setenv(PATH_VARIABLE, str(path))
    with open_estimate(MeterSettings()) as meter:
        assert meter.model.full_watts != 2.0
        assert any("not used" in note and "another CPU" in note for note in meter.notes)


def test_a_named_calibration_must_exist(tmp_path, monkeypatch):
    with pytest.raises(MeterUnavailable, match=r"nowhere\.json"):
        open_estimate(MeterSettings(), str(tmp_path / "nowhere.json"))
    monkeypatch.setenv(PATH_VARIABLE, str(tmp_path / "elsewhere.json"))
    with pytest.raises(MeterUnavailable, match=r"elsewhere\.json"):
        open_estimate(MeterSettings())


amounts = st.floats(0.001, 1e6)
loads_and_watts = st.lists(st.tuples(st.floats(0, 1), amounts), max_size=5)


@given(amounts, amounts, st.floats(0.01, 1), st.integers(1, 10_000), st.text(), loads_and_watts)
def test_a_loaded_calibration_equals_the_saved_one(
    tmp_path_factory, idle_watts, more_watts, exponent, cpus, name, points
):
    path = tmp_path_factory.mktemp("calibration") / "a" / "calibration.json"
    calibration = Calibration(
        idle_watts, idle_watts + more_watts, exponent, cpus, name, "a sensor", tuple(points)
    )
    save_calibration(calibration, path)
    assert load_calibration(path) == calibration
    assert os.listdir(path.parent) == [path.name]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
GOOD = {
    "schema": 1,
    "idle_watts": 1.0,
    "full_watts": 2.0,
    "exponent": 0.6,
    "cpus": 2,
    "points": [[0, 1], [1, 2]],
}


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({**GOOD, "cpus": math.inf}),
        json.dumps({**GOOD, "points": [[10**400, 1]]}),
        json.dumps({**GOOD, "full_watts": 10**400}),
        "[" * 100_000,
    ],
    ids=["infinite", "huge point", "huge watts", "nested"],
)
def test_a_calibration_beyond_all_numbers_is_refused(tmp_path, text):
    path = tmp_path / "calibration.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(MeterUnavailable, match=r"calibration\.json cannot be used"):
        load_calibration(path).model().watts(0.5)


@given(st.sampled_from(sorted(GOOD)), json_values, st.booleans())
def test_a_broken_calibration_file_is_named_or_has_valid_watts(tmp_path_factory, key, value, cut):
    path = tmp_path_factory.mktemp("calibration") / "calibration.json"
    text = json.dumps({**GOOD, key: value})
    path.write_text(text[:-3] if cut else text, encoding="utf-8")
    try:
        calibration = load_calibration(path)
    except MeterUnavailable as error:
        assert str(path) in str(error)
        assert "calibrate again" in error.remedy
    else:
        assert (
            0 <= calibration.idle_watts <= calibration.model().watts(0.5) <= calibration.full_watts
        )
