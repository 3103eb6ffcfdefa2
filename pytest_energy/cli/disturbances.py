"""What on this machine makes a measurement noisy: clocks that move by themselves, and others at work."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

# One busy neighbour on one CPU; what the system itself does is well below.
BUSY_LOAD = 0.5
STEADY_GOVERNOR = "performance"


def disturbances(
    cpus: Path = Path("/sys/devices/system/cpu"),
    load: Callable[[], tuple[float, float, float]] | None = None,
) -> Iterator[str]:
    """A line for each thing that disturbs, with what mends it; nothing on a quiet machine.

    ``cpus`` is where the kernel shows its CPUs. What cannot be read there is said, too: in a virtual machine or a container
    the host decides.
    """
    governors = sorted(
        {text for path in cpus.glob("cpu[0-9]*/cpufreq/scaling_governor") if (text := _text(path))}
    )
    turbo = _turbo(cpus)
    if not governors and turbo is None:
        yield "clocks: not shown here, as in most virtual machines and containers; the host decides about governor and turbo"
    restless = [name for name in governors if name != STEADY_GOVERNOR]
    if restless:
        yield f"governor: {', '.join(restless)}, so that clocks follow the load; do: sudo cpupower frequency-set -g {STEADY_GOVERNOR}"
    if turbo is not None and turbo[0]:
        yield f"turbo: on, so that clocks follow the temperature; do: {turbo[1]}"
    try:
        busy = (load or os.getloadavg)()[0]
    except (OSError, AttributeError):  # Windows has none
        return
    if busy >= BUSY_LOAD:
        yield f"load: {busy:.1f} programs were running over the last minute, and a sensor counts their joules as yours; end them"


def _turbo(cpus: Path) -> tuple[bool, str] | None:
    """Whether it is on, and how to switch it off; None where the kernel does not say."""
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
