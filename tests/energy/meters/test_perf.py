"""The perf meter: the real perf_event_open on a software PMU in place of the `power` PMU.

The kernel's cpu-clock event counts the nanoseconds of a CPU. With a scale of 1e-9, it draws exactly
one watt.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from pytest_energy.errors import MeterFailed, MeterUnavailable, OptionError
from pytest_energy.meters import MeterSettings, perf
from pytest_energy.meters.perf import PerfMeter, open_perf
from pytest_energy.model import Domain
from tests.energy.rigs.real_time import bounded_window

SOFTWARE_TYPE = Path("/sys/bus/event_source/devices/software/type")
CPU_CLOCK = "event=0x00"


class FakePmu:
    """The kernel's folders for the CPUs of ``topology``: {cpu: (package, die)}."""

    def __init__(
        self,
        root: Path,
        events: dict[str, float],
        topology: dict[int, tuple[int, int]],
        vendor: str = "GenuineIntel",
    ):
        self.pmu, self.cpus, self.cpuinfo = root / "power", root / "cpu", root / "cpuinfo"
        (self.pmu / "events").mkdir(parents=True)
        (self.pmu / "format").mkdir()
        (self.pmu / "type").write_text(
            SOFTWARE_TYPE.read_text() if SOFTWARE_TYPE.exists() else "1\n"
        )
        (self.pmu / "cpumask").write_text(",".join(map(str, topology)) + "\n")
        (self.pmu / "format" / "event").write_text("config:0-7\n")
        for name, scale in events.items():
            (self.pmu / "events" / name).write_text(f"{CPU_CLOCK}\n")
            (self.pmu / "events" / f"{name}.scale").write_text(f"{scale!r}\n")
            (self.pmu / "events" / f"{name}.unit").write_text("Joules\n")
        for cpu, (package, die) in topology.items():
            folder = self.cpus / f"cpu{cpu}" / "topology"
            folder.mkdir(parents=True)
            (folder / "physical_package_id").write_text(f"{package}\n")
            (folder / "die_id").write_text(f"{die}\n")
        self.cpuinfo.write_text(f"vendor_id\t: {vendor}\n")

    def open(self, domains=None) -> PerfMeter:
        return PerfMeter(self.pmu, domains, cpus=self.cpus, cpuinfo=self.cpuinfo)

    def open_or_skip(self, domains=None) -> PerfMeter:
        try:
            return self.open(domains)
        except MeterUnavailable as error:
            if "cannot be counted" in error.reason:
                pytest.skip(f"this sandbox has no perf_event_open to test with: {error.reason}")
            raise


CLIENT = {
    "energy-pkg": 1e-9,
    "energy-ram": 2.5e-10,
    "energy-cores": 6e-10,
    "energy-gpu": 1e-10,
    "energy-psys": 2e-9,
}


@pytest.fixture
def opened():
    """Replaces perf_event_open, for layouts that this machine lacks. Returns the opened events."""
    events = []

    def open_event(event):
        events.append(event)
        return os.open("/dev/zero", os.O_RDONLY)

    with mock.patch.object(perf, "_open_event", open_event):
        yield events


def test_a_real_event_counts_the_joules_of_the_clock(tmp_path):
    with FakePmu(tmp_path, CLIENT, {0: (0, 0)}).open_or_skip() as meter:
        assert meter.domains == (Domain("package-0"), Domain("dram-0"))
        bounded = bounded_window(meter, 0.3)
    bounded.assert_joules(bounded.window.joules["package-0"], 1, late_s=0.003)
    bounded.assert_joules(bounded.window.joules["dram-0"], 0.25, late_s=0.003)


@pytest.mark.skipif(
    (os.cpu_count() or 1) < 2, reason="requires a second CPU in place of a second package"
)
def test_each_package_is_counted_on_its_own_cpu(tmp_path):
    with FakePmu(tmp_path, CLIENT, {0: (1, 0), 1: (0, 0)}).open_or_skip() as meter:
        assert [domain.name for domain in meter.domains] == [
            "package-1",
            "package-0",
            "dram-1",
            "dram-0",
        ]
        bounded = bounded_window(meter, 0.1)
    for name in ("package-0", "package-1"):
        bounded.assert_joules(bounded.window.joules[name], 1, late_s=0.002)


def test_the_event_config_follows_the_format_file(tmp_path, opened):
    fake = FakePmu(tmp_path, {"energy-pkg": 2**-32}, {18: (1, 0)})
    (fake.pmu / "events" / "energy-pkg").write_text("event=0x02,umask=0x1\n")
    (fake.pmu / "format" / "umask").write_text("config:8-15\n")
    with fake.open():
        assert [(event.config, event.cpu, event.joules_per_count) for event in opened] == [
            (0x102, 18, 2**-32)
        ]


def test_psys_core_and_uncore_count_only_if_named(tmp_path, opened):
    fake = FakePmu(tmp_path, CLIENT, {0: (0, 0)})
    with fake.open() as meter:
        assert any("perf:psys" in note for note in meter.notes)
    with fake.open(["psys", "package-0", "core-0"]) as meter:
        assert meter.domains == (
            Domain("psys"),
            Domain("package-0", "psys"),
            Domain("core-0", "package-0"),
        )
    with fake.open(["all"]) as meter:
        assert {domain.name for domain in meter.domains if domain.parent} == {"core-0", "uncore-0"}
    with pytest.raises(
        OptionError, match="'gpu-0'.* has: package-0, dram-0, core-0, uncore-0, psys"
    ):
        fake.open(["gpu-0"])


@pytest.mark.parametrize(
    ("vendor", "domains"),
    [("GenuineIntel", ["package-0-die-0", "package-0-die-1"]), ("AuthenticAMD", ["package-0"])],
)
def test_dies_count_separately_on_intel_and_once_on_amd(tmp_path, opened, vendor, domains):
    with FakePmu(tmp_path, {"energy-pkg": 2**-32}, {0: (0, 0), 8: (0, 1)}, vendor).open() as meter:
        assert [domain.name for domain in meter.domains] == domains
        assert any("do not include memory" in note for note in meter.notes)


def test_without_the_pmu_the_folder_is_named(tmp_path):
    with pytest.raises(MeterUnavailable, match="power does not exist") as caught:
        PerfMeter(tmp_path / "power")
    assert "modprobe rapl" in caught.value.remedy


def test_the_entry_point_opens_the_pmu_of_the_kernel():
    if os.path.isdir("/sys/bus/event_source/devices/power"):
        pytest.skip("this machine has a power PMU; the test requires a machine without one")
    with pytest.raises(MeterUnavailable, match="/sys/bus/event_source/devices/power"):
        open_perf(MeterSettings(), None)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("type", "soft"),
        ("cpumask", "0-x"),
        ("events/energy-pkg.scale", "?"),
        ("events/energy-pkg.unit", "Watts"),
        ("format/event", "config1:0-7"),
    ],
)
def test_an_invalid_file_is_named(tmp_path, opened, file, content):
    fake = FakePmu(tmp_path, {"energy-pkg": 2**-32}, {0: (0, 0)})
    (fake.pmu / file).write_text(content)
    with pytest.raises(MeterUnavailable, match=file):
        fake.open()


def test_an_empty_pmu(tmp_path):
    with pytest.raises(MeterUnavailable, match="has none of energy-pkg"):
        FakePmu(tmp_path, {}, {0: (0, 0)}).open()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can drop its capabilities")
def test_without_permission_the_capability_is_named(tmp_path):
    paranoid = Path("/proc/sys/kernel/perf_event_paranoid")
    if not paranoid.exists() or int(paranoid.read_text()) < 1:
        pytest.skip("every user may count system-wide (kernel.perf_event_paranoid is below 1)")
    fake = FakePmu(tmp_path, CLIENT, {0: (0, 0)})
    fake.open_or_skip().close()
    code = (
        "import os, sys\n"
        "from pytest_energy.errors import MeterUnavailable\n"
        "from pytest_energy.meters import perf\n"
        "found = perf._find_events(*sys.argv[1:3], False)\n"
        "os.setuid(65534)\n"
        "try: perf._open_event(found['package-0'])\n"
        "except MeterUnavailable as error: print(error)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, fake.pmu, fake.cpus],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "energy-pkg cannot be counted on CPU 0: Permission denied" in run.stdout
    assert "kernel.perf_event_paranoid is" in run.stdout and "CAP_PERFMON" in run.stdout


def test_another_kernel_error_is_reported(tmp_path):
    fake = FakePmu(tmp_path, CLIENT, {4095: (0, 0)})  # no such CPU
    with pytest.raises(MeterUnavailable, match="cannot be counted on CPU 4095"):
        fake.open()


def test_a_stopped_counter_is_an_error_and_not_zero(tmp_path, opened):
    with FakePmu(tmp_path, CLIENT, {0: (0, 0)}).open() as meter:
        with (
            mock.patch.object(perf.os, "read", return_value=b""),
            pytest.raises(MeterFailed, match="package-0 has stopped"),
        ):
            meter.read()
        broken = OSError(errno.ENODEV, "No such device")
        with (
            mock.patch.object(perf.os, "read", side_effect=broken),
            pytest.raises(MeterFailed, match="counter of package-0 failed"),
        ):
            meter.read()


def test_a_counter_of_64_bits_does_not_wrap(tmp_path, opened):
    with FakePmu(tmp_path, {"energy-pkg": 2**-32}, {0: (0, 0)}).open() as meter:
        with mock.patch.object(perf.os, "read", return_value=(2**63).to_bytes(8, "little")):
            assert meter.read().joules["package-0"] == 2**31


def test_closing_twice_is_harmless_and_reading_after_it_fails(tmp_path, opened):
    before = len(os.listdir("/proc/self/fd"))
    meter = FakePmu(tmp_path, CLIENT, {0: (0, 0)}).open()
    meter.close()
    meter.close()
    assert len(os.listdir("/proc/self/fd")) == before
    with pytest.raises(MeterFailed, match="closed"):
        meter.read()
