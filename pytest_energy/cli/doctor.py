"""``pytest-energy doctor``: what this machine can measure, and what disturbs it."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from pytest_energy.cli.arguments import add_options, read_options
from pytest_energy.cli.exit_codes import ExitCode
from pytest_energy.meters import check_meters
from pytest_energy.report.doctor import doctor_report

# One busy neighbour on one CPU; the system's own work stays well below.
BUSY_LOAD = 0.5
STEADY_GOVERNOR = "performance"


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser of ``pytest-energy``."""
    command = commands.add_parser(
        "doctor",
        help="Show what this machine can measure, and what to do about the rest.",
        description="Try every meter, and show what disturbs measurements on this machine.",
    )
    command.add_argument("--json", action="store_true", help="Print JSON.")
    add_options(command, "watts", "trust_sensor")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> ExitCode:
    """Always `ExitCode.OK`: a machine without a sensor is no fault."""
    checks = check_meters(read_options(arguments, "watts", "trust_sensor").meter_settings)
    if arguments.json:
        print(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        print(doctor_report(checks, tuple(disturbances())))
    return ExitCode.OK


def disturbances(
    cpus: Path = Path("/sys/devices/system/cpu"),
    load: Callable[[], tuple[float, float, float]] | None = None,
) -> Iterator[str]:
    """A line for each disturbance, with its remedy; nothing on a quiet machine.

    ``cpus`` is where the kernel shows its CPUs. In a virtual machine or a container it shows no
    clocks, and a line says so.
    """
    files = cpus.glob("cpu[0-9]*/cpufreq/scaling_governor")
    governors = sorted({text for path in files if (text := _text(path))})
    turbo = _turbo(cpus)
    if not governors and turbo is None:
        yield (
            "clocks: not shown here, as in most virtual machines and containers; the host decides "
            "about governor and turbo"
        )
    restless = [name for name in governors if name != STEADY_GOVERNOR]
    if restless:
        yield (
            f"governor: {', '.join(restless)}, so that clocks follow the load; do: sudo cpupower "
            f"frequency-set -g {STEADY_GOVERNOR}"
        )
    if turbo is not None and turbo[0]:
        yield f"turbo: on, so that clocks follow the temperature; do: {turbo[1]}"
    try:
        busy = (load or os.getloadavg)()[0]
    except (OSError, AttributeError):  # Windows has none
        return
    if busy >= BUSY_LOAD:
        yield (
            f"load: {busy:.1f} programs were running over the last minute, and a sensor counts "
            "their joules as yours; end them"
        )


def _turbo(cpus: Path) -> tuple[bool, str] | None:
    """Whether turbo is on, and the command that switches it off; None if the kernel shows none."""
    for name, off in (("intel_pstate/no_turbo", "1"), ("cpufreq/boost", "0")):
        text = _text(cpus / name)
        if text in ("0", "1"):
            return text != off, f"echo {off} | sudo tee {cpus / name}"
    return None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf8", errors="replace").strip()
    except OSError:
        return None
