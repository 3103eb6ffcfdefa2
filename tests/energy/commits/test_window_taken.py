"""A worker's window reaches the main process with its CPU seconds and the clocks of the GPU."""

import json
from types import SimpleNamespace

import pytest

from pytest_energy.commits.protocol import WindowTaken, from_json, to_json
from pytest_energy.commits.worker_process import Replicate
from pytest_energy.model import CpuSeconds, Domain, GpuClocks, MeterInfo, Window
from pytest_energy.plan import Plan

METER = MeterInfo("powercap", "measured", (Domain("package-0"),), 0.001, 6e-5)


@pytest.mark.parametrize("cpu", [None, CpuSeconds(0.075, -0.01)])
@pytest.mark.parametrize("gpu", [None, GpuClocks(True, 1410.0)])
def test_a_window_crosses_the_channel_as_it_was_taken(cpu, gpu):
    window = Window(0.1, {"package-0": 2.0}, 3, cpu, gpu)
    sent = WindowTaken(window.seconds, window.joules, window.calls, (), window.cpu, window.gpu)
    received = from_json(json.loads(json.dumps(to_json(sent))))
    worker = SimpleNamespace(ask=lambda *request: received)
    assert Replicate(worker, None, {}).window(3, METER, Plan()) == window
