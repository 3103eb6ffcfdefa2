"""Measure a machine's noise: the same kernels in fresh processes, spread over a given time.

Memory layout and hash seeds differ between processes, as they do between two saved runs. Drift that
is slower than the given time stays unmeasured.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

from pytest_energy.clock import now_s, sleep
from pytest_energy.errors import EnergyError, MeterFailed, OptionError
from pytest_energy.measuring.single import measure
from pytest_energy.meters import MeterSettings, open_meter
from pytest_energy.plan import MEASURE_SHARE, Plan
from pytest_energy.runs.noise import Noise
from pytest_energy.stats.per_call import figures

# 12 runs give a standard deviation to within -30 and +70 % (95 %).
NOISE_RUNS = 12
# The plugin's default for a benchmark. Longer runs would spread less.
KERNEL_S = 1.0
# The share of the time that is spent measuring; the rest spreads the runs out.
BUSY_SHARE = 0.5
LONGEST_MINUTES = 24 * 60.0

NUMBERS = [(i * 7919) % 10007 for i in range(10_000)]
BYTES = bytearray(8 * 2**20)
TEXT = json.dumps({f"key {i}": [i, i / 7, str(i)] for i in range(1000)})
# One kernel per bottleneck: interpreter, branches and cache, memory, allocation.
KERNELS: Mapping[str, Callable[[], object]] = {
    "arithmetic": lambda: sum(i * i for i in range(20_000)),
    "sorting": lambda: sorted(NUMBERS),
    "copying": lambda: bytes(BYTES),
    "parsing": lambda: json.loads(TEXT),
}


def measure_noise(
    spec: str,
    settings: MeterSettings,
    minutes: float,
    on_run: Callable[[str], None] = lambda line: None,
) -> tuple[Noise, str]:
    """The noise between `NOISE_RUNS` runs over this many minutes, and the name of the meter.

    Raises `OptionError` for invalid minutes and `EnergyError` if a run fails.
    """
    if not 0 < minutes <= LONGEST_MINUTES:
        raise OptionError(
            f"--minutes takes more than 0 and at most {LONGEST_MINUTES:g} minutes, not {minutes:g}"
        )
    every_s = minutes * 60 / NOISE_RUNS
    kernel_s = min(KERNEL_S, every_s * BUSY_SHARE / len(KERNELS))
    began_s, runs = now_s(), []
    for number in range(NOISE_RUNS):
        sleep(max(0.0, began_s + number * every_s - now_s()))
        runs.append(_run(spec, settings, kernel_s))
        on_run(f"run {number + 1} of {NOISE_RUNS}")
    meters = {run["meter"] for run in runs}
    if len(meters) != 1:
        raise MeterFailed(f"the meter changed between the runs: {', '.join(sorted(meters))}")
    worst = {quantity: _worst(runs, quantity) for quantity in ("seconds", "joules")}
    figures = ", ".join(
        f"{quantity} {sd:.1%} ({kernel})" for quantity, (sd, kernel) in worst.items()
    )
    source = (
        f"{NOISE_RUNS} fresh processes over {(now_s() - began_s) / 60:.2g} min, "
        f"worst of {len(KERNELS)} kernels: {figures}"
    )
    return Noise(worst["seconds"][0], worst["joules"][0], NOISE_RUNS, source), meters.pop()


def _worst(runs: list[dict[str, Any]], quantity: str) -> tuple[float, str]:
    """The largest standard deviation of any kernel, and the name of that kernel."""
    found = []
    for kernel in KERNELS:
        logs = [run["kernels"][kernel][quantity] for run in runs]
        if None in logs:
            raise MeterFailed(
                f"the counter of {runs[0]['meter']} did not move in some window of the kernel "
                f"{kernel}; give it more time with --minutes"
            )
        mean = math.fsum(logs) / len(logs)
        found.append(
            (math.sqrt(math.fsum((log - mean) ** 2 for log in logs) / (len(logs) - 1)), kernel)
        )
    return max(found)


def _run(spec: str, settings: MeterSettings, kernel_s: float) -> dict[str, Any]:
    request = json.dumps({"spec": spec, "settings": asdict(settings), "kernel_s": kernel_s})
    ended = subprocess.run(
        [sys.executable, "-m", "pytest_energy.runs.noise_kernels", request],
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        raise EnergyError(f"a run of the noise kernels failed: {ended.stderr.strip()[-500:]}")
    run: dict[str, Any] = json.loads(ended.stdout)
    return run


def main(arguments: str) -> dict[str, Any]:
    """One run in this process: per kernel, the logs of its median seconds and joules per call."""
    request = json.loads(arguments)
    watts = request["settings"].pop("watts")
    settings = replace(
        MeterSettings(**request["settings"]), watts=None if watts is None else tuple(watts)
    )
    plan = Plan(max_time_s=request["kernel_s"] / MEASURE_SHARE)
    with open_meter(request["spec"], settings) as meter:
        kernels = {}
        for name, kernel in KERNELS.items():
            per_call = figures(measure(kernel, meter=meter, plan=plan, name=name))
            kernels[name] = {
                "seconds": math.log(per_call.seconds.value),
                "joules": None if per_call.joules is None else math.log(per_call.joules.value),
            }
        return {"meter": meter.name, "kernels": kernels}


if __name__ == "__main__":
    try:
        print(json.dumps(main(sys.argv[1])))
    except EnergyError as error:
        sys.exit(str(error))
