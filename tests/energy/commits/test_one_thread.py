"""Which code is one thread's work, and may be pinned to one CPU."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pytest_energy.commits import worker
from pytest_energy.commits.worker import _OneThread

WORK_S = 0.05


def compute():
    began_s = time.thread_time()
    while time.thread_time() - began_s < WORK_S:
        pass


def seen(call):
    with _OneThread() as one_thread:
        call()
    return one_thread.seen


def test_a_computing_thread_is_one_threads_work():
    assert seen(compute)


def test_another_threads_or_childs_work_is_not():
    with ThreadPoolExecutor(1) as pool:
        assert not seen(lambda: pool.submit(compute).result())
    child = [sys.executable, "-c", "sum(range(10**6))"]
    assert not seen(lambda: subprocess.run(child, check=True))


@pytest.mark.skipif(not Path("/proc/thread-self/schedstat").exists(), reason="Linux tells it")
def test_waiting_for_a_cpu_counts_as_running(monkeypatch):
    """A thread with a fifth of a CPU that waits for it the rest of the time is one thread's."""
    clocks = iter([(0.0, 0.0, 0.0, 5.0), (1.0, 0.2, 0.2, 5.7)])
    monkeypatch.setattr(_OneThread, "_clocks", staticmethod(lambda: next(clocks)))
    assert seen(lambda: None)
    clocks = iter([(0.0, 0.0, 0.0, 5.0), (1.0, 0.3, 0.3, 5.1)])
    assert not seen(lambda: None)
    assert worker._waited_for_cpu_s() >= 0
