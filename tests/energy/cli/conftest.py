"""What several tests of the commands use."""

from __future__ import annotations

import sys

import pytest

from pytest_energy.meters.calibration import PATH_VARIABLE


@pytest.fixture(autouse=True)
def no_calibration_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv(PATH_VARIABLE, raising=False)


@pytest.fixture
def only_these_meters(monkeypatch):
    """Replace all installed meters by these factories."""

    def install(**factories):
        monkeypatch.setattr(
            sys.modules["pytest_energy.meters.registry"], "installed", lambda: factories
        )

    return install
