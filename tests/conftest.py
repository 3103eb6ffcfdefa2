"""Fixtures of all tests."""

import pytest

from pytest_energy.measuring.machine_lock import LOCK_VARIABLE

try:
    from hypothesis import HealthCheck, settings
except ImportError:
    pass  # nox's environments lack it, and run no test that needs it
else:
    # The time to make examples depends on how busy the machine is, and on coverage.
    settings.register_profile(
        "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def on_its_own(tmp_path_factory, monkeypatch):
    """Give each test process a machine lock of its own: tests use fake meters and need no turns."""
    monkeypatch.setenv(LOCK_VARIABLE, str(tmp_path_factory.getbasetemp() / "machine.lock"))
    monkeypatch.delenv(
        "PYTEST_XDIST_WORKER", raising=False
    )  # or an inner run takes itself for a worker, too
