"""What all tests share."""

import pytest

from pytest_energy.measuring.machine_lock import LOCK_VARIABLE

try:
    from hypothesis import HealthCheck, settings
except ImportError:
    pass  # nox's environments have none, and run no test that needs it
else:
    # How fast examples are made says how busy the machine is, and whether coverage traces them.
    settings.register_profile(
        "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def on_its_own(tmp_path_factory, monkeypatch):
    """Tests run side by side: those that measure, with made-up meters, need not wait for each other, nor for a real run."""
    monkeypatch.setenv(LOCK_VARIABLE, str(tmp_path_factory.getbasetemp() / "machine.lock"))
    monkeypatch.delenv(
        "PYTEST_XDIST_WORKER", raising=False
    )  # or an inner run takes itself for a worker, too
