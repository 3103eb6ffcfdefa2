"""The identity of this machine, and the folder for what is configured on it."""

from __future__ import annotations

import ctypes
import ctypes.util
import json
import math
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_energy.errors import OptionError

KIB_PER_GIB = 2**20
UNKNOWN_CPU = "unknown"

# ARM's part numbers (Linux's arch/arm64/include/asm/cputype.h), of cores in servers and boards.
ARM = 0x41
ARM_CORES = {
    0xD03: "Cortex-A53", 0xD04: "Cortex-A35", 0xD05: "Cortex-A55", 0xD07: "Cortex-A57",
    0xD08: "Cortex-A72", 0xD09: "Cortex-A73", 0xD0A: "Cortex-A75", 0xD0B: "Cortex-A76",
    0xD0C: "Neoverse-N1", 0xD0D: "Cortex-A77", 0xD40: "Neoverse-V1", 0xD41: "Cortex-A78",
    0xD42: "Cortex-A78AE", 0xD44: "Cortex-X1", 0xD49: "Neoverse-N2", 0xD4F: "Neoverse-V2",
    0xD83: "Neoverse-V3AE", 0xD84: "Neoverse-V3", 0xD8E: "Neoverse-N3",
}  # fmt: skip
# In this order: x86, LoongArch, ARM boards (two), MIPS, POWER, RISC-V.
CPUINFO_NAMES = ("model name", "Model Name", "Hardware", "Model", "cpu model", "cpu", "uarch")


def fingerprint(
    cpuinfo: str = "/proc/cpuinfo",
    meminfo: str = "/proc/meminfo",
    board_model: str = "/proc/device-tree/model",
    product: str = "/sys/class/dmi/id/product_name",
) -> dict[str, object]:
    """The CPU, cores, memory and system; not the present clock, and no name of host or user.

    ``cpu`` is ``unknown`` if nothing names it. Runs with an unknown CPU are never comparable.
    """
    name = _named_cpu(_lines(cpuinfo))
    known: dict[str, object] = {
        "cpu": name or _arm_cpu(_lines(cpuinfo)) or cpu_without_proc() or UNKNOWN_CPU,
        "cores": os.cpu_count(),
        "memory_gib": _memory_gib(meminfo),
        "architecture": platform.machine(),
        "system": platform.system(),
    }
    # The kernel gives an ARM core's type but not the chip's, so the board or the server adds it.
    device = _first_line(board_model) or ("" if name else _first_line(product))
    return known | ({"device": device} if device else {})


def usable_cpus() -> int:
    """How many CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _named_cpu(cpuinfo: list[str]) -> str | None:
    fields = {
        key.strip(): value.strip()
        for key, _, value in (line.partition(":") for line in reversed(cpuinfo))
    }
    names = (fields.get(key, "") for key in CPUINFO_NAMES)
    return next((name for name in names if name and name.lower() != UNKNOWN_CPU), None)


def _arm_cpu(cpuinfo: list[str]) -> str | None:
    """Each kind of core once: Linux names ARM's cores by numbers alone."""
    kinds: dict[str, None] = {}
    numbers: dict[str, int] = {}
    for line in cpuinfo:
        key, _, value = (part.strip() for part in line.partition(":"))
        if key.startswith("CPU "):
            try:
                numbers[key.removeprefix("CPU ")] = int(value, 0)
            except ValueError:
                continue
        if key == "CPU revision" and {"implementer", "part"} <= numbers.keys():
            kinds[_arm_core(numbers)] = None
    return ", ".join(kinds) or None


def _arm_core(numbers: Mapping[str, int]) -> str:
    implementer, part = numbers["implementer"], numbers["part"]
    name = ARM_CORES.get(part) if implementer == ARM else None
    name = name or f"implementer {implementer:#04x} part {part:#05x}"
    return f"{name} r{numbers.get('variant', 0)}p{numbers.get('revision', 0)}"


def cpu_without_proc() -> str | None:
    """The CPU's name where there is no /proc/cpuinfo, or None."""
    if sys.platform == "darwin":
        return _sysctl(b"machdep.cpu.brand_string")
    name = platform.processor()
    # Linux and macOS give the architecture here, which many CPUs share; Windows gives the CPU.
    return name if " " in name else None


def _sysctl(name: bytes) -> str | None:
    value = ctypes.create_string_buffer(256)
    size = ctypes.c_size_t(len(value))
    library = ctypes.CDLL(ctypes.util.find_library("c"))
    failed = library.sysctlbyname(name, value, ctypes.byref(size), None, ctypes.c_size_t(0))
    return None if failed else value.value.decode(errors="replace") or None


def _memory_gib(meminfo: str) -> int | None:
    for line in _lines(meminfo):
        key, _, value = line.partition(":")
        if key == "MemTotal":
            # Rounded up: the kernel keeps 1 to 5 % for itself, more or less with each release.
            # 16 GiB of memory are 15.2 to 15.8 GiB here, on both sides of 15.5.
            return math.ceil(int(value.split()[0]) / KIB_PER_GIB)
    return None


def _first_line(path: str) -> str:
    return next(iter(_lines(path)), "").strip("\x00 ")


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(errors="replace").splitlines()
    except OSError:
        return []  # not Linux


def config_folder() -> Path:
    """The folder for calibrations and noise, which may not exist yet.

    Raises `OptionError` if the environment names none and this user has no home folder, as in a
    container that runs with any uid.
    """
    named = os.environ.get("XDG_CONFIG_HOME")
    try:
        return Path(named or Path.home() / ".config") / "pytest-energy"
    except RuntimeError:
        raise OptionError(
            "this user has no home folder, so there is no place for calibrations and noise; "
            "set XDG_CONFIG_HOME to a folder"
        ) from None


def write_config(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON, atomically. Raises `OSError`, and leaves an existing file unchanged then."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    part.replace(path)
