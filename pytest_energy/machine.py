"""Which machine a run came from: what does not change from one minute to the next."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def fingerprint(
    cpuinfo: str = "/proc/cpuinfo", meminfo: str = "/proc/meminfo", board_model: str = "/proc/device-tree/model"
) -> dict[str, object]:
    """CPU, cores, memory, system. Not the clock of the moment, and no host or user name."""
    known: dict[str, object] = {
        "cpu": _cpu_model(cpuinfo),
        "cores": os.cpu_count(),
        "memory_gib": _memory_gib(meminfo),
        "architecture": platform.machine(),
        "system": platform.system(),
    }
    # Boards say what they are: "NVIDIA Jetson Orin Nano Developer Kit". Two with the same CPU and memory are then told apart.
    board = "".join(_lines(board_model)).strip("\x00 ")
    return known | ({"device": board} if board else {})


def _cpu_model(cpuinfo: str) -> str:
    for line in _lines(cpuinfo):
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model", "Hardware"):
            return value.strip()
    return platform.processor() or "unknown"


def _memory_gib(meminfo: str) -> int | None:
    for line in _lines(meminfo):
        key, _, value = line.partition(":")
        if key == "MemTotal":
            # Rounded: the kernel keeps a little more or less of it for itself with each release.
            return round(int(value.split()[0]) / 2**20)
    return None


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(errors="replace").splitlines()
    except OSError:
        return []  # not Linux: the other fields still tell machines apart
