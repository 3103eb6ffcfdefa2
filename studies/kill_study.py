"""Kill a run of 20 benchmarks at random instants, and count how many results survive.

    python -m studies.kill_study [--kills 200] [--seed 0]

A test is finished when pytest has reported it; a conftest records that at once. The exit code is 1
if a finished benchmark is in no readable file. Requires the tests' clock meter and SIGKILL.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from pytest_energy.errors import RunUnreadable
from pytest_energy.measuring.machine_lock import LOCK_VARIABLE
from pytest_energy.runs import journal, json_format
from tests.energy.rigs import clock_meter

BENCHMARKS = 20
SUITE = f"""
import pytest

@pytest.mark.parametrize("number", range({BENCHMARKS}))
def test_it(energy, number):
    energy(sum, range(10))
"""
# One unbuffered write per report, so that a kill loses none.
CONFTEST = """
import os

finished = os.open("finished", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

def pytest_runtest_logreport(report):
    if report.when == "teardown":
        os.write(finished, report.nodeid.encode() + b"\\n")
"""
COMMAND = (
    *(sys.executable, "-m", "pytest", "-q", "-p", "no:hypothesispytest"),
    *("--energy", "--energy-meter=clock", "--energy-max-time=0.5", "--benchmark-autosave"),
)


def prepare(folder: Path) -> None:
    """Write the suite, its conftest and an installed clock meter into the folder."""
    (folder / "test_it.py").write_text(SUITE, encoding="utf8")
    (folder / "conftest.py").write_text(CONFTEST, encoding="utf8")
    shutil.copy(clock_meter.__file__, folder / "clock_meter.py")
    installed = folder / "clock_meter-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: clock-meter\nVersion: 1.0\n", encoding="utf8"
    )
    (installed / "entry_points.txt").write_text(clock_meter.ENTRY_POINT, encoding="utf8")


def start_run(folder: Path) -> subprocess.Popen[bytes]:
    """Start a run and wait until its journal exists. No benchmark is finished before that."""
    path = os.pathsep.join([str(folder), str(Path.cwd())])
    # Its own lock: the clock meter's numbers are fixed, so other runs cannot disturb them.
    environment = {
        **os.environ,
        "PYTHONPATH": path,
        "PYTHONDONTWRITEBYTECODE": "1",
        LOCK_VARIABLE: str(folder / "lock"),
    }
    process = subprocess.Popen(
        COMMAND, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline_s = time.monotonic() + 60
    while not any(folder.glob(f".benchmarks/**/{journal.PREFIX}*")):
        if process.poll() is not None or time.monotonic() > deadline_s:
            sys.exit("The run created no journal within 60 s or before it ended.")
        time.sleep(0.001)
    return process


def outcome(folder: Path) -> tuple[str, int]:
    """The kind of file that a killed run left, and how many benchmarks are readable in it."""
    finished = (
        set((folder / "finished").read_text(encoding="utf8").split())
        if (folder / "finished").exists()
        else set()
    )
    readable: dict[str, set[str]] = {}
    for path in sorted(folder.glob(".benchmarks/**/*.json*")):
        try:
            readable[path.suffix] = {result.name for result in json_format.read_run(path).results}
        except RunUnreadable:
            continue
    if not readable:
        return "nothing readable", 0
    kind = "saved run" if ".json" in readable else "journal"
    most = max(readable.values(), key=len)
    return (kind if finished <= most else "readable, but a finished result is missing"), len(most)


def main() -> int:
    """Kill the runs and print the counts. Exit code 1 if a finished result is lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random_ = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        process = start_run(Path(folder))
        began_s = time.perf_counter()
        process.wait(timeout=120)
        whole_s = time.perf_counter() - began_s
    outcomes: Counter[str] = Counter()
    sizes: Counter[int] = Counter()
    for _ in range(options.kills):
        with tempfile.TemporaryDirectory() as folder:
            prepare(Path(folder))
            process = start_run(Path(folder))
            time.sleep(random_.uniform(0, whole_s))
            process.send_signal(signal.SIGKILL)
            process.wait()
            word, size = outcome(Path(folder))
            outcomes[word] += 1
            sizes[size] += 1
    print(
        f"{options.kills} kills within {whole_s:.2f} s, from the journal's creation to the end of "
        f"the process, seed {options.seed}\n"
    )
    print("| left | times |\n|---|---|")
    for word, times in outcomes.most_common():
        print(f"| {word} | {times} |")
    print(
        "\nbenchmarks in the file: "
        + ", ".join(f"{size} ({sizes[size]}x)" for size in sorted(sizes))
    )
    return int(not set(outcomes) <= {"saved run", "journal"})


if __name__ == "__main__":
    sys.exit(main())
