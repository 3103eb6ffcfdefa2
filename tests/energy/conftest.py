"""Fixtures of the tests of pytest_energy."""

from pathlib import Path

import pytest

from tests.energy.rigs import clock_meter


@pytest.fixture(autouse=True)
def not_on_github(monkeypatch):
    """A run within a test must not write into the summary of the job that runs the test."""
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def no_container(monkeypatch):
    """Trees of files are those of bare metal, although the tests may run in a limited container."""
    monkeypatch.setattr("pytest_energy.meters.virtual.CGROUP_ROOT", "/nonexistent")


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch):
    """A pytester folder with the clock meter installed as another project's package."""
    source = Path(clock_meter.__file__).read_text(encoding="utf8")
    pytester.path.joinpath("clock_meter.py").write_text(source, encoding="utf8")
    installed = pytester.path / "clock_meter-1.0.dist-info"
    installed.mkdir()
    installed.joinpath("METADATA").write_text(
        "Metadata-Version: 2.1\nName: clock-meter\nVersion: 1.0\n", encoding="utf8"
    )
    installed.joinpath("entry_points.txt").write_text(clock_meter.ENTRY_POINT, encoding="utf8")
    pytester.syspathinsert()
    # hypothesis's plugin costs each inner run a second; tests run in the order of the file.
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:hypothesispytest -p no:randomly")
    return pytester
