"""The error of windows on a GPU counter that updates every 100 ms: ours, and unaligned ones.

Run by hand, in the repository's root::

    python -m studies.nvml_windows

A fake libnvidia-ml, loaded by the real nvidia-ml-py, gives the counter and the truth: 60 and 300 W
in turns of 35 ms. Unaligned windows start and end at once, as those of zeus and pyJoules do. Ours
last until the counter's next tick, so the truth is taken over the span that each window states.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from pytest_energy.measuring.window import aligned_window, plain_window
from pytest_energy.meters import MeterSettings
from pytest_energy.meters.nvml import open_nvml
from tests.energy.rigs.fake_nvml import FakeNvml, build_library

UPDATE_S = 0.1
TURN_S = 0.035
CALL_S = 0.01
LENGTHS = (
    (0.005, 40),
    (0.01, 40),
    (0.02, 40),
    (0.05, 30),
    (0.1, 30),
    (0.25, 30),
    (0.5, 20),
    (1.0, 15),
    (2.0, 8),
    (5.0, 4),
)
LOG_S = 60.0  # how long the fake GPU's log of steps is


def busy(seconds: float) -> None:
    until_s = time.perf_counter() + seconds
    while time.perf_counter() < until_s:
        pass


def errors(
    folder: str, library: Path, wanted_s: float, number: int, ours: bool
) -> list[float | None]:
    """The relative errors of that many windows; None for a window of 0 joules."""
    call_s = min(CALL_S, wanted_s)
    found: list[float | None] = []
    with FakeNvml(library, Path(folder), watts=60.0, update_interval_s=UPDATE_S) as nvml:
        gpu = nvml.gpus[0]
        now_s = time.perf_counter()
        for turn in range(int(LOG_S / TURN_S)):
            gpu.set_watts((300.0, 60.0)[turn % 2], now_s + turn * TURN_S)
        with open_nvml(MeterSettings(), None) as meter:
            for _ in range(number):
                busy(0.0137)  # so that windows do not fall in step with the ticks
                read = meter.read
                instants: list[float] = []

                def remember(read=read, instants=instants):
                    reading = read()
                    instants.append(reading.at_s)
                    return reading

                meter.read = remember
                window = (aligned_window if ours else plain_window)(
                    meter, lambda: busy(call_s), round(wanted_s / call_s), None
                )
                del meter.read
                joules = window.joules["gpu-0"]
                truth = gpu.joules_between(instants[-1] - window.seconds, instants[-1])
                found.append(joules / truth - 1 if joules else None)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--share", type=float, default=1.0, help="of the windows, for a shorter run (default: 1)"
    )
    share = parser.parse_args().share
    print(
        f"counter refreshed every {UPDATE_S * 1e3:g} ms, calls of {CALL_S * 1e3:g} ms or one "
        "window's length; |error| against the truth"
    )
    print(f"{'':>8} {'':>8}   {'ours':^28}   {'unaligned':^28}")
    columns = f"{'zeros':>7}{'median':>8}{'worst':>10}   "
    print(f"{'window':>8} {'windows':>8}   {columns}{columns}".rstrip())
    with tempfile.TemporaryDirectory() as folder:
        library = build_library(Path(folder))
        for wanted_s, windows in LENGTHS:
            number = max(2, round(windows * share))
            cells = []
            for ours in (True, False):
                found = errors(folder, library, wanted_s, number, ours)
                moved = [abs(error) for error in found if error is not None]
                told = (
                    f"{statistics.median(moved):>8.1%}{max(moved):>10.1%}" if moved else f"{'':>18}"
                )
                cells.append(f"{found.count(None):>7}{told}")
            print(f"{wanted_s * 1e3:>5g} ms {number:>8}   {cells[0]}   {cells[1]}", flush=True)


if __name__ == "__main__":
    main()
