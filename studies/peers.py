"""What one window costs: ours beside zeus, pyRAPL, pyJoules and codecarbon, on one driven tree.

Run by hand, in the repository's root::

    make peers          # or: python -m studies.peers

Each peer has a virtual environment of its own under .peers/, made on the first run. All of them
read /sys/class/powercap, so everything runs in a mount namespace where the driven tree has that
place: that needs Linux, and root or a user namespace. The tools take turns in short rounds, so
that a busy minute affects all of them, and each uses its defaults, without GPUs.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.energy.rigs.powercap_tree import LAYOUTS, WAVEFORMS, DrivenTree

LIMIT_S, CLIENT_LIMIT_S = 8e-6, 20e-6  # promised in docs/meters.md
OURS = ("pytest-energy", "with CPU seconds")
ROUNDS = 20
PAIRS = 200
SYSFS = Path("/sys/class/powercap")
# None of them asks for torch, as `pip install --dry-run` shows.
REQUIREMENTS = {
    "zeus": "zeus==0.16.0",
    "pyRAPL": "pyRAPL==0.2.3.1",
    "pyJoules": "pyJoules==0.5.1",
    "codecarbon": "codecarbon==3.3.2",
}

# begin() and end() of each: what its users write around their code, without printing or saving.
SETUPS = {
    "pytest-energy": """
from pytest_energy.meters.powercap import PowercapMeter
from pytest_energy.model import window_between
read = PowercapMeter().read
def begin():
    global before
    before = read()
def end():
    return window_between(before, read(), 1)
""",
    # What a window of a comparison takes in all: the CPU seconds are read outside the two readings.
    "with CPU seconds": """
from pytest_energy.meters.machine_cpu import cpu_seconds
from pytest_energy.meters.powercap import PowercapMeter
from pytest_energy.model import window_between
read = PowercapMeter().read
def begin():
    global cpu, before
    cpu = cpu_seconds()
    before = read()
def end():
    window = window_between(before, read(), 1)
    return window, cpu_seconds()
""",
    "zeus": """
import logging
logging.disable(logging.CRITICAL)
from zeus.monitor import ZeusMonitor
monitor = ZeusMonitor(gpu_indices=[])
def begin():
    monitor.begin_window("w", sync_execution=False)
def end():
    return monitor.end_window("w", sync_execution=False)
""",
    "pyRAPL": """
import warnings
warnings.simplefilter("ignore")
import pyRAPL
pyRAPL.setup()
def begin():
    global measurement
    measurement = pyRAPL.Measurement("w")
    measurement.begin()
def end():
    measurement.end()
    return measurement.result
""",
    "pyJoules": """
from pyJoules.device.device_factory import DeviceFactory
from pyJoules.device.rapl_device import RaplDevice
from pyJoules.energy_meter import EnergyMeter
domains = RaplDevice.available_domains()
meter = EnergyMeter(DeviceFactory.create_devices(domains))
def begin():
    meter.start(tag="w")
def end():
    meter.stop()
    return meter.get_trace()
""",
    "codecarbon": """
from codecarbon import OfflineEmissionsTracker
settings = dict(output_methods=[], log_level="critical", allow_multiple_runs=True)
tracker = OfflineEmissionsTracker(country_iso_code="FRA", **settings)
def begin():
    tracker.start_task()
def end():
    return tracker.stop_task()
""",
}

# For each line on stdin: a round of that many windows, then the median seconds of begin and end.
LOOP = """
import os, statistics, sys, time
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what the tools print is not an answer
{setup}
def window_s():
    start_s = time.perf_counter()
    begin()
    end()
    return time.perf_counter() - start_s
window_s()
print("ready", file=answers, flush=True)
for pairs in sys.stdin:
    print(statistics.median(window_s() for _ in range(int(pairs))), file=answers, flush=True)
os._exit(0)
"""


class Tool:
    """One of the tools in a process of its own, which takes windows on request."""

    def __init__(self, name: str, python: Path, errors: Path):
        code = LOOP.format(setup=SETUPS[name])
        self._errors = errors / f"{name}.err"
        with self._errors.open("w") as said:
            self._process = subprocess.Popen(
                [python, "-c", code],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                cwd=errors,
            )
        self._answer()

    def window_s(self, pairs: int) -> float:
        print(pairs, file=self._process.stdin, flush=True)
        return float(self._answer())

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> str:
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"it ended: {self._errors.read_text()[-2000:]}")
        return line


def measure(layout: str, pythons: dict[str, Path], rounds: int) -> dict[str, float]:
    """The median seconds of a window of each tool on one layout, bind-mounted at SYSFS."""
    with tempfile.TemporaryDirectory() as folder:
        with DrivenTree(
            Path(folder, "tree"), LAYOUTS[layout], WAVEFORMS["square"], seconds=600
        ) as tree:
            (tree.root / "intel-rapl" / "subsystem").symlink_to(
                SYSFS
            )  # as sysfs has it; codecarbon goes in through it
            subprocess.run(["mount", "--bind", tree.root, SYSFS], check=True)
            try:
                tools = {name: Tool(name, python, Path(folder)) for name, python in pythons.items()}
                spans: dict[str, list[float]] = {name: [] for name in tools}
                for _ in range(rounds):
                    for name, tool in tools.items():
                        spans[name].append(tool.window_s(PAIRS))
                for tool in tools.values():
                    tool.close()
            finally:
                subprocess.run(["umount", "--lazy", SYSFS], check=True)
    return {name: statistics.median(medians) for name, medians in spans.items()}


def environments(folder: Path, ours_alone: bool) -> dict[str, Path]:
    """The interpreter of each tool; missing tools are installed first."""
    pythons = dict.fromkeys(OURS, Path(sys.executable))
    for name, requirement in ({} if ours_alone else REQUIREMENTS).items():
        pythons[name] = folder / name / "bin" / "python"
        installed = folder / name / ".installed"
        if not installed.exists() or installed.read_text() != requirement:
            subprocess.run([sys.executable, "-m", "venv", folder / name], check=True)
            print(f"+ pip install {requirement}   (into {folder / name})", flush=True)
            subprocess.run(
                [
                    pythons[name],
                    "-m",
                    "pip",
                    "install",
                    "--quiet",
                    "--disable-pip-version-check",
                    requirement,
                ],
                check=True,
            )
            installed.write_text(requirement)
    return pythons


def into_namespace(arguments: list[str]) -> None:
    """Restart this process in a mount namespace of its own."""
    if shutil.which("unshare") is None:
        sys.exit("unshare (util-linux) is needed, to lay the tree where the peers look for it")
    kind = ["--mount"] if os.geteuid() == 0 else ["--mount", "--map-root-user"]
    command = ["unshare", *kind, sys.executable, "-m", "studies.peers", "--inside", *arguments]
    sys.exit(subprocess.run(command, check=False).returncode)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--environments", type=Path, default=Path(".peers"), metavar="DIR")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--ours", action="store_true", help="without the peers")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    pythons = environments(options.environments.absolute(), options.ours)
    if not options.inside:
        into_namespace(sys.argv[1:])
    if not SYSFS.is_dir():  # the kernel has no RAPL here, and nobody may make a folder in sysfs
        subprocess.run(["mount", "-t", "tmpfs", "none", SYSFS.parent], check=True)
        SYSFS.mkdir()
    found = {
        layout: measure(layout, pythons, options.rounds) for layout in ("package only", "client")
    }
    print(
        f"begin + end of one window, median of {options.rounds} rounds' medians of {PAIRS} "
        "windows, in turns; us"
    )
    print(f"  {'':<17}{'one zone':>9}{'client tree':>14}")
    for name in pythons:
        one_zone_us, client_us = (
            found[layout][name] * 1e6 for layout in ("package only", "client")
        )
        print(f"  {name:<17}{one_zone_us:>9.1f}{client_us:>14.1f}")
    for place, layout, limit_s in (
        ("one zone", "package only", LIMIT_S),
        ("the client tree", "client", CLIENT_LIMIT_S),
    ):
        kept = found[layout]["pytest-energy"] <= limit_s
        print(f"ours on {place} at most {limit_s * 1e6:g} us: {'kept' if kept else 'NOT KEPT'}")
    ours_s = found["client"]["pytest-energy"]
    peers_s = [seconds for name, seconds in found["client"].items() if name not in OURS]
    if peers_s:
        kept = ours_s < min(peers_s)
        print(f"ours below every peer on the client tree: {'kept' if kept else 'NOT KEPT'}")


if __name__ == "__main__":
    main()
