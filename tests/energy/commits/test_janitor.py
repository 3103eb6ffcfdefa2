"""A process that watches its parent and begins only after the parent has ended."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pytest_energy.commits import janitor
from pytest_energy.meters import calibration

LIMIT_S = 30


@pytest.fixture
def gone():
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-I", "-S", "-c", ""])
    process.wait()
    return process.pid


def test_a_janitor_that_begins_late_cleans_up(tmp_path, gone):
    folder = tmp_path / "folder"
    (folder / "tmp").mkdir(parents=True)
    late = subprocess.Popen(
        [sys.executable, "-I", "-S", janitor.__file__, str(folder), str(gone)],
        stdin=subprocess.PIPE,
    )
    late.communicate(timeout=LIMIT_S)
    assert not folder.exists()


def test_a_busy_loop_that_begins_late_ends(gone):
    subprocess.run(calibration._busy_loop_of(gone), check=True, timeout=LIMIT_S)
