"""How far off the estimated meter's power model is, on machines with a sensor. Run by hand::

    python -m studies.estimate_study FOLDER

FOLDER holds one folder per machine, with CSV files of load sweeps: each row is about 30 s at one
CPU load, with the package's energy from RAPL and, on one machine, the watts of a wall plug.
Column ``rapl_power`` lags a row behind, so watts are ``rapl_energy`` (kWh) over ``duration``.
"some_cores" keeps some CPUs fully busy, as a test does; "all_cores" keeps every CPU partly busy.

The loads are the whole machine's, 2 to 5 % with nothing started. Our meter sees the load of one
process tree and counts the rest as idle: so the lowest row's load is subtracted.
"""

from __future__ import annotations

import csv
import statistics
import sys
from pathlib import Path
from typing import NamedTuple

from pytest_energy.meters.power_model import (
    CALIBRATED_BAND,
    CLIENT_STAND_IN,
    CURVE_EXPONENT,
    FITTED_EXPONENTS,
    PUBLISHED_WATTS_PER_VCPU,
    TDP_SHARES,
    UNCALIBRATED_BAND,
    PowerModel,
    fit_power_curve,
)

JOULES_PER_KWH = 3.6e6


class Machine(NamedTuple):
    name: str
    cpus: int
    kind: str
    chosen: str
    """The row that the meter takes if the TDP is unknown."""
    tdp_watts: float
    """From the makers' data sheets."""


MACHINES = {
    "AMD_Threadripper": Machine("Threadripper 1950X", 32, "EPYC 1st Gen", CLIENT_STAND_IN, 180.0),
    "E3-1240": Machine("Xeon E3-1240 v2", 8, "Ivy Bridge", "Ivy Bridge", 69.0),
}


class Sweep(NamedTuple):
    machine: Machine
    shape: str
    sensor: str
    points: list[tuple[float, float]]
    """CPU load from 0 to 1, watts."""


def read_sweeps(folder: Path) -> list[Sweep]:
    sweeps = []
    for path in sorted(folder.glob("*/*.csv")):
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        if not rows:
            continue
        machine, shape = MACHINES[path.parent.name], rows[0]["load_type"]
        of_machine = [float(row["cpu_load"]) / 100 for row in rows]
        loads = [(load - of_machine[0]) / (of_machine[-1] - of_machine[0]) for load in of_machine]
        rapl = [float(row["rapl_energy"]) * JOULES_PER_KWH / float(row["duration"]) for row in rows]
        wall = [float(row["tapo_power"]) for row in rows]
        sweeps.append(Sweep(machine, shape, "RAPL", list(zip(loads, rapl))))
        if all(wall):
            sweeps.append(Sweep(machine, shape, "wall plug", list(zip(loads, wall))))
    return sweeps


def ratios(model: PowerModel, points) -> list[float]:
    """Measured watts over estimated watts."""
    return [watts / model.watts(load) for load, watts in points]


def row(label: str, found: list[float], band: tuple[float, float]) -> None:
    errors = [abs(1 / ratio - 1) for ratio in found]
    inside = sum(band[0] <= ratio <= band[1] for ratio in found)
    print(
        f"  {label:<68} n={len(found):2}  median {statistics.median(errors):5.1%}  mean "
        f"{statistics.mean(errors):5.1%}  "
        f"worst {max(errors):6.1%}  truth/estimate {min(found):4.2f} to {max(found):4.2f}  "
        f"in band {band[0]}-{band[1]}: {inside}/{len(found)} = {inside / len(found):.0%}"
    )


def uncalibrated(sweeps: list[Sweep]) -> None:
    print("\nUncalibrated, every point judged")
    sources = {
        "chosen": lambda m: tuple(watts * m.cpus for watts in PUBLISHED_WATTS_PER_VCPU[m.chosen]),
        "published for the generation": lambda m: tuple(
            watts * m.cpus for watts in PUBLISHED_WATTS_PER_VCPU[m.kind]
        ),
        "TDP": lambda m: tuple(share * m.tdp_watts for share in TDP_SHARES),
    }
    for source, watts_of in sources.items():
        total = []
        for sweep in sweeps:
            found = ratios(PowerModel(*watts_of(sweep.machine), source), sweep.points)
            row(
                f"{source}: {sweep.machine.name}, {sweep.shape}, {sweep.sensor}",
                found,
                UNCALIBRATED_BAND,
            )
            if sweep.sensor == "RAPL":
                total += found
        row(f"{source}: all against RAPL", total, UNCALIBRATED_BAND)


def two_points(sweeps: list[Sweep]) -> None:
    print(
        "\nCalibrated by two points, lowest and highest load of the sweep; the points in between "
        "judged"
    )
    total, by_sensor = [], {}
    for sweep in sweeps:
        ends = [sweep.points[0], sweep.points[-1]]
        found = ratios(PowerModel(*fit_power_curve(ends)[:2], "fit"), sweep.points[1:-1])
        row(f"{sweep.machine.name}, {sweep.shape}, {sweep.sensor}", found, CALIBRATED_BAND)
        by_sensor.setdefault(sweep.sensor, []).extend(found)
        total += found
    for sensor, found in by_sensor.items():
        row(f"all against {sensor}", found, CALIBRATED_BAND)
    row("all", total, CALIBRATED_BAND)


def several_points(sweeps: list[Sweep]) -> None:
    print(
        "\nCalibrated by five points of some_cores (none, fewest, about 1/4, about 1/2, all "
        "CPUs); all others judged"
    )
    total = []
    for some in (
        sweep for sweep in sweeps if sweep.shape == "some_cores" and sweep.sensor == "RAPL"
    ):
        chosen = {0, 1, len(some.points) // 4, len(some.points) // 2, len(some.points) - 1}
        idle_watts, full_watts, exponent = fit_power_curve([some.points[i] for i in sorted(chosen)])
        model = PowerModel(idle_watts, full_watts, "fit", exponent)
        print(
            f"  {some.machine.name}: {idle_watts:.1f} W idle, {full_watts:.1f} W full, exponent "
            f"{exponent}"
        )
        for sweep in sweeps:
            if sweep.machine == some.machine and sweep.sensor == "RAPL":
                judged = [
                    p for i, p in enumerate(sweep.points) if sweep is not some or i not in chosen
                ]
                found = ratios(model, judged)
                row(f"{sweep.machine.name}, {sweep.shape}", found, CALIBRATED_BAND)
                total += found
    row("all against RAPL", total, CALIBRATED_BAND)


def exponents(sweeps: list[Sweep]) -> None:
    print(
        f"\nThe exponent (used: {CURVE_EXPONENT}), two-point calibration against RAPL, median error"
    )
    sweeps = [sweep for sweep in sweeps if sweep.sensor == "RAPL"]

    def judged(exponent: float, sweeps: list[Sweep]) -> list[float]:
        found = []
        for sweep in sweeps:
            idle_watts, full_watts = sweep.points[0][1], sweep.points[-1][1]
            found += ratios(PowerModel(idle_watts, full_watts, "fit", exponent), sweep.points[1:-1])
        return found

    def median_error(exponent: float, sweeps: list[Sweep]) -> float:
        return statistics.median(abs(1 / ratio - 1) for ratio in judged(exponent, sweeps))

    for exponent in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0):
        each = [
            f"{machine.name} "
            f"{median_error(exponent, [sweep for sweep in sweeps if sweep.machine == machine]):.1%}"
            for machine in MACHINES.values()
        ]
        print(f"  {exponent:.1f}  {'  '.join(each)}  all {median_error(exponent, sweeps):.1%}")
    print(
        "  One machine left out: the exponent and the band that are best on the other, judged on "
        "the one (2 machines only)"
    )
    for machine in MACHINES.values():
        others = [sweep for sweep in sweeps if sweep.machine != machine]
        best = min(FITTED_EXPONENTS, key=lambda exponent: median_error(exponent, others))
        learnt = sorted(judged(best, others))
        found = judged(best, [sweep for sweep in sweeps if sweep.machine == machine])
        row(
            f"{machine.name}: exponent {best} from the other",
            found,
            (round(learnt[0], 2), round(learnt[-1], 2)),
        )
        learnt = sorted(judged(CURVE_EXPONENT, others))
        found = judged(CURVE_EXPONENT, [sweep for sweep in sweeps if sweep.machine == machine])
        row(
            f"{machine.name}: ours, with the other's band",
            found,
            (round(learnt[0], 2), round(learnt[-1], 2)),
        )


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sweeps = read_sweeps(Path(sys.argv[1]))
    if not sweeps:
        sys.exit(f"no load sweeps (*/*.csv) under {sys.argv[1]}")
    uncalibrated(sweeps)
    two_points(sweeps)
    several_points(sweeps)
    exponents(sweeps)


if __name__ == "__main__":
    main()
