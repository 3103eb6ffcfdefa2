"""Idle and full-load watts measured on this machine, and the file that has them.

With a sensor, `fit_watts` runs loads and reads it; with a wall meter, the user reads the display
while `busy_cpus` keeps the CPUs busy, and `calibration_of_watts` takes the figures. The estimate
reads the file, so the sensor or the wall meter is needed only once.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pytest_energy.clock import sleep
from pytest_energy.errors import MeterFailed, MeterUnavailable, OptionError
from pytest_energy.machine import config_folder, cpu_without_proc, write_config
from pytest_energy.meters.power_model import (
    CALIBRATED_BAND,
    PowerModel,
    cpu_name,
    cpuinfo_of,
    fit_power_curve,
    watts_are_possible,
)
from pytest_energy.meters.protocol import Meter, info
from pytest_energy.model import window_between

SCHEMA = 1
PATH_VARIABLE = "PYTEST_ENERGY_CALIBRATION"

# Long enough for a CPU's clock and fans to follow the load before its watts are read.
SETTLE_S = 1.0
SECONDS_PER_LOAD = 5.0

# A busy loop that ends with its parent, so that none is left behind by a parent that was killed.
# The parent's number is an argument: the parent may be gone before the loop begins.
_LOOP = """import os, sys
while os.getppid() == int(sys.argv[1]):
    for _ in range(100000):
        pass
"""


@dataclass(frozen=True)
class Calibration:
    """The power model of one machine, as measured there."""

    idle_watts: float
    full_watts: float
    exponent: float
    cpus: int
    cpu_name: str
    source: str
    """What counted: a meter's name, or the user's wall meter."""
    points: tuple[tuple[float, float], ...]
    """(CPU load from 0 to 1, watts), as measured."""

    def model(self) -> PowerModel:
        loads = f"{len(self.points)} loads"
        return PowerModel(
            self.idle_watts,
            self.full_watts,
            f"calibrated by {loads} against {self.source}",
            self.exponent,
            CALIBRATED_BAND,
        )


def fit_watts(
    meter: Meter,
    seconds_per_load: float = SECONDS_PER_LOAD,
    settle_s: float = SETTLE_S,
    on_step: Callable[[str], None] = lambda line: None,
) -> Calibration:
    """Measure this machine's watts with none, some and all CPUs busy, and fit the curve.

    ``meter`` must be a sensor of the CPU's energy; ``on_step`` gets a line per load. Takes about 5
    x (``settle_s`` + ``seconds_per_load``) on 8 CPUs. Raises `OptionError` for an estimated meter
    and `MeterFailed` if its counter does not rise with the load.
    """
    if meter.provenance != "measured":
        raise OptionError(
            f"calibration needs a sensor, and the meter {meter.name!r} is {meter.provenance}"
        )
    cpus = os.cpu_count() or 1
    points = []
    for busy in sorted({0, 1, math.ceil(cpus / 4), math.ceil(cpus / 2), cpus}):
        on_step(f"{busy} of {cpus} CPUs busy for {settle_s + seconds_per_load:g} s")
        with busy_cpus(busy):
            sleep(settle_s)
            before = meter.read()
            sleep(seconds_per_load)
            window = window_between(before, meter.read(), calls=0)
        points.append((busy / cpus, info(meter).total_joules(window.joules) / window.seconds))
    return _fit(points, meter.name)


def calibration_of_watts(
    idle_watts: float, full_watts: float, source: str = "a wall meter"
) -> Calibration:
    """The calibration of the user's two figures. Raises `OptionError` for impossible ones."""
    if not watts_are_possible(idle_watts, full_watts) or idle_watts == 0:
        raise OptionError(
            f"watts {idle_watts:g},{full_watts:g} cannot be measured ones: 0 < idle <= full is "
            "wanted"
        )
    return _fit([(0.0, idle_watts), (1.0, full_watts)], source)


def _fit(points: Sequence[tuple[float, float]], source: str) -> Calibration:
    try:
        idle_watts, full_watts, exponent = fit_power_curve(points)
    except ValueError as error:
        raise MeterFailed(f"no power curve fits what {source} counted: {error}") from error
    return Calibration(
        idle_watts,
        full_watts,
        exponent,
        os.cpu_count() or 1,
        cpu_name(read_cpuinfo()),
        source,
        tuple(points),
    )


@contextmanager
def busy_cpus(count: int) -> Iterator[None]:
    """Keep ``count`` CPUs busy until the block ends, with a Python process on each."""
    loops: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(count):
            loops.append(subprocess.Popen(_busy_loop_of(os.getpid())))
        yield
    finally:
        for loop in loops:
            loop.kill()
        for loop in loops:
            loop.wait()


def _busy_loop_of(parent: int) -> list[str]:
    """A command that keeps one CPU busy while this process runs."""
    return [sys.executable, "-I", "-S", "-c", _LOOP, str(parent)]


def read_cpuinfo() -> str:
    """What /proc/cpuinfo shows, or would show on Windows and macOS; "" if nothing is known."""
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return cpuinfo_of(cpu_without_proc() or "")


def calibration_path() -> Path:
    """The file of this machine's calibration: ``PYTEST_ENERGY_CALIBRATION``, else the default."""
    named = os.environ.get(PATH_VARIABLE)
    if named:
        return Path(named)
    return config_folder() / "calibration.json"


def save_calibration(calibration: Calibration, path: Path) -> None:
    """Write the calibration, whole or not at all."""
    write_config(path, {"schema": SCHEMA, **asdict(calibration)})


def load_calibration(path: Path) -> Calibration:
    """Read a calibration. Raises `MeterUnavailable` naming the file and what is wrong with it."""
    try:
        return _parse(json.loads(path.read_text(encoding="utf-8")))
    # A JSON and a UTF-8 error are ValueErrors. A file may hold infinity, or [[[[...
    except (OSError, ValueError, ArithmeticError, RecursionError) as error:
        raise MeterUnavailable(
            f"the calibration {path} cannot be used: {error}",
            "calibrate again with `pytest-energy calibrate`, or set "
            f"{PATH_VARIABLE} to another file",
        ) from error


def _parse(data: object) -> Calibration:
    if not isinstance(data, dict):
        raise ValueError(f"an object is wanted, not {type(data).__name__}")
    if data.get("schema") != SCHEMA:
        raise ValueError(f"schema {data.get('schema')!r} is not {SCHEMA}")
    numbers: list[Any] = [data.get(key) for key in ("idle_watts", "full_watts", "exponent", "cpus")]
    if not all(
        isinstance(number, (int, float)) and not isinstance(number, bool) for number in numbers
    ):
        raise ValueError(
            f"idle_watts, full_watts, exponent and cpus must be numbers, got {numbers}"
        )
    idle_watts, full_watts, exponent, cpus = numbers
    if not watts_are_possible(idle_watts, full_watts) or not 0 < exponent <= 1 or cpus < 1:
        raise ValueError(
            "0 <= idle_watts <= full_watts, 0 < exponent <= 1 and cpus >= 1 are wanted, got "
            f"{numbers}"
        )
    points: Any = data.get("points")
    try:
        points = tuple((float(load), float(watts)) for load, watts in points)
    except TypeError:
        raise ValueError(f"points must be pairs of load and watts, got {points!r}") from None
    return Calibration(
        idle_watts,
        full_watts,
        exponent,
        int(cpus),
        str(data.get("cpu_name", "")),
        str(data.get("source", "")),
        points,
    )


def find_calibration(
    argument: str | None, cpus: int, name: str
) -> tuple[Calibration | None, tuple[str, ...]]:
    """The calibration of this machine or None, and notes for the reader.

    A file that the user named must exist. A calibration of another machine is skipped with a note.
    """
    try:
        path = Path(argument) if argument else calibration_path()
    except OptionError:
        return None, ()  # a user without a home folder has no calibration
    named = bool(argument or os.environ.get(PATH_VARIABLE))
    if not named and not path.exists():
        return None, ()
    calibration = load_calibration(path)
    if (calibration.cpus, calibration.cpu_name) != (cpus, name):
        return None, (
            (
                f"the calibration {path} is not used: it is of {calibration.cpus} CPUs "
                f"{calibration.cpu_name!r}, "
                f"and this machine has {cpus} CPUs {name!r}"
            ),
        )
    return calibration, (f"calibration: {path}",)
