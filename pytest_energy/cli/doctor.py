"""``pytest-energy doctor``: what this machine can measure, and what disturbs it."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from pytest_energy.cli.arguments import (
    CommandHelp,
    Commands,
    add_format,
    add_options,
    new_command,
    read_options,
)
from pytest_energy.cli.exit_codes import ExitCode
from pytest_energy.counting.available import counting_tool
from pytest_energy.counting.callgrind import INSTALL, instruction_set
from pytest_energy.errors import CountingUnavailable
from pytest_energy.meters import check_meters
from pytest_energy.report.doctor import doctor_report

NAMES = ("watts", "trust_sensor")
# Half of one CPU. The system's own work stays well below.
BUSY_LOAD = 0.5
STEADY_GOVERNOR = "performance"

HELP = CommandHelp(
    summary="Show what this machine can measure, and how to measure more.",
    description="Try every meter, and show what disturbs measurements on this machine.",
    example="pytest-energy doctor --all",
    exit_codes={ExitCode.OK: "done, with or without a sensor"},
)


def add_command(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the command to the parser of ``pytest-energy``."""
    command = new_command(commands, "doctor", HELP)
    command.add_argument("--all", action="store_true", help="Show why each absent meter is absent.")
    add_format(command, "text", "json")
    add_options(command, *NAMES)
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> ExitCode:
    """Print the findings. A machine without a sensor is no fault."""
    checks = check_meters(read_options(arguments, *NAMES).meter_settings)
    if arguments.format == "json":
        print(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        print(doctor_report(checks, tuple(disturbances()), arguments.all, counting=counting_line()))
    return ExitCode.OK


def counting_line() -> str:
    """Whether `--energy-count` works here, and by which tool."""
    try:
        tool, simulates = counting_tool()
    except CountingUnavailable as error:
        return f"no: {error}"
    if simulates:
        return f"yes, with {tool} on {instruction_set()}"
    return f"yes, with {tool}; for counts that compare across machines, {INSTALL}"


def disturbances(
    cpus: Path = Path("/sys/devices/system/cpu"),
    load: Callable[[], tuple[float, float, float]] | None = None,
) -> Iterator[str]:
    """A line for each disturbance, with its remedy; nothing on a quiet machine.

    ``cpus`` is the folder in which the kernel shows its CPUs. Where it shows no clocks, as in a
    virtual machine, a line reports that.
    """
    files = cpus.glob("cpu[0-9]*/cpufreq/scaling_governor")
    governors = sorted({text for path in files if (text := _text(path))})
    turbo = _turbo(cpus)
    if not governors and turbo is None:
        yield (
            "clocks: the kernel does not show them, as in most virtual machines and containers; "
            "the host sets governor and turbo"
        )
    restless = [name for name in governors if name != STEADY_GOVERNOR]
    if restless:
        yield (
            f"governor: {', '.join(restless)}, so clocks follow the load; do: sudo cpupower "
            f"frequency-set -g {STEADY_GOVERNOR}"
        )
    if turbo is not None and turbo[0]:
        yield f"turbo: on, so clocks follow the temperature; do: {turbo[1]}"
    try:
        busy = (load or os.getloadavg)()[0]
    except (OSError, AttributeError):  # Windows has none
        return
    if busy >= BUSY_LOAD:
        yield (
            f"load: {busy:.1f} programs ran on average over the last minute, and a sensor counts "
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
