"""Seconds and memory of `pytest-energy compare` on large runs, and how they grow. Run by hand::

    python -m studies.compare_growth

Writes two files of N benchmarks each into a temporary folder, 10 windows of 3 domains a benchmark,
and compares them in a process of its own, to read its peak memory. Needs a Unix (os.wait4).
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pytest_energy.model import Domain, Measurement, MeterInfo, Quality, Result, Window
from pytest_energy.runs import json_format

SIZES = (1000, 3000, 10_000, 30_000)
REPEATS = 3
WINDOWS = 10
METER = MeterInfo(
    "powercap",
    "measured",
    (Domain("package-0"), Domain("core-0", "package-0"), Domain("dram-0")),
    0.001,
    6.1e-5,
)


def write_run(path: Path, size: int, seed: int) -> None:
    dice = random.Random(seed)

    def window() -> Window:
        seconds = 0.1 * dice.lognormvariate(0, 0.02)
        return Window(
            seconds, {"package-0": 20 * seconds, "core-0": 15 * seconds, "dram-0": 2 * seconds}, 100
        )

    benchmarks = []
    for number in range(size):
        name = f"benchmarks/test_suite_{number % 100}.py::test_model[{number}]"
        measured = Measurement(name, METER, tuple(window() for _ in range(WINDOWS)))
        entry = json_format.result_to_json(
            Result(name, measured, None, (Quality("accuracy", 0.9),))
        )
        benchmarks.append(
            {"name": name, "fullname": name, "group": None, "stats": {}, "energy": entry}
        )
    document = {
        "benchmarks": benchmarks,
        "commit_info": {},
        "datetime": "",
        "energy": json_format.run_to_json(METER, ()),
    }
    path.write_text(
        json.dumps(document, indent=4), encoding="utf8"
    )  # as pytest-benchmark writes it


def compared(old: Path, new: Path) -> tuple[float, float]:
    """Seconds and MiB of the whole command, start of Python included."""
    began_s = time.perf_counter()
    command = [sys.executable, "-m", "pytest_energy", "compare", str(old), str(new)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began_s
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"compare ended with {process.returncode}")
    kibibytes = used.ru_maxrss / 1024 if sys.platform == "darwin" else used.ru_maxrss
    return seconds, kibibytes / 1024


def main() -> None:
    print(
        f"{'benchmarks':>10s} {'a file':>9s} {'seconds':>8s} {'ms each':>8s} {'MiB':>6s} "
        f"{'KiB each':>9s}"
    )
    with tempfile.TemporaryDirectory() as folder:
        for size in SIZES:
            old, new = Path(folder, "old.json"), Path(folder, "new.json")
            write_run(old, size, 1)
            write_run(new, size, 2)
            runs = [compared(old, new) for _ in range(REPEATS)]
            seconds, mebibytes = (statistics.median(values) for values in zip(*runs))
            size_mib = old.stat().st_size / 2**20
            each = f"{seconds / size * 1e3:8.3f} {mebibytes:6.0f} {mebibytes * 1024 / size:9.1f}"
            print(f"{size:10} {size_mib:5.0f} MiB {seconds:8.2f} {each}")


if __name__ == "__main__":
    main()
