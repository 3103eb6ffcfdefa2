"""The sampling thread when the code under test forks."""

import os
import subprocess
import sys
import threading
import time
import warnings

import pytest

from pytest_energy.meters.sampler import WattsIntegrator

FORKS = """
import os, sys, warnings
from pytest_energy.meters.sampler import WattsIntegrator
warnings.simplefilter("error")
integrators = [WattsIntegrator(lambda: [1.0], interval_s=0.001) for _ in range(2)]
for _ in range(20):
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_sampling_continues_after_a_fork():
    samples = []
    integrator = WattsIntegrator(lambda: samples.append(1) or [2.0], interval_s=0.001)
    began_s, before = integrator.joules()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # about other threads of this process
        child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    taken = len(samples)
    until_s = time.monotonic() + 10
    while len(samples) < taken + 5:
        assert time.monotonic() < until_s
        time.sleep(0.001)
    ended_s, after = integrator.joules()
    assert after[0] - before[0] == pytest.approx(2.0 * (ended_s - began_s))
    integrator.close()
    threads = {thread.name for thread in threading.enumerate()}
    assert "pytest-energy-sampler" not in threads


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Python warns from 3.12 on")
def test_a_fork_does_not_warn_of_the_sampler():
    subprocess.run([sys.executable, "-c", FORKS], check=True, timeout=60)
