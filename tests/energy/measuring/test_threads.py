"""Waiting threads, and pools of a set size."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from pytest_energy.measuring import threads
from pytest_energy.measuring.threads import (
    VARIABLES,
    ThreadWaits,
    limit_loaded_pools,
    pool_variables,
)


def times(monkeypatch, *readings):
    """Each call of the module's `_times` returns the next of these."""
    given = iter([threads._Times(*reading) for reading in readings])
    monkeypatch.setattr(threads, "_times", lambda: next(given))


@pytest.mark.parametrize(
    ("used", "share", "of_several"),
    [
        ((2.0, 1.0, 0.0), 0.0, 0.0),  # a pool on idle CPUs
        ((2.0, 1.0, 6.0), 0.75, 0.75),  # a pool that waits
        ((1.0, 1.0, 3.0), 0.75, 0.0),  # one thread that waits
        ((0.0, 0.0, 0.0), 0.0, 0.0),
    ],
)
def test_the_share_that_threads_wait(used, share, of_several, monkeypatch):
    began = (5.0, 4.0, 3.0)
    ended = tuple(map(sum, zip(began, used)))
    times(monkeypatch, began, ended, ended, ended)
    waits = ThreadWaits()
    assert waits.share() == share
    assert waits.share_of_several() == of_several


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc and affinity")
def test_a_thread_beside_another_program_on_its_cpu_waits():
    before = os.sched_getaffinity(0)
    cpu = min(before)
    busy = subprocess.Popen(
        [sys.executable, "-c", f"import os; os.sched_setaffinity(0, {{{cpu}}})\nwhile True: pass"]
    )
    try:
        os.sched_setaffinity(0, {cpu})
        time.sleep(0.2)  # until it computes
        waits = ThreadWaits()
        until_s = time.monotonic() + 0.3
        while time.monotonic() < until_s:
            pass
        assert waits.share() > 0.1
        assert waits.share_of_several() == 0.0
    finally:
        os.sched_setaffinity(0, before)
        busy.kill()
        busy.wait()


def test_no_schedstat_is_no_waiting(monkeypatch, tmp_path):
    monkeypatch.setattr(threads, "Path", lambda _: tmp_path / "absent")
    assert ThreadWaits().share() == 0.0


def test_variables_for_libraries_that_load_later(monkeypatch):
    monkeypatch.setenv(VARIABLES[0], "7")
    monkeypatch.delenv(VARIABLES[1], raising=False)
    with pool_variables(1):
        assert [os.environ[name] for name in VARIABLES] == ["1"] * len(VARIABLES)
    assert os.environ[VARIABLES[0]] == "7" and VARIABLES[1] not in os.environ


@pytest.mark.parametrize("with_threadpoolctl", [True, False])
def test_loaded_pools(with_threadpoolctl, monkeypatch):
    limits = []
    torch = SimpleNamespace(set_num_threads=lambda count: limits.append(("torch", count)))
    ctl = SimpleNamespace(threadpool_limits=lambda limits: found.append(limits))
    found: list[int] = []
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "threadpoolctl", ctl if with_threadpoolctl else None)
    limit_loaded_pools(3)
    assert limits == [("torch", 3)]
    assert found == ([3] if with_threadpoolctl else [])
