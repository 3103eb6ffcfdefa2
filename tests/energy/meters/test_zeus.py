"""The bridge to zeus, with a stand-in for zeus 0.16 and, if it is installed, with zeus."""

from __future__ import annotations

import queue
import sys
import time
from dataclasses import dataclass
from types import ModuleType

import pytest

from pytest_energy.errors import MeterFailed, MeterUnavailable, OptionError
from pytest_energy.meters import MeterSettings, info
from pytest_energy.meters.zeus import INSTALL_REMEDY, SOC_FIELDS, open_zeus
from tests.energy.rigs.real_time import bounded_window, undisturbed


class ZeusBaseError(Exception):
    pass


class ZeusSoCInitError(ZeusBaseError):
    pass


@dataclass
class AppleMeasurement:
    cpu_total_mj: int | None = None
    efficiency_cores_mj: list[int] | None = None
    dram_mj: int | None = None
    gpu_mj: int | None = None
    gpu_sram_mj: int | None = None
    ane_mj: int | None = None


@dataclass
class JetsonMeasurement:
    cpu_energy_mj: float | None = None
    gpu_energy_mj: float | None = None
    total_energy_mj: float | None = None


class Apple:
    """Draws 5 W in its CPU and 2 W in its DRAM; its ANE is idle and its GPU SRAM has no counter."""

    error: Exception | None = None

    def get_total_energy_consumption(self) -> AppleMeasurement:
        if self.error:
            raise self.error
        now_s = time.perf_counter()
        return AppleMeasurement(int(5000 * now_s), [1, 2], int(2000 * now_s), 0, None, 0)


class Jetson:
    total = True

    def get_total_energy_consumption(self) -> JetsonMeasurement:
        now_s = time.perf_counter()
        return JetsonMeasurement(2000 * now_s, 3000 * now_s, 9000 * now_s if self.total else None)


class AmdGpu:
    """Draws 150 W."""

    def __init__(
        self, gpu_index: int, energy: bool = True, average: bool = True, instant: bool = True
    ):
        self.gpu_index = gpu_index
        self.energy, self.average, self.instant = energy, average, instant

    def get_name(self) -> str:
        return "AMD Instinct"

    def supports_get_total_energy_consumption(self) -> bool:
        return self.energy

    def get_total_energy_consumption(self) -> int:
        return int(150_000 * time.perf_counter())

    def get_average_power_usage(self) -> int:
        return self._power(self.average)

    def get_instant_power_usage(self) -> int:
        return self._power(self.instant)

    def _power(self, there: bool) -> int:
        if not there:
            raise ZeusBaseError("not supported")
        return 150_000


@pytest.fixture
def zeus(monkeypatch):
    """A function that replaces zeus. Its arguments are the chip and the GPUs to find."""

    def install(soc=None, amd=()):
        def get_soc():
            if soc is None:
                raise ZeusSoCInitError("No observable SoC was found on the current machine.")
            return soc

        modules = {
            name: ModuleType(name)
            for name in (
                "zeus",
                "zeus.exception",
                "zeus.device",
                "zeus.device.soc",
                "zeus.device.gpu",
            )
        }
        modules["zeus.exception"].ZeusBaseError = ZeusBaseError
        modules["zeus.device.soc"].get_soc = get_soc
        modules["zeus.device.gpu"].amdsmi_is_available = lambda: bool(amd)
        modules["zeus.device.gpu"].AMDGPUs = type("AMDGPUs", (), {"gpus": list(amd)})
        for name, module in modules.items():
            monkeypatch.setitem(sys.modules, name, module)

    return install


def open_meter(argument: str | None = None):
    return open_zeus(MeterSettings(), argument)


def test_apple_silicon(zeus):
    zeus(Apple())
    with open_meter() as meter:
        assert [d.name for d in meter.domains] == [
            "apple-cpu",
            "apple-dram",
            "apple-gpu",
            "apple-ane",
        ]
        bounded = bounded_window(meter, 0.2)
        # The stand-in counts whole millijoules, so a domain of 2 W may be 0.5 ms late.
        total = info(meter).total_joules(bounded.window.joules)
        bounded.assert_joules(total, 7, late_s=0.001)

    @undisturbed
    def check():
        with open_meter() as meter:
            assert meter.update_interval_s < 0.01


def test_jetson_counts_its_total_once(zeus):
    zeus(Jetson())
    with open_meter("soc") as meter:
        assert {d.name: d.parent for d in meter.domains} == {
            "jetson-total": None,
            "jetson-cpu": "jetson-total",
            "jetson-gpu": "jetson-total",
        }
        assert meter.update_interval_s == 0.1
        assert meter.notes == ("zeus: a Jetson's joules are power sampled every 100 ms",)
        bounded = bounded_window(meter, 0.1)
        bounded.assert_joules(info(meter).total_joules(bounded.window.joules), 9, late_s=0.001)


def test_a_jetson_without_a_total_adds_up_its_rails(zeus):
    soc = Jetson()
    soc.total = False
    zeus(soc)
    with open_meter() as meter:
        bounded = bounded_window(meter, 0.05)
        bounded.assert_joules(info(meter).total_joules(bounded.window.joules), 5, late_s=0.001)


def test_amd_gpus_are_counted_sampled_or_named(zeus):
    zeus(
        amd=[
            AmdGpu(0),
            AmdGpu(1, energy=False, average=False),
            AmdGpu(3, energy=False, average=False, instant=False),
        ]
    )
    with open_meter() as meter:
        assert [d.name for d in meter.domains] == ["amd-gpu-0", "amd-gpu-1"]
        assert any(
            "amd-gpu-3 (AMD Instinct) gives neither energy nor power: it is left out" in note
            for note in meter.notes
        )
        assert any(
            "amd-gpu-1: joules are power sampled every 20 ms" in note for note in meter.notes
        )
        bounded = bounded_window(meter, 0.1)
    bounded.assert_joules(bounded.window.joules["amd-gpu-0"], 150, late_s=0.001)
    bounded.assert_joules(bounded.window.joules["amd-gpu-1"], 150, late_s=0.001)


def test_a_chip_and_gpus_and_one_of_them_by_name(zeus):
    zeus(Apple(), [AmdGpu(0)])
    with open_meter() as meter:
        assert {"apple-cpu", "amd-gpu-0"} < set(meter.read().joules)
    with open_meter("amd") as meter:
        assert set(meter.read().joules) == {"amd-gpu-0"}
    with pytest.raises(OptionError, match="use zeus:soc or zeus:amd"):
        open_meter("nvidia")


def test_zeus_finds_nothing(zeus):
    zeus()
    with pytest.raises(
        MeterUnavailable, match="No observable SoC was found.*amdsmi finds no AMD GPU"
    ):
        open_meter()


def test_an_unreadable_gpu_is_unavailable(zeus):
    zeus(amd=[AmdGpu(1, energy=False, average=False, instant=False)])
    with pytest.raises(MeterUnavailable, match="amd-gpu-1 .* gives neither energy nor power"):
        open_meter("amd")


@pytest.mark.parametrize(
    "error", [ZeusBaseError("gone"), RuntimeError("gone"), queue.Empty(), OSError(19, "gone")]
)
def test_a_read_that_fails_voids_the_window(zeus, error):
    soc = Apple()
    zeus(soc)
    with open_meter() as meter:
        soc.error = error
        with pytest.raises(MeterFailed, match="zeus failed to read its counters: .*(gone|Empty)"):
            meter.read()


def test_closing_twice_and_reading_afterwards(zeus):
    zeus(Apple())
    meter = open_meter()
    meter.close()
    meter.close()
    with pytest.raises(MeterFailed, match="closed"):
        meter.read()


class _Missing:
    """An import finder that reports one package as not installed."""

    def __init__(self, missing: str):
        self._missing = missing

    def find_spec(self, name, path=None, target=None):
        if name == self._missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_without_zeus(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "zeus"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [_Missing("zeus"), *sys.meta_path])
    with pytest.raises(MeterUnavailable, match="the package zeus is not installed") as raised:
        open_meter()
    assert raised.value.remedy == INSTALL_REMEDY


def test_another_package_called_zeus(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "zeus"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "zeus", ModuleType("zeus"))
    with pytest.raises(MeterUnavailable, match="a different one, or older than 0.16"):
        open_meter()


def test_the_real_zeus_has_what_the_bridge_uses():
    pytest.importorskip(
        "zeus.device", reason="zeus is not installed; the stand-in has the interface of zeus 0.16"
    )
    from zeus.device import gpu, soc
    from zeus.device.gpu.amd import AMDGPU
    from zeus.device.soc.apple import AppleSiliconMeasurement
    from zeus.device.soc.jetson import JetsonMeasurement as RealJetson
    from zeus.exception import ZeusBaseError as RealBaseError

    fields = {*AppleSiliconMeasurement.__dataclass_fields__, *RealJetson.__dataclass_fields__}
    assert set(SOC_FIELDS) <= fields
    assert issubclass(soc.ZeusSoCInitError, RealBaseError)
    for name in (name for name in vars(AmdGpu) if name.startswith(("get_", "supports_"))):
        assert callable(getattr(AMDGPU, name))
    assert isinstance(gpu.AMDGPUs.gpus, property)
    try:
        with open_meter() as meter:
            assert meter.read().joules
    except MeterUnavailable as unavailable:
        assert unavailable.remedy
