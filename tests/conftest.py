"""What all tests share."""

import pytest

from pytest_energy.lock import LOCK_VARIABLE


@pytest.fixture(autouse=True)
def on_its_own(tmp_path_factory, monkeypatch):
    """Tests run side by side: those that measure, with made-up meters, need not wait for each other, nor for a real run."""
    monkeypatch.setenv(LOCK_VARIABLE, str(tmp_path_factory.getbasetemp() / "machine.lock"))
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)  # or an inner run takes itself for a worker, too
