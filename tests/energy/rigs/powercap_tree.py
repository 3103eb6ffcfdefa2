"""Powercap trees for a machine without RAPL: eight layouts, still or driven by known watts.

A separate process drives a tree. It integrates a power waveform into the ``energy_uj`` files like
the hardware: in steps, at an update interval with jitter, with wraps at ``max_energy_range_uj``. It
also logs the instants of its updates. So a test knows the true joules between two instants, and the
values that the counter showed at them.

From a shell, this prints the root and runs until the time is up or you stop it::

    python tests/energy/rigs/powercap_tree.py /tmp/tree --layout client --seconds 30
"""

from __future__ import annotations

import argparse
import json
import math
import mmap
import os
import random
import struct
import subprocess
import sys
import time
from bisect import bisect_right
from dataclasses import dataclass, field
from pathlib import Path

RANGE_61_UJ = 262_143_328_850  # 2**32 steps of 61 uJ: most Intel packages
RANGE_15_UJ = 65_532_610_987  # 2**32 steps of 15.3 uJ: AMD, and DRAM of Intel servers
STEP_UJ = 1e6 / 2**14  # 61 uJ
LOG_RECORD = struct.Struct("<dd")
# The driver pads each number to this length and writes it in one store. A test with one process
# writing 16 bytes and another reading them saw no mixed value in 3.8 million reads. Renaming a new
# file into place would not work: fast meters keep the old file open.
ENERGY_BYTES = 16
START_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Zone:
    """A folder of the tree. The zone draws ``share`` of the waveform's watts."""

    address: str
    name: str
    share: float
    control: str = "intel-rapl"
    range_uj: int = RANGE_61_UJ
    start_uj: int = 1_000_000_000
    """The first value of the counter. Mirrors must have the same value, share and range."""

    @property
    def key(self) -> str:
        return f"{self.control}:{self.address}"


@dataclass(frozen=True)
class Layout:
    """The zones of a machine, and the share that a correct meter counts in each domain."""

    zones: tuple[Zone, ...]
    counted: dict[str, float]
    vendor: str = "GenuineIntel"


def _socket(
    number: int, name: str | None = None, dram: bool = True, start_uj: int = 1_000_000_000
) -> tuple[Zone, ...]:
    package = Zone(f"{number:x}", name or f"package-{number}", 1.0 + number / 8, start_uj=start_uj)
    memory = Zone(
        f"{number:x}:0", "dram", 0.25 + number / 16, range_uj=RANGE_15_UJ, start_uj=start_uj // 3
    )
    return (package, memory) if dram else (package,)


LAYOUTS = {
    "single": Layout(_socket(0), {"package-0": 1.0, "dram-0": 0.25}),
    "client": Layout(
        (
            Zone("0", "package-0", 1.0),
            Zone("0:0", "core", 0.6, start_uj=700_000_000),
            Zone("0:1", "uncore", 0.2, start_uj=200_000_000),
            Zone("0:2", "dram", 0.25, start_uj=300_000_000),
            Zone("1", "psys", 1.9, start_uj=2_000_000_000),
            Zone("0", "package-0", 1.0, control="intel-rapl-mmio"),
        ),
        {"package-0": 1.0, "dram-0": 0.25},
    ),
    "two sockets": Layout(
        _socket(0) + _socket(1, start_uj=5_000_000_000),
        {"package-0": 1.0, "dram-0": 0.25, "package-1": 1.125, "dram-1": 0.3125},
    ),
    "four sockets": Layout(
        tuple(
            zone for number in range(4) for zone in _socket(number, start_uj=(number + 1) * 10**9)
        ),
        {
            f"{kind}-{n}": part
            for n in range(4)
            for kind, part in (("package", 1 + n / 8), ("dram", 0.25 + n / 16))
        },
    ),
    "amd dies": Layout(
        (
            Zone("0", "package-0-die-0", 1.0, range_uj=RANGE_15_UJ),
            Zone("0:0", "core", 0.1, range_uj=RANGE_15_UJ, start_uj=50_000_000),
            Zone("1", "package-0-die-1", 1.0, range_uj=RANGE_15_UJ),
            Zone("1:0", "core", 0.1, range_uj=RANGE_15_UJ, start_uj=60_000_000),
        ),
        {"package-0": 1.0},
        vendor="AuthenticAMD",
    ),
    "amd core": Layout(
        (
            Zone("0", "package-0", 1.0, range_uj=RANGE_15_UJ),
            Zone("0:0", "core", 0.1, range_uj=RANGE_15_UJ),
        ),
        {"package-0": 1.0},
        vendor="AuthenticAMD",
    ),
    "zone is not package": Layout(
        _socket(0, name="package-1") + _socket(1, name="package-0", start_uj=3_000_000_000),
        {"package-1": 1.0, "dram-1": 0.25, "package-0": 1.125, "dram-0": 0.3125},
    ),
    "package only": Layout(_socket(0, dram=False), {"package-0": 1.0}),
}
# Not one of the eight: each die of this Intel server has its own counter.
INTEL_DIES = Layout(
    (
        Zone("0", "package-0-die-0", 1.0),
        Zone("0:0", "dram", 0.2),
        Zone("1", "package-0-die-1", 0.5, start_uj=90_000_000_000),
    ),
    {"package-0-die-0": 1.0, "dram-0-die-0": 0.2, "package-0-die-1": 0.5},
)


class Tree:
    """A tree that changes only by `write`. ``shape`` is flat, nested, or sysfs, which is both."""

    def __init__(self, root: str | os.PathLike[str], layout: Layout, shape: str = "sysfs"):
        self.root = Path(root)
        self.layout = layout
        self.cpuinfo = self.root / "cpuinfo"
        self._folders: dict[str, Path] = {}
        for zone in layout.zones:
            nested = self.root / zone.control
            parts = zone.address.split(":")
            for depth in range(1, len(parts) + 1):
                nested /= f"{zone.control}:{':'.join(parts[:depth])}"
            folder = self.root / zone.key if shape == "flat" else nested
            folder.mkdir(parents=True)
            if shape == "sysfs":
                (self.root / zone.key).symlink_to(nested)
            self._folders[zone.key] = folder
            (folder / "name").write_text(f"{zone.name}\n")
            (folder / "max_energy_range_uj").write_text(f"{zone.range_uj}\n")
            self.write(zone.key, zone.start_uj)
        self.cpuinfo.write_text(f"processor\t: 0\nvendor_id\t: {layout.vendor}\n")

    def folder(self, key: str) -> Path:
        """The folder of a zone, such as ``intel-rapl:0:1``."""
        return self._folders[key]

    def write(self, key: str, energy_uj: int) -> None:
        """Set a counter, in place as the kernel does."""
        path = self._folders[key] / "energy_uj"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            os.pwrite(fd, energy_bytes(energy_uj), 0)
            os.ftruncate(fd, ENERGY_BYTES)
        finally:
            os.close(fd)


def energy_bytes(energy_uj: int) -> bytes:
    return b"%*d\n" % (ENERGY_BYTES - 1, energy_uj)


@dataclass(frozen=True)
class Waveform:
    """Watts that repeat, linear from knot to knot. Two knots at one instant make a jump."""

    knots: tuple[tuple[float, float], ...]
    """(seconds since the period's start, watts): the first at 0, the last at the period's end."""
    _sums: list[float] = field(init=False, repr=False, compare=False, default_factory=list)

    def __post_init__(self):
        self._sums.append(0.0)
        for (t0, w0), (t1, w1) in zip(self.knots, self.knots[1:], strict=False):
            self._sums.append(self._sums[-1] + (t1 - t0) * (w0 + w1) / 2)

    def joules(self, seconds: float) -> float:
        """The exact integral from 0 to ``seconds``."""
        periods, rest = divmod(seconds, self.knots[-1][0])
        index = min(bisect_right(self.knots, (rest, math.inf)) - 1, len(self.knots) - 2)
        (t0, w0), (t1, w1) = self.knots[index], self.knots[index + 1]
        slope = (w1 - w0) / (t1 - t0) if t1 > t0 else 0.0
        since = rest - t0
        return periods * self._sums[-1] + self._sums[index] + since * (w0 + slope * since / 2)


def constant(watts: float) -> Waveform:
    return Waveform(((0.0, watts), (1.0, watts)))


def square(low: float, high: float, period_s: float) -> Waveform:
    half = period_s / 2
    return Waveform(((0.0, low), (half, low), (half, high), (period_s, high)))


def ramp(low: float, high: float, period_s: float) -> Waveform:
    return Waveform(((0.0, low), (period_s, high)))


def bursts(low: float, high: float, period_s: float, number: int = 5, seed: int = 1) -> Waveform:
    """Short bursts at irregular instants, a fifth of the time in total."""
    chance = random.Random(seed)
    slot = period_s / number
    knots = [(0.0, low)]
    for index in range(number):
        start = index * slot + chance.uniform(0.05, 0.7) * slot
        knots += [(start, low), (start, high), (start + slot / 5, high), (start + slot / 5, low)]
    return Waveform((*knots, (period_s, low)))


WAVEFORMS = {
    "constant": constant(60.0),
    "square": square(10.0, 150.0, 0.137),
    "ramp": ramp(5.0, 200.0, 0.211),
    "bursts": bursts(15.0, 300.0, 0.401),
}


class DrivenTree(Tree):
    """A tree with counters that a separate process increases at known watts.

    The process runs from the start of a ``with`` block to its end::

        with DrivenTree(tmp_path, LAYOUTS["client"], WAVEFORMS["square"]) as tree:
            before_s = time.perf_counter()
            ...
            tree.truth_joules("package-0", before_s, time.perf_counter())
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        layout: Layout,
        waveform: Waveform,
        *,
        update_interval_s: float = 0.001,
        jitter_s: float = 0.0002,
        step_uj: float = STEP_UJ,
        seconds: float = 60.0,
        shape: str = "sysfs",
    ):
        super().__init__(root, layout, shape)
        self.waveform = waveform
        self.step_uj = step_uj
        self._log_path = self.root / "updates.log"
        self._log_path.write_bytes(
            bytes(LOG_RECORD.size * (int(seconds / max(update_interval_s - jitter_s, 1e-4)) + 2))
        )
        plan = {
            "knots": waveform.knots,
            "zones": [
                [str(self.folder(z.key) / "energy_uj"), z.share, z.range_uj, z.start_uj]
                for z in layout.zones
            ],
            "log": str(self._log_path),
            "update_interval_s": update_interval_s,
            "jitter_s": jitter_s,
            "step_uj": step_uj,
        }
        self._plan = json.dumps(plan)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> DrivenTree:
        with open(self._log_path, "rb") as file:
            self._log = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        self._process = subprocess.Popen([sys.executable, "-I", __file__, "--drive", self._plan])
        deadline_s = time.perf_counter() + START_TIMEOUT_S
        while self._record(1)[1] == 0.0:
            if time.perf_counter() > deadline_s or self._process.poll() is not None:
                self.__exit__()
                raise RuntimeError(
                    f"the driver of {self.root} did not start within {START_TIMEOUT_S} s"
                )
            time.sleep(0.005)
        self.started_s = self._record(0)[0]
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
        self._log.close()

    def truth_joules(self, domain: str, from_s: float, to_s: float) -> float:
        """The true joules of a counted domain between two instants of CLOCK_MONOTONIC."""
        joules = self.waveform.joules(to_s - self.started_s) - self.waveform.joules(
            from_s - self.started_s
        )
        return joules * self.layout.counted[domain]

    def tick_joules(self, domain: str, at_s: float) -> float:
        """The joules since a counted domain's last update: the most that a reading can lag."""
        return (
            self.truth_joules(domain, self._sampled_s(at_s, done=True), at_s) + self.step_uj * 1e-6
        )

    def shown_joules(self, domain: str, at_s: float) -> tuple[float, float]:
        """The least and the most joules since the start that a counter can show at an instant."""
        share = self.layout.counted[domain]
        least, most = (
            self.waveform.joules(self._sampled_s(at_s, done) - self.started_s) * share
            for done in (True, False)
        )
        return least - self.step_uj * 1e-6, most

    def _record(self, index: int) -> tuple[float, float]:
        return LOG_RECORD.unpack_from(self._log, index * LOG_RECORD.size)

    def _sampled_s(self, at_s: float, done: bool) -> float:
        """The instant of the last update before ``at_s`` that was done, or only begun."""
        low, high = 0, len(self._log) // LOG_RECORD.size
        while high - low > 1:
            middle = (low + high) // 2
            sampled_s, written_s = self._record(middle)
            if written_s and (written_s if done else sampled_s) <= at_s:
                low = middle
            else:
                high = middle
        return self._record(low)[0]


def drive(plan: dict) -> None:
    """Increase the counters of a plan until the log is full or the process is stopped."""
    waveform = Waveform(tuple(map(tuple, plan["knots"])))
    step_uj = plan["step_uj"]
    files = []
    for path, share, range_uj, start_uj in plan["zones"]:
        with open(path, "r+b") as file:
            files.append((mmap.mmap(file.fileno(), ENERGY_BYTES), share, range_uj, start_uj))
    with open(plan["log"], "r+b") as file:
        log = mmap.mmap(file.fileno(), 0)
    chance = random.Random(0)
    started_s = time.perf_counter()
    for number in range(len(log) // LOG_RECORD.size):
        due_s = (
            started_s
            + number * plan["update_interval_s"]
            + chance.uniform(-1, 1) * plan["jitter_s"]
        )
        time.sleep(max(0.0, due_s - time.perf_counter()))
        now_s = max(time.perf_counter(), started_s) if number else started_s
        joules = waveform.joules(now_s - started_s)
        for counter, share, range_uj, start_uj in files:
            steps_uj = int(joules * share * 1e6 / step_uj) * step_uj
            counter[0:ENERGY_BYTES] = energy_bytes((start_uj + int(steps_uj)) % range_uj)
        LOG_RECORD.pack_into(log, number * LOG_RECORD.size, now_s, time.perf_counter())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", nargs="?", help="an empty or a new folder")
    parser.add_argument("--layout", choices=LAYOUTS, default="single")
    parser.add_argument("--waveform", choices=WAVEFORMS, default="square")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--update-interval-s", type=float, default=0.001)
    parser.add_argument("--drive", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.drive:
        drive(json.loads(options.drive))
    elif not options.root:
        parser.error("root is required: name an empty or a new folder for the tree")
    else:
        with DrivenTree(
            options.root,
            LAYOUTS[options.layout],
            WAVEFORMS[options.waveform],
            update_interval_s=options.update_interval_s,
            seconds=options.seconds,
        ) as tree:
            print(tree.root, flush=True)
            time.sleep(options.seconds)


if __name__ == "__main__":
    main()
