"""Which machine this is, and the small files that keep what is known of it."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def fingerprint(
    cpuinfo: str = "/proc/cpuinfo",
    meminfo: str = "/proc/meminfo",
    board_model: str = "/proc/device-tree/model",
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


def config_folder() -> Path:
    """Where they lie; it may not be there yet."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "pytest-energy"


def write_config(path: Path, content: Mapping[str, Any]) -> None:
    """As JSON. Raises `OSError` where it cannot be written, and then leaves what was there as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    part.replace(path)
