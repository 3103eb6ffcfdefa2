"""Windows on a GPU counter that updates every 100 ms, through the real nvidia-ml-py.

No window reads zero, and windows of a second or more are within 2 %.
"""

from __future__ import annotations

import time

import pytest

from pytest_energy import figures
from pytest_energy.measuring.single import find_warnings, measure
from pytest_energy.measuring.window import aligned_window, plain_window
from pytest_energy.meters import MeterSettings, info
from pytest_energy.meters.nvml import open_nvml
from pytest_energy.model import Measurement
from pytest_energy.plan import Plan
from tests.energy.rigs.fake_nvml import FakeNvml, NoCompiler, build_library
from tests.energy.rigs.real_time import undisturbed

pytest.importorskip(
    "pynvml", reason='nvidia-ml-py is not installed: pip install "pytest-energy[nvml]"'
)

UPDATE_S = 0.1
ACCURACY = 0.02  # for windows of a second or more, made of 10 ms calls
CALL_S = 0.01


@pytest.fixture
def gpu(tmp_path, tmp_path_factory):
    """One fake GPU. Its counter updates every 100 ms; it draws 300 W for half of each 70 ms."""
    try:
        library = build_library(tmp_path_factory.mktemp("fake_nvml"))
    except NoCompiler as error:
        pytest.skip(str(error))
    with FakeNvml(library, tmp_path, watts=60.0, update_interval_s=UPDATE_S) as nvml:
        now_s = time.perf_counter()
        for period in range(1000):
            nvml.gpus[0].set_watts(300.0, now_s + period * 0.07)
            nvml.gpus[0].set_watts(60.0, now_s + period * 0.07 + 0.035)
        yield nvml.gpus[0]


@pytest.fixture
def meter(gpu):
    with open_nvml(MeterSettings(), None) as opened:
        yield opened


def busy(seconds: float) -> None:
    """A call that takes ``seconds`` without sleeping, so it ends on time on a busy machine too."""
    until_s = time.perf_counter() + seconds
    while time.perf_counter() < until_s:
        pass


class Watched:
    """A meter that keeps its readings: they give the window's edges, to compare with the rig."""

    def __init__(self, meter):
        self._meter = meter
        self.readings = []

    def __getattr__(self, name):
        return getattr(self._meter, name)

    def read(self):
        self.readings.append(self._meter.read())
        return self.readings[-1]


def edges(watched: Watched, window) -> tuple[float, float]:
    end_s = watched.readings[-1].at_s
    return end_s - window.seconds, end_s


@pytest.mark.parametrize("wanted_s", [0.005, 0.05, 0.25])
def test_no_window_reads_zero(gpu, meter, wanted_s):
    """Unaligned, 19 of 20 of the shortest windows read 0. studies/nvml_windows.py has up to 5 s."""
    call_s = min(wanted_s, CALL_S)
    for _ in range(2):
        window = aligned_window(meter, lambda: busy(call_s), round(wanted_s / call_s), None)
        assert window.joules["gpu-0"] > 0
        assert 60 * 0.8 < window.joules["gpu-0"] / window.seconds < 300 * 1.2


def test_a_second_of_short_calls_is_within_two_per_cent(gpu, meter):
    """The best of ten: another process that takes the CPU at a tick makes a window late."""
    errors = []
    for _ in range(10):
        watched = Watched(meter)
        window = aligned_window(watched, lambda: busy(CALL_S), round(1 / CALL_S), None)
        truth = gpu.joules_between(*edges(watched, window))
        errors.append(abs(window.joules["gpu-0"] / truth - 1))
        if errors[-1] <= ACCURACY:
            return
    pytest.fail(f"the errors of the windows were {', '.join(f'{error:.1%}' for error in errors)}")


@pytest.mark.slow
def test_a_measurement_reports_the_true_joules(meter):
    """The GPU draws 180 W on average, so 1.8 J per call of 10 ms."""

    @undisturbed
    def check():
        measurement = measure(busy, CALL_S, meter=meter, plan=Plan(max_time_s=1.5))
        seen = figures(measurement)
        assert all(window.joules["gpu-0"] > 0 for window in measurement.windows)
        assert seen.watts.value == pytest.approx(180.0, rel=0.1)
        assert seen.joules.value == pytest.approx(180.0 * seen.seconds.value, rel=0.1)


def test_a_prepared_call_has_no_joules_and_a_warning(meter):
    """A prepared call cannot repeat until a tick. Most windows of 5 ms see none: not 0 J."""
    windows = tuple(plain_window(meter, lambda: busy(0.005), 1, None) for _ in range(8))
    assert figures(Measurement("alone", info(meter), windows)).joules is None
    assert any("did not move in" in warning for warning in find_warnings(meter, windows, Plan()))
