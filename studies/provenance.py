"""Print the label that each rigged source of joules gets. Run by hand::

    python -m studies.provenance

Each row is a machine that misbehaves or is virtual, built from files or from the fake NVML driver.
The exit code is 1 if a label is wrong.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from pytest_energy.errors import EnergyError
from pytest_energy.meters import Meter, MeterSettings, open_meter, virtual
from pytest_energy.meters.emi import EmiMeter
from pytest_energy.meters.emi_windows import WindowsCalls
from pytest_energy.meters.hwmon import HwmonMeter
from pytest_energy.meters.nvml import NvmlMeter
from pytest_energy.meters.powercap import PowercapMeter
from tests.energy.rigs.fake_emi import FakeDevice, FakeWindows
from tests.energy.rigs.fake_nvml import NOT_SUPPORTED, FakeNvml, build_library
from tests.energy.rigs.powercap_tree import LAYOUTS, Layout, Tree, Zone

BARE = "vendor_id\t: GenuineIntel\nflags\t\t: fpu vme\n"
GUEST = "vendor_id\t: GenuineIntel\nflags\t\t: fpu vme hypervisor\n"
# As often as a package counts, or oftener: opening a meter waits for three updates of it.
STEP_S, STEP_UJ = 0.0005, 5_000
UNAVAILABLE = "refused"
WHY_SHOWN = 46


class Source(NamedTuple):
    """A rigged source, and its correct label."""

    what: str
    right: str
    domains: str
    open: Callable[[Path, ExitStack], Meter]


def rapl(
    cpuinfo: str, layout: Layout = LAYOUTS["single"], moving: tuple[str, ...] = (), **options: bool
) -> Callable[[Path, ExitStack], Meter]:
    """A powercap tree in which only the zones with these names count."""

    def open_it(folder: Path, stack: ExitStack) -> Meter:
        tree = Tree(folder / "powercap", layout)
        (folder / "cpuinfo").write_text(cpuinfo)
        stack.enter_context(driven(tree, moving))
        return PowercapMeter(tree.root, cpuinfo=folder / "cpuinfo", **options)

    return open_it


@contextmanager
def driven(tree: Tree, moving: tuple[str, ...]) -> Iterator[None]:
    stop = threading.Event()
    zones = [zone for zone in tree.layout.zones if zone.name in moving]

    def drive() -> None:
        steps = 0
        while not stop.wait(STEP_S):
            steps += 1
            for zone in zones:
                tree.write(zone.key, zone.start_uj + steps * STEP_UJ)

    thread = threading.Thread(target=drive)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def masked(folder: Path, stack: ExitStack) -> Meter:
    """A container: the zone folders exist, and their files are masked."""
    zone = folder / "powercap" / "intel-rapl:0"
    zone.mkdir(parents=True)
    return PowercapMeter(folder / "powercap")


def scaphandre(folder: Path, stack: ExitStack) -> Meter:
    """The folder that Scaphandre shares with a guest: an energy file per socket and no range."""
    zone = folder / "powercap" / "intel-rapl:0"
    zone.mkdir(parents=True)
    (zone / "name").write_text("package-0\n")
    (zone / "energy_uj").write_text("81236512\n")
    return PowercapMeter(folder / "powercap")


def hwmon(
    chip: str, cpuinfo: str = BARE, pick: str | None = None, **files: object
) -> Callable[[Path, ExitStack], Meter]:
    def open_it(folder: Path, stack: ExitStack) -> Meter:
        place = folder / "hwmon" / "hwmon0"
        place.mkdir(parents=True)
        (folder / "cpuinfo").write_text(cpuinfo)
        for name, content in {"name": chip, **files}.items():
            (place / name).write_text(f"{content}\n")
        return HwmonMeter(folder / "hwmon", pick, cpuinfo=folder / "cpuinfo")

    return open_it


def nvidia(visible: str | None, change: Callable[[FakeNvml], None]) -> Callable[..., Meter]:
    def open_it(folder: Path, stack: ExitStack) -> Meter:
        nvml = stack.enter_context(FakeNvml(build_library(folder), folder, gpus=2))
        change(nvml)
        if visible is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = visible
        return NvmlMeter()

    return open_it


def container(limits: str, **options: bool) -> Callable[[Path, ExitStack], Meter]:
    """The host's powercap tree in a container of a machine with 8 CPUs, and its ``cpu.max``."""

    def open_it(folder: Path, stack: ExitStack) -> Meter:
        files = {"ONLINE_CPUS": "0-7", "OWN_CGROUPS": "0::/", "CGROUP_ROOT/cpu.max": limits}
        for name, text in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(f"{text}\n")
        for name in ("ONLINE_CPUS", "OWN_CGROUPS", "CGROUP_ROOT"):
            stack.enter_context(mock.patch.object(virtual, name, str(folder / name)))
        return rapl(BARE, **options)(folder, stack)

    return open_it


def windows(*channels: str, pick: str | None = None) -> Callable[[Path, ExitStack], Meter]:
    """Windows with one device of the Energy Meter Interface, and these channels."""

    def open_it(folder: Path, stack: ExitStack) -> Meter:
        fake = FakeWindows([FakeDevice([(name, 1) for name in channels])])
        return EmiMeter(pick, WindowsCalls(fake.load, lambda: fake.last_error))

    return open_it


def one_socket_of_two(folder: Path, stack: ExitStack) -> Meter:
    """amd_energy, in which one of two sockets counts."""
    place = folder / "hwmon" / "hwmon0"
    place.mkdir(parents=True)
    (folder / "cpuinfo").write_text(BARE)
    (place / "name").write_text("amd_energy\n")
    for number in (1, 2):
        (place / f"energy{number}_label").write_text(f"Esocket{number - 1}\n")
        (place / f"energy{number}_input").write_text("5000000     \n")
    stack.enter_context(driven_file(place / "energy1_input"))
    return HwmonMeter(folder / "hwmon", cpuinfo=folder / "cpuinfo")


@contextmanager
def driven_file(path: Path) -> Iterator[None]:
    """A counter in one file, written in place as the kernel does."""
    stop = threading.Event()

    def drive() -> None:
        energy_uj = int(path.read_text())
        with open(path, "r+b", buffering=0) as file:
            while not stop.wait(STEP_S):
                energy_uj += STEP_UJ
                os.pwrite(file.fileno(), b"%-12d" % energy_uj, 0)

    thread = threading.Thread(target=drive)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def freeze(nvml: FakeNvml) -> None:
    for gpu in nvml.gpus:
        gpu.update_interval_s = 1e9


def freeze_without_power(nvml: FakeNvml) -> None:
    freeze(nvml)
    nvml.gpus[0].power_error = NOT_SUPPORTED


def mute(nvml: FakeNvml) -> None:
    for gpu in nvml.gpus:
        gpu.energy_error = gpu.power_error = NOT_SUPPORTED


def make_unequal(nvml: FakeNvml) -> None:
    nvml.gpus[0].name, nvml.gpus[1].name = b"T400", b"NVIDIA A100"


TWO = Layout(
    (Zone("0", "package-0", 1.0), Zone("0:0", "dram", 0.1), Zone("1", "package-1", 1.0)),
    {"package-0": 1.0, "dram-0": 0.1, "package-1": 1.0},
)
BOTH = "package-0 dram-0 package-1"
PACKAGES = ("package-0", "package-1")
SOURCES = (
    Source("bare metal", "measured", "package-0 dram-0", rapl(BARE)),
    Source("QEMU 9.1, rapl=true", "attributed", "package-0 dram-0", rapl(GUEST)),
    Source("vrapl in a guest", "attributed", "package-0", rapl(GUEST, LAYOUTS["package only"])),
    Source("pass-through, declared", "measured", BOTH, rapl(GUEST, TWO, trust_sensor=True)),
    Source("container, 2 of 8 CPUs", "attributed", "package-0 dram-0", container("200000 100000")),
    Source("container, no limit", "measured", "package-0 dram-0", container("max 100000")),
    Source("container, declared", "measured", "package-0 dram-0",
           container("200000 100000", trust_sensor=True)),
    Source("Scaphandre, no range", UNAVAILABLE, "", scaphandre),
    Source("container, masked", UNAVAILABLE, "", masked),
    Source("dead DRAM", "measured", "package-0 package-1", rapl(BARE, TWO, PACKAGES)),
    Source("one package of two", "measured", "package-0 dram-0",
           rapl(BARE, TWO, ("package-0", "dram"))),
    Source("dead DRAM in a guest", "attributed", "package-0 package-1", rapl(GUEST, TWO, PACKAGES)),
    Source("amd_energy", "measured", "amd_energy-Esocket0",
           hwmon("amd_energy", energy1_label="Esocket0", energy1_input=5)),
    Source("amd_energy in a guest", "attributed", "amd_energy-Esocket0",
           hwmon("amd_energy", GUEST, energy1_label="Esocket0", energy1_input=5)),
    Source("amd_energy, one of two", "measured", "amd_energy-Esocket0", one_socket_of_two),
    Source("negative current", UNAVAILABLE, "", hwmon("ina3221", in1_input=5000, curr1_input=-40)),
    Source("negative counter", UNAVAILABLE, "", hwmon("board", energy1_input=-7)),
    Source("power is not a number", UNAVAILABLE, "", hwmon("board", power1_input="nan")),
    Source("channels may overlap", UNAVAILABLE, "", hwmon("board", power1_input=1, power2_input=2)),
    Source("xe: card and package", "measured", "xe-card",
           hwmon("xe", energy1_label="card", energy1_input=9,
                 energy2_label="pkg", energy2_input=4)),
    Source("GPU within the CPU", UNAVAILABLE, "",
           hwmon("amdgpu", pick="gpus", in1_label="vddnb", power1_average=9_000_000)),
    Source("Windows: RAPL", "measured", "package-0 dram-0",
           windows("RAPL_Package0_PKG", "RAPL_Package0_PP0", "RAPL_Package0_DRAM")),
    Source("Windows: rails", UNAVAILABLE, "", windows("VDDCR_SOC Power", "Current Socket Power")),
    Source("two GPUs", "measured", "gpu-0 gpu-1", nvidia(None, lambda nvml: None)),
    Source("frozen GPU counters", "measured", "gpu-0 gpu-1", nvidia(None, freeze)),
    Source("frozen, no power either", "measured", "gpu-0 gpu-1",
           nvidia(None, freeze_without_power)),
    Source("GPUs without power", UNAVAILABLE, "", nvidia(None, mute)),
    Source("unequal GPUs by number", UNAVAILABLE, "", nvidia("0", make_unequal)),
    Source("no GPU visible", UNAVAILABLE, "", nvidia("5,0", lambda nvml: None)),
    Source("no sensor at all", "estimated", "cpu-estimate",
           lambda folder, stack: open_meter("estimate", MeterSettings(sysfs=str(folder)))),
)  # fmt: skip


def label_of(source: Source) -> tuple[str, str, str]:
    """The label, the domains of the total, and the note or error that explains the label."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        try:
            meter = stack.enter_context(source.open(Path(folder), stack))
        except EnergyError as error:
            return UNAVAILABLE, "", str(error).replace(folder, "")
        meter.read()
        top = " ".join(domain.name for domain in meter.domains if domain.parent is None)
        return meter.provenance, top, "; ".join(meter.notes)


def main() -> int:
    """Print the table of sources. Exit code 1 if a label is wrong."""
    wrong = 0
    print(f"{'source':<24}{'label':<12}{'total of':<32}why")
    for source in SOURCES:
        label, domains, why = label_of(source)
        ok = (label, domains) == (source.right, source.domains)
        wrong += not ok
        wrong_mark = "" if ok else "WRONG: "
        print(f"{source.what:<24}{label:<12}{domains:<32}{wrong_mark}{why[:WHY_SHOWN]}".rstrip())
    print(f"{len(SOURCES)} rigged sources, {wrong} mislabelled")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
