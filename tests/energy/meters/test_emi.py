"""Windows's Energy Meter Interface, with a stand-in for the calls of Windows."""

import ctypes
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_energy.errors import MeterFailed, MeterUnavailable
from pytest_energy.meters import MeterSettings, emi_windows
from pytest_energy.meters.emi import EmiMeter, open_emi
from pytest_energy.meters.emi_windows import WindowsCalls
from pytest_energy.model import window_between
from tests.energy.rigs.fake_emi import FakeDevice, FakeWindows, Running

RAPL = [
    ("RAPL_Package0_PKG", 5_000_000),
    ("RAPL_Package0_DRAM", 7_000),
    ("RAPL_Package0_PP0", 9_000),
    ("RAPL_Package0_PP1", 11_000),
]


@pytest.fixture(autouse=True)
def no_watching(monkeypatch):
    """Opening watches the channels for half a second; only one test needs that."""
    monkeypatch.setattr(
        sys.modules["pytest_energy.meters.emi"],
        "watch_update_intervals",
        lambda read: [0.001 for _ in read()],
    )


def windows(*devices: FakeDevice) -> FakeWindows:
    return FakeWindows(list(devices))


def open_on(fake: FakeWindows, pick: str | None = None) -> EmiMeter:
    return EmiMeter(pick, WindowsCalls(fake.load, lambda: fake.last_error))


def test_packages_and_dram_count_and_what_is_inside_them_does_not():
    fake = windows(FakeDevice(RAPL))
    with open_on(fake) as meter:
        assert [(d.name, d.parent) for d in meter.domains] == [
            ("package-0", None), ("dram-0", None),
        ]  # fmt: skip
        before = meter.read()
        fake.devices[0].add(0, 2.5)
        fake.devices[0].add(1, 0.25)
        fake.devices[0].add(2, 1.0)
        window = window_between(before, meter.read(), 1)
    assert window.joules == pytest.approx({"package-0": 2.5, "dram-0": 0.25})
    assert fake.devices[0].opened == fake.lists_open == 0


def test_a_named_core_is_inside_its_package():
    with open_on(windows(FakeDevice(RAPL)), "RAPL_Package0_PKG+RAPL_Package0_PP0") as meter:
        assert {d.name: d.parent for d in meter.domains} == {
            "package-0": None,
            "core-0": "package-0",
        }


def test_channels_of_two_devices_are_read_at_once():
    fake = windows(FakeDevice([RAPL[0]]), FakeDevice([("RAPL_Package1_PKG", 3)]))
    with open_on(fake) as meter:
        before = meter.read()
        fake.devices[1].add(0, 4.0)
        window = window_between(before, meter.read(), 1)
    assert window.joules == pytest.approx({"package-0": 0.0, "package-1": 4.0})


def test_a_device_of_version_1_has_one_channel():
    with open_on(windows(FakeDevice([("CPU rail", 10)], version=1))) as meter:
        assert [domain.name for domain in meter.domains] == ["CPU_rail"]


AMD = [("VDDCR_VDD Power", 1), ("VDDCR_SOC Power", 2), ("Current Socket Power", 3)]


def test_channels_that_may_overlap_have_to_be_named():
    """On one laptop the socket held the rails, and the names do not say so."""
    fake = windows(FakeDevice(AMD))
    with pytest.raises(MeterUnavailable, match="may overlap") as error:
        open_on(fake)
    assert "emi:VDDCR_VDD_Power" in error.value.remedy
    assert fake.devices[0].opened == 0
    with open_on(fake, "Current_Socket_Power") as meter:
        assert [domain.name for domain in meter.domains] == ["Current_Socket_Power"]


def test_an_unknown_channel_is_refused_with_those_there():
    with pytest.raises(MeterUnavailable, match="called 'PKG'") as error:
        open_on(windows(FakeDevice(RAPL)), "PKG")
    assert "RAPL_Package0_PKG" in error.value.remedy


def test_two_channels_of_one_name_are_refused():
    with pytest.raises(MeterUnavailable, match="two channels have one name"):
        open_on(windows(FakeDevice([RAPL[0]]), FakeDevice([RAPL[0]])))


def test_no_device_and_no_list_say_so():
    with pytest.raises(MeterUnavailable, match="no device that counts energy"):
        open_on(windows())
    fake = windows()
    fake.list_error = 13
    with pytest.raises(MeterUnavailable, match="lists no energy meters.*error 13"):
        open_on(fake)


@pytest.mark.parametrize(("error", "denied"), [(5, True), (31, False)])
def test_a_device_that_cannot_be_opened(error, denied):
    fake = windows(FakeDevice(RAPL))
    fake.devices[0].open_error = error
    with pytest.raises(MeterUnavailable, match=f"CreateFileW failed.*{error}") as raised:
        open_on(fake)
    assert raised.value.denied is denied


@pytest.mark.parametrize(
    ("device", "says"),
    [
        (FakeDevice(RAPL, version=3), "version 3"),
        (FakeDevice(RAPL, unit=1), "unit 1 instead of picowatt-hours"),
    ],
)
def test_another_form_is_refused(device, says):
    with pytest.raises(MeterUnavailable, match=says):
        open_on(windows(device))


@pytest.mark.parametrize("size", [0, 70, 100, 2**31])
def test_metadata_of_another_size_is_refused(size):
    fake = windows(FakeDevice(RAPL))
    fake.devices[0].metadata_size = size
    with pytest.raises(MeterUnavailable, match="unknown form"):
        open_on(fake)


@given(st.binary(max_size=200), st.sampled_from([1, 2]))
@settings(max_examples=200)
def test_any_metadata_opens_or_is_refused(metadata, version):
    device = FakeDevice(RAPL, version)
    device._metadata = lambda: metadata
    fake = windows(device)
    try:
        open_on(fake).close()
    except MeterUnavailable as error:
        assert "lists no" not in str(error)
    assert device.opened == 0


def test_a_failed_reading_voids_one_window():
    fake = windows(FakeDevice(RAPL))
    with open_on(fake) as meter:
        fake.devices[0].control_error = 1167
        with pytest.raises(MeterFailed, match="RAPL_Package0_PKG failed.*1167"):
            meter.read()
        fake.devices[0].control_error = 0
        before = meter.read()
        fake.devices[0].add(0, 1.0)
        assert window_between(before, meter.read(), 1).joules["package-0"] == pytest.approx(1.0)


def test_a_step_back_voids_one_window():
    fake = windows(FakeDevice(RAPL))
    with open_on(fake) as meter:
        meter.read()
        fake.devices[0].energy[0] = 1
        with pytest.raises(MeterFailed, match="went back"):
            meter.read()
        meter.read()


def test_a_closed_meter_is_not_read():
    meter = open_on(windows(FakeDevice(RAPL)))
    meter.close()
    meter.close()
    with pytest.raises(MeterFailed, match="after it was closed"):
        meter.read()


def test_the_update_interval_is_watched_and_a_channel_at_rest_is_named(monkeypatch):
    monkeypatch.undo()
    fake = windows(FakeDevice(RAPL[:2]))
    with Running(fake.devices[0], {0: 0.1}), open_on(fake) as meter:
        assert 0.003 < meter.update_interval_s <= 0.5
        assert any("dram-0 did not move" in note for note in meter.notes)


@pytest.mark.skipif(sys.platform == "win32", reason="this is Windows")
def test_another_system_has_no_such_interface():
    with pytest.raises(MeterUnavailable, match="is a part of Windows"):
        open_emi(MeterSettings(), None)


def test_the_structures_have_the_sizes_of_the_sdk():
    """SP_DEVICE_INTERFACE_DATA is 32 bytes on 64 bits."""
    assert ctypes.sizeof(emi_windows.DeviceInterfaceData) == (
        32 if ctypes.sizeof(ctypes.c_void_p) == 8 else 28
    )
