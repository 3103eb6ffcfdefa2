"""The nvml meter with a fake driver, which the real nvidia-ml-py loads."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_energy.errors import MeterFailed, MeterUnavailable, OptionError
from pytest_energy.measuring.gpu_clocks import limits_in_blocks, limits_in_windows
from pytest_energy.measuring.window import take_window
from pytest_energy.meters import CombinedMeter, MeterSettings, info
from pytest_energy.meters.nvml import INSTALL_REMEDY, open_nvml
from pytest_energy.meters.sampler import (
    DEFAULT_UPDATE_INTERVAL_S,
    SAMPLING_INTERVAL_S,
    WattsIntegrator,
)
from pytest_energy.model import Block, GpuClocks, Window
from pytest_energy.plan import Plan
from tests.energy.rigs import fake_nvml
from tests.energy.rigs.clock_meter import ClockMeter
from tests.energy.rigs.fake_nvml import FakeNvml, NoCompiler, build_library
from tests.energy.rigs.real_time import bounded_window, undisturbed

pytest.importorskip(
    "pynvml", reason='nvidia-ml-py is not installed: pip install "pytest-energy[nvml]"'
)


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    try:
        return build_library(tmp_path_factory.mktemp("fake_nvml"))
    except NoCompiler as error:
        pytest.skip(str(error))


@pytest.fixture
def driver(library, tmp_path):
    """A function that starts a fake driver in this process, with FakeNvml's options."""
    drivers = []

    def start(**options) -> FakeNvml:
        drivers.append(FakeNvml(library, tmp_path, **options).__enter__())
        return drivers[-1]

    yield start
    for each in drivers:
        each.__exit__()


def open_meter(argument: str | None = None):
    return open_nvml(MeterSettings(), argument)


def test_the_counter_is_read_as_joules(driver):
    driver(watts=250.0)
    with open_meter() as meter:
        assert info(meter).provenance == "measured"
        assert [d.name for d in meter.domains] == ["gpu-0"]
        assert meter.resolution_joules == 0.001
        assert meter.read().joules["gpu-0"] == pytest.approx(
            1000 + 250 * 10, rel=0.1
        )  # ten seconds since the driver started
        bounded = bounded_window(meter, 0.5)
    bounded.assert_joules(bounded.window.joules["gpu-0"], 250, late_s=0.02)


@pytest.mark.parametrize(
    "update_interval_s, jitter_s",
    [(0.02, 0.0), (0.02, 0.004), (0.05, 0.0), (0.1, 0.0), (0.1, 0.01)],
)
def test_the_update_interval_is_found_by_watching(driver, update_interval_s, jitter_s):
    driver(update_interval_s=update_interval_s, jitter_s=jitter_s)

    @undisturbed
    def check():
        started_s = time.perf_counter()
        with open_meter() as meter:
            assert time.perf_counter() - started_s < 0.7
            assert meter.update_interval_s == pytest.approx(update_interval_s, abs=0.005 + jitter_s)
            assert meter.notes == ()


def test_every_gpu_is_a_domain_and_is_watched_at_once(driver):
    nvml = driver(gpus=3)
    nvml.gpus[0].update_interval_s = 0.1
    nvml.gpus[1].set_watts(40.0)

    @undisturbed
    def check():
        started_s = time.perf_counter()
        with open_meter() as meter:
            assert time.perf_counter() - started_s < 0.7
            assert [d.name for d in meter.domains] == ["gpu-0", "gpu-1", "gpu-2"]
            assert meter.update_interval_s == pytest.approx(0.1, abs=0.005)

    with open_meter() as meter:
        bounded = bounded_window(meter, 0.4)
    bounded.assert_joules(bounded.window.joules["gpu-1"], 40, late_s=0.02)
    bounded.assert_joules(bounded.window.joules["gpu-2"], 100, late_s=0.02)


def test_gpus_are_picked_with_plus_signs(driver):
    driver(gpus=3)
    with open_meter("0+2") as meter:
        assert sorted(meter.read().joules) == ["gpu-0", "gpu-2"]


@pytest.mark.parametrize("argument", ["x", "0+", "-1", "0+0", "0-2"])
def test_an_invalid_list_of_gpus(argument):
    with pytest.raises(OptionError, match=r"as in nvml:0\+2"):
        open_meter(argument)


def test_a_missing_gpu(driver):
    driver(gpus=2)
    with pytest.raises(MeterUnavailable, match="there is no GPU 2; this machine has 0 to 1"):
        open_meter("0+2")


# CUDA_VISIBLE_DEVICES, with GPUs 0 to 3 of the fake driver.
NUMBERS = [("2", [2]), ("3,0", [0, 3]), ("1,-1,3", [1]), ("2,9,0", [2]), (" 1 , 2 ", [1, 2])]
UUIDS = [
    ("GPU-2222abcd-0000-4000-8000-000000000002", [2]),
    ("GPU-33,GPU-0", [0, 3]),
    ("gpu-11", None),  # CUDA accepts the prefix in capitals only
    ("GPU-11,GPU-9,GPU-2", [1]),
    ("GPU-2,1", [2]),
    ("MIG-31e5c0de-0000-5000-8000-000000000003", [3]),
    ("MIG-GPU-1111abcd-0000-4000-8000-000000000001/7/0", [1]),
]
HIDDEN = ["", "-1", "NoDevFiles", "4", "1,1", "GPU-", "GPU-1,GPU-11", "GPU-9", "MIG-none", "x,0"]


@pytest.mark.parametrize(
    ("wanted", "indices"), [*NUMBERS, *UUIDS, *((hidden, None) for hidden in HIDDEN)]
)
def test_gpus_visible_to_cuda_count(driver, monkeypatch, wanted, indices):
    for number, gpu in enumerate(driver(gpus=4).gpus):
        gpu.name = f"card {number}".encode()  # unequal GPUs in bus order
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", wanted)
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    if indices is None:
        with pytest.raises(MeterUnavailable, match="leaves no GPU visible"):
            open_meter()
        return
    with open_meter() as meter:
        assert [d.name for d in meter.domains] == [f"gpu-{index}" for index in indices]
        assert f"CUDA_VISIBLE_DEVICES={wanted} makes only" in meter.notes[0]


def test_a_numbered_gpu_counts_even_if_cuda_sees_none(driver, monkeypatch):
    driver()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    open_meter("0").close()


def unequal(driver):
    nvml = driver(gpus=3)
    for gpu, name in zip(nvml.gpus, (b"T400", b"NVIDIA A100", b"NVIDIA A100"), strict=True):
        gpu.name = name
    return nvml


@pytest.mark.parametrize("order", [None, "FASTEST_FIRST"])
def test_numbers_on_unequal_gpus_are_refused(driver, monkeypatch, order):
    unequal(driver)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    if order:
        monkeypatch.setenv("CUDA_DEVICE_ORDER", order)
    with pytest.raises(OptionError, match="gpu-0 T400.*CUDA_DEVICE_ORDER=PCI_BUS_ID"):
        open_meter()


@pytest.mark.parametrize(
    ("wanted", "order", "domains"),
    [
        ("2,1,0", None, ["gpu-0", "gpu-1", "gpu-2"]),  # all of them, in any order
        ("1", "PCI_BUS_ID", ["gpu-1"]),
        ("GPU-2", None, ["gpu-2"]),
    ],
)
def test_unambiguous_numbers_of_unequal_gpus(driver, monkeypatch, wanted, order, domains):
    unequal(driver)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", wanted)
    if order:
        monkeypatch.setenv("CUDA_DEVICE_ORDER", order)
    with open_meter() as meter:
        assert [d.name for d in meter.domains] == domains


class Torch:
    """The part of torch that names GPUs. Its UUIDs have no prefix, unlike NVML's."""

    class cuda:
        uuids = ("1111abcd-0000-4000-8000-000000000001", "2222abcd-0000-4000-8000-000000000002")
        initialized = True

        @classmethod
        def is_initialized(cls):
            return cls.initialized

        @classmethod
        def device_count(cls):
            return len(cls.uuids)

        @classmethod
        def get_device_properties(cls, index):
            return type("Properties", (), {"uuid": cls.uuids[index]})


def test_torch_with_cuda_in_use_identifies_the_gpus(driver, monkeypatch):
    unequal(driver)
    monkeypatch.setitem(sys.modules, "torch", Torch)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with open_meter() as meter:
        assert [d.name for d in meter.domains] == ["gpu-1", "gpu-2"]


def test_torch_without_cuda_in_use_is_not_queried(driver, monkeypatch):
    unequal(driver)
    monkeypatch.setattr(Torch.cuda, "initialized", False)
    monkeypatch.setitem(sys.modules, "torch", Torch)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(OptionError, match="it is unknown which are meant"):
        open_meter()


def test_without_an_energy_counter_power_is_sampled_with_a_note(driver):
    nvml = driver(watts=100.0)
    nvml.gpus[0].energy_error = fake_nvml.NOT_SUPPORTED
    with open_meter() as meter:
        assert "Fake GPU 0) has no energy counter (Not Supported)" in meter.notes[0]
        assert f"power sampled every {SAMPLING_INTERVAL_S * 1000:g} ms" in meter.notes[1]

        @undisturbed
        def check():
            now_s = time.perf_counter()
            for i in range(1, 6):  # a square wave, 100 ms each
                nvml.gpus[0].set_watts(300.0 if i % 2 else 100.0, now_s + 0.1 * i)
            before = meter.read()
            time.sleep(0.6)
            after = meter.read()
            truth = nvml.gpus[0].joules_between(before.at_s, after.at_s)
            # Each of five edges of 200 W may be late by half a sampling interval: 10 J of 120.
            assert after.joules["gpu-0"] - before.joules["gpu-0"] == pytest.approx(truth, rel=0.1)


def test_sampled_windows_of_any_length_are_never_zero(driver):
    driver(watts=100.0).gpus[0].energy_error = fake_nvml.NOT_SUPPORTED
    with open_meter() as meter:
        for _ in range(50):
            bounded = bounded_window(meter, 0.001)
            bounded.assert_joules(bounded.window.joules["gpu-0"], 100)


def test_an_unreadable_gpu_is_named_and_the_others_count(driver):
    nvml = driver(gpus=2)
    nvml.gpus[1].energy_error = nvml.gpus[1].power_error = fake_nvml.NOT_SUPPORTED
    with open_meter() as meter:
        assert [d.name for d in meter.domains] == ["gpu-0"]
        assert (
            "gpu-1 (Fake GPU 1) gives neither energy (Not Supported) nor power (Not Supported): "
            "it is left out"
        ) in meter.notes[0]
    with pytest.raises(MeterUnavailable, match=r"gpu-1 \(Fake GPU 1\) gives neither"):
        open_meter("0+1")


def test_no_readable_gpu(driver):
    gpu = driver().gpus[0]
    gpu.energy_error = gpu.power_error = fake_nvml.NOT_SUPPORTED
    with pytest.raises(MeterUnavailable, match="Not Supported.*MIG instance") as raised:
        open_meter()
    assert raised.value.remedy


def test_mig_is_named(driver):
    driver().gpus[0].mig_mode = 1
    with open_meter() as meter:
        assert meter.notes == (
            (
                "nvml: gpu-0 (Fake GPU 0) is in MIG mode: the joules are the whole GPU's, "
                "all its instances together"
            ),
        )


def test_power_is_sampled_if_the_counter_stands_still(driver):
    driver(watts=80.0, update_interval_s=1e9)
    with open_meter() as meter:
        assert "stood still for 0.5 s while it drew power" in meter.notes[0]
        bounded = bounded_window(meter, 0.1)
    bounded.assert_joules(bounded.window.joules["gpu-0"], 80)


def test_a_sleeping_counter_gets_the_default_interval_and_a_note(driver):
    driver(watts=0.0)
    with open_meter() as meter:
        assert meter.update_interval_s == DEFAULT_UPDATE_INTERVAL_S
        assert "an update interval of 100 ms is assumed" in meter.notes[0]


def test_a_counter_slower_than_the_watch(driver):
    nvml = driver(watts=100.0, update_interval_s=0.45)

    @undisturbed
    def check():
        # With this origin, the meter sees exactly one tick while it watches.
        nvml.gpus[0].origin_s = time.perf_counter() - 0.45 * 100 - 0.2
        with open_meter() as meter:
            assert meter.update_interval_s == 0.5
            assert "less often than every 0.25 s" in meter.notes[0]


@pytest.mark.parametrize(
    "error, reason, remedy",
    [
        (fake_nvml.DRIVER_NOT_LOADED, "Driver Not Loaded", "nvidia-smi"),
        (fake_nvml.NO_PERMISSION, "Insufficient Permissions", "/dev/nvidiactl"),
        (fake_nvml.LIB_RM_VERSION_MISMATCH, "version mismatch", "reboot"),
    ],
)
def test_nvml_does_not_start(driver, error, reason, remedy):
    driver().state.init_error = error
    with pytest.raises(MeterUnavailable) as raised:
        open_meter()
    assert reason in raised.value.reason
    assert remedy in raised.value.remedy


def test_a_driver_without_a_gpu(driver):
    driver(gpus=0)
    with pytest.raises(MeterUnavailable, match="lists no GPU"):
        open_meter()


def test_a_gpu_without_permission_is_named(driver):
    driver(gpus=2).gpus[1].handle_error = fake_nvml.NO_PERMISSION
    with pytest.raises(
        MeterUnavailable, match="gpu-1 cannot be opened: Insufficient Permissions.*/dev/nvidia"
    ):
        open_meter()
    open_meter("0").close()


def test_the_driver_vanishes_between_two_reads(driver):
    nvml = driver()
    with open_meter() as meter:
        meter.read()
        nvml.state.any_error = fake_nvml.GPU_IS_LOST
        with pytest.raises(
            MeterFailed,
            match=r"gpu-0 \(Fake GPU 0\): reading its energy counter failed: GPU is lost",
        ):
            meter.read()


def test_after_a_failed_sample_one_window_is_void_and_the_next_is_valid(driver):
    nvml = driver(watts=60.0)
    nvml.gpus[0].energy_error = fake_nvml.NOT_SUPPORTED
    with open_meter() as meter:
        nvml.gpus[0].power_error = fake_nvml.GPU_IS_LOST
        deadline_s = time.perf_counter() + 20
        while meter._integrator._failure is None and time.perf_counter() < deadline_s:
            time.sleep(SAMPLING_INTERVAL_S)
        nvml.gpus[0].power_error = 0
        with pytest.raises(MeterFailed, match="gpu-0 .* reading its power failed: GPU is lost"):
            meter.read()
        bounded = bounded_window(meter, 0.1)
    bounded.assert_joules(bounded.window.joules["gpu-0"], 60)


@pytest.mark.parametrize(
    ("step_j", "match"), [(-700.0, "went back .* driver was reloaded"), (1e9, "more than 50000 W")]
)
def test_a_bad_step_voids_its_window_and_the_next_is_valid(driver, step_j, match):
    nvml = driver(gpus=2, watts=200.0)
    with open_meter() as meter:
        meter.read()
        nvml.gpus[1].joules_at_origin += step_j
        with pytest.raises(MeterFailed, match=match):
            meter.read()
        bounded = bounded_window(meter, 0.3)
    for joules in bounded.window.joules.values():
        bounded.assert_joules(joules, 200, late_s=0.02)


def test_an_impossible_power_is_refused_at_opening(driver):
    gpu = driver(watts=4e6).gpus[0]  # a driver with the wrong unit
    gpu.energy_error = fake_nvml.NOT_SUPPORTED
    with pytest.raises(MeterUnavailable, match="reports 4e.06 W; a device draws 0 to 50000 W"):
        open_meter()


def test_closing_twice_and_reading_afterwards(driver):
    nvml = driver()
    meter = open_meter()
    assert nvml.state.starts == 1
    meter.close()
    meter.close()
    assert nvml.state.starts == 0
    with pytest.raises(MeterFailed, match="closed"):
        meter.read()


def test_a_failed_open_shuts_nvml_down(driver):
    nvml = driver(gpus=0)
    with pytest.raises(MeterUnavailable):
        open_meter()
    assert nvml.state.starts == 0


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.delitem(sys.modules, "pynvml")
    monkeypatch.setattr(sys, "meta_path", [_NoPynvml(), *sys.meta_path])
    with pytest.raises(MeterUnavailable) as raised:
        open_meter()
    assert raised.value.remedy == INSTALL_REMEDY


class _NoPynvml:
    def find_spec(self, name, path=None, target=None):
        if name == "pynvml":
            raise ModuleNotFoundError("No module named 'pynvml'", name="pynvml")


def run_python(code: str, environment: dict[str, str]) -> str:
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True, timeout=30
    ).stdout


def test_another_process_finds_the_library_by_its_name(library, tmp_path):
    """Without patches, nvidia-ml-py finds the library as it finds the driver's."""
    nvml = FakeNvml(library, tmp_path, watts=70.0)
    environment = nvml.environment()
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    environment["PYTHONPATH"] = ":".join(path for path in sys.path if path)
    out = run_python(
        """
        import sys, time
        import pytest_energy.meters.nvml
        assert "pynvml" not in sys.modules, "loaded before use"
        from pytest_energy.meters import MeterSettings
        with pytest_energy.meters.nvml.open_nvml(MeterSettings(), None) as meter:
            from_s, before, until_s = time.perf_counter(), meter.read(), time.perf_counter()
            time.sleep(0.3)
            resumed_s, after, end_s = time.perf_counter(), meter.read(), time.perf_counter()
        joules = after.joules["gpu-0"] - before.joules["gpu-0"]
        print(70 * (resumed_s - until_s - 0.02), joules, 70 * (end_s - from_s + 0.02))
        """,
        environment,
    )
    least, joules, most = map(float, out.split())
    assert least <= joules <= most  # of 70 W; each reading may be an update interval old


def test_no_library_names_the_driver(tmp_path):
    import ctypes.util

    if ctypes.util.find_library("nvidia-ml"):
        pytest.skip("this machine has the NVIDIA driver's library")
    with pytest.raises(
        MeterUnavailable,
        match="NVML Shared Library Not Found; libnvidia-ml.so.1 comes with the driver",
    ):
        open_meter()


@settings(max_examples=50, deadline=None)
@given(watts=st.lists(st.floats(0, 1000), min_size=1, max_size=20))
def test_the_trapezoid_lies_between_the_least_and_the_most_watts(watts):
    samples = iter([*watts, *[watts[-1]] * 1000])
    integrator = WattsIntegrator(lambda: [next(samples)], interval_s=60.0)
    try:
        start_s, joules = integrator.joules()
        for _ in watts:
            end_s, after = integrator.joules()
        assert min(watts) * (end_s - start_s) <= (after[0] - joules[0]) * (1 + 1e-9) + 1e-12
        assert (after[0] - joules[0]) <= max(watts) * (end_s - start_s) * (1 + 1e-9) + 1e-12
    finally:
        integrator.close()


@settings(max_examples=30, deadline=None)
@given(fails_at=st.integers(1, 10), reads=st.integers(1, 15))
def test_a_failed_sample_voids_one_window_only(fails_at, reads):
    count = 0

    def read_watts():
        nonlocal count
        count += 1
        if count == fails_at + 1:  # the integrator takes the first
            raise MeterFailed("gone")
        return [1.0]

    integrator = WattsIntegrator(read_watts, interval_s=60.0)
    try:
        for i in range(1, reads + 1):
            if i != fails_at:
                integrator.joules()
            else:
                with pytest.raises(MeterFailed, match="gone"):
                    integrator.joules()
    finally:
        integrator.close()


def test_a_late_sampler_reports_its_longest_gap():
    integrator = WattsIntegrator(lambda: [1.0], interval_s=0.001)
    with integrator._lock:
        time.sleep(0.05)
    integrator.joules()
    integrator.close()
    assert integrator.held_up
    assert integrator.longest_gap_s >= 0.05


POWER_CAP, HEAT, IDLE, APPLICATION_CLOCKS = 0x4, 0x20, 0x1, 0x2


def hold_down(gpu, power_ns=0, thermal_ns=0, reasons=0):
    """Code in which a limit lowers the clock of the GPU."""

    def work():
        gpu.power_ns += power_ns
        gpu.thermal_ns += thermal_ns
        gpu.reasons = reasons

    return work


@pytest.mark.parametrize(
    ("effect", "limited"),
    [
        ({}, False),
        ({"power_ns": 1_000_000}, True),
        ({"thermal_ns": 1_000_000}, True),
        ({"reasons": POWER_CAP}, True),
        ({"reasons": HEAT | IDLE}, True),
        ({"reasons": IDLE | APPLICATION_CLOCKS}, False),
    ],
)
def test_a_window_shows_whether_a_limit_lowered_the_clock(driver, effect, limited):
    nvml = driver(gpus=2)
    nvml.gpus[1].mhz = 900
    with open_meter() as meter:
        window = take_window(meter, hold_down(nvml.gpus[1], **effect), 1, Plan())
    assert window.gpu == (limited, 900.0)
    assert window.cpu is None


@pytest.mark.parametrize("field", ["reasons_error", "violation_error"])
def test_one_of_the_two_reports_of_limits_suffices(driver, field):
    nvml = driver()
    setattr(nvml.gpus[0], field, fake_nvml.NOT_SUPPORTED)
    work = hold_down(nvml.gpus[0], power_ns=10**6, reasons=POWER_CAP)
    with open_meter() as meter:
        assert take_window(meter, work, 1, Plan()).gpu.limited


def test_a_gpu_without_clocks_has_windows_without_them(driver):
    nvml = driver()
    nvml.gpus[0].clock_error = fake_nvml.NOT_SUPPORTED
    with open_meter() as meter:
        assert take_window(meter, int, 1, Plan()).gpu is None


def test_a_package_and_a_gpu_have_both_conditions(driver):
    driver()
    package = ClockMeter()
    package.counts_other_processes = True
    with CombinedMeter([package, open_meter()]) as meter:
        window = take_window(meter, int, 1, Plan())
    assert window.gpu == (False, 1410.0)
    assert window.cpu is not None or not os.path.exists("/proc/stat")


def of_clocks(baseline, candidate):
    """A block whose sides have these (limited, MHz)."""
    a, b = (window_of_1_s._replace(gpu=GpuClocks(*clocks)) for clocks in (baseline, candidate))
    return Block("ABBA", (a, b, b, a))


window_of_1_s = Window(1.0, {"gpu-0": 1.0}, 1)


def test_a_cap_that_one_side_hits_is_a_warning_with_the_share_of_its_windows():
    blocks = [of_clocks((False, 1410), (n % 4 != 0, 1230)) for n in range(8)]
    (warning,) = limits_in_blocks(blocks)
    assert "in 0% of the baseline's windows (1410 MHz)" in warning
    assert "in 75% of the candidate's (1230 MHz)" in warning


def test_rare_limits_and_windows_without_clocks_have_no_warning():
    rare = [of_clocks((False, 1410), (n == 0, 1410)) for n in range(30)]
    assert not list(limits_in_blocks(rare))
    assert not list(limits_in_blocks([Block("ABBA", (window_of_1_s,) * 4)]))
    assert not list(limits_in_windows([window_of_1_s]))


def test_a_measurement_beyond_the_cap_has_a_warning():
    windows = [window_of_1_s._replace(gpu=GpuClocks(True, 1005.0))] * 3
    (warning,) = limits_in_windows(windows)
    assert "lowered the GPU's clock in 100% of the windows (1005 MHz)" in warning
