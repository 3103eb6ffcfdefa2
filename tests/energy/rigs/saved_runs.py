"""Generates folders of saved runs with any number of runs and benchmarks, and known changes."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from pytest_energy.model import Domain, Measurement, MeterInfo, Result, Window
from pytest_energy.runs import json_format

METER = MeterInfo(
    "powercap",
    "measured",
    (Domain("package-0"), Domain("core-0", "package-0"), Domain("dram-0")),
    0.001,
    6.1e-5,
)
MACHINE = {"cpu": "a CPU", "cores": 2, "memory_gib": 8, "architecture": "x86_64", "system": "Linux"}
BEGAN = datetime(2026, 1, 1)


@dataclass(frozen=True)
class Runs:
    """The runs to generate.

    ``steps`` has {(b, r): factor}: from run r on, benchmark b costs ``factor`` times as much.
    """

    n_runs: int
    n_benchmarks: int
    steps: Mapping[tuple[int, int], float] = field(default_factory=dict)
    run_sd: float = 0.01  # of log joules between runs, common to all benchmarks of a run
    sd: float = 0.01  # of log joules between runs, separate for each benchmark
    windows: int = 5
    meter: MeterInfo = METER
    machine: Mapping[str, object] = field(default_factory=lambda: MACHINE)
    seed: int = 0


def name_of(number: int) -> str:
    return f"benchmarks/test_suite.py::test_model[{number}]"


def commit_of(number: int) -> str:
    return f"{number:09x}".ljust(40, "0")


def write_runs(folder: Path, runs: Runs) -> None:
    """Write the runs with pytest-benchmark's names: a commit and an hour for each run."""
    folder.mkdir(parents=True, exist_ok=True)
    dice = random.Random(runs.seed)
    factors = [1.0] * runs.n_benchmarks
    for number in range(runs.n_runs):
        run_factor = dice.lognormvariate(0, runs.run_sd)
        benchmarks = []
        for which in range(runs.n_benchmarks):
            factors[which] *= runs.steps.get((which, number), 1.0)
            seconds = (
                0.1
                * (1 + which % 7)
                * factors[which]
                * run_factor
                * dice.lognormvariate(0, runs.sd)
            )
            windows = tuple(
                _window(seconds * dice.lognormvariate(0, 0.005), runs.meter)
                for _ in range(runs.windows)
            )
            name = name_of(which)
            entry = json_format.result_to_json(
                Result(name, Measurement(name, runs.meter, windows), None, ())
            )
            stats = {
                "mean": seconds,
                "median": seconds,
                "stddev": 0.01 * seconds,
                "ops": 1 / seconds,
                "rounds": runs.windows,
            }
            benchmarks.append(
                {
                    "name": name,
                    "fullname": name,
                    "group": None,
                    "params": None,
                    "stats": stats,
                    "energy": entry,
                }
            )
        at = (BEGAN + timedelta(hours=number)).isoformat()
        document = {
            "benchmarks": benchmarks,
            "commit_info": {"id": commit_of(number)},
            "machine_info": {},
            "datetime": at,
            "version": "5.1.0",
            "energy": {**json_format.run_to_json(runs.meter, ()), "machine": dict(runs.machine)},
        }
        (folder / f"{number + 1:04d}_{commit_of(number)}.json").write_text(
            json.dumps(document), encoding="utf8"
        )


def _window(seconds: float, meter: MeterInfo) -> Window:
    watts = {domain.name: 20.0 if domain.parent is None else 15.0 for domain in meter.domains}
    return Window(seconds, {name: value * seconds for name, value in watts.items()}, 1)
