"""Whether RAPL's counters here are this machine's own, or shared with others.

A virtual machine has no RAPL of its own. QEMU (from 9.1, ``rapl=true``), Scaphandre and vrapl give
their guests counters that divide the host's joules by CPU time. A container that may use some of
the CPUs sees the host's counters, which have the joules of all. Both are `attributed`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from pytest_energy.model import Provenance

_FLAGS = re.compile(r"^(?:flags|Features)\s*:(.*)$", re.MULTILINE)
_HYPERVISOR_FLAG = "hypervisor"
CGROUP_ROOT = "/sys/fs/cgroup"
OWN_CGROUPS = "/proc/self/cgroup"
ONLINE_CPUS = "/sys/devices/system/cpu/online"

ATTRIBUTED_NOTE = (
    "attributed: this CPU runs under a hypervisor, so its counters are shares of the host's joules "
    "by CPU time; --energy-trust-sensor declares that they are the hardware's own"
)
CONTAINER_NOTE = (
    "attributed: this container may use {allowed:.3g} of {cpus} CPUs, and the counters have the "
    "joules of all; --energy-trust-sensor declares that nothing else runs on this machine"
)
TRUSTED_NOTE = "--energy-trust-sensor: the user declares that these counters are the hardware's own"


def is_virtual(cpuinfo: str | os.PathLike[str] = "/proc/cpuinfo") -> bool:
    """Whether the CPU has the flag that every hypervisor sets for its guests."""
    try:
        with open(cpuinfo, encoding="utf-8", errors="replace") as file:
            flags = _FLAGS.search(file.read())
    except OSError:
        return False
    return flags is not None and _HYPERVISOR_FLAG in flags[1].split()


def rapl_provenance(
    cpuinfo: str | os.PathLike[str], trust_sensor: bool
) -> tuple[Provenance, tuple[str, ...]]:
    """The provenance of RAPL's joules on this machine, and the note that explains it."""
    note = ATTRIBUTED_NOTE if is_virtual(cpuinfo) else _container_note()
    if note is None:
        return "measured", ()
    return ("measured", (TRUSTED_NOTE,)) if trust_sensor else ("attributed", (note,))


def _container_note() -> str | None:
    cpus = _count(_read(Path(ONLINE_CPUS)) or "")
    allowed = allowed_cpus()
    if not cpus or allowed is None or allowed >= cpus:
        return None
    return CONTAINER_NOTE.format(allowed=allowed, cpus=cpus)


def allowed_cpus() -> float | None:
    """How many CPUs the control groups of this process allow, or None without a limit.

    The kernel's cgroup-v2.rst: ``cpu.max`` is "quota period" or "max period", and
    ``cpuset.cpus.effective`` a list. Version 1 has files of its own. A limit of a parent holds too.
    """
    limits = [limit for folder in _own_groups() for limit in _limits_of(folder)]
    return min(limits, default=None)


def _own_groups() -> Iterator[Path]:
    """The folders of this process's groups and of their parents, in both versions."""
    root = Path(CGROUP_ROOT)
    for line in (_read(Path(OWN_CGROUPS)) or "").splitlines():
        _, controllers, path = line.split(":", 2)
        tops = (
            [root / name for name in (controllers, *controllers.split(","))]
            if controllers
            else [root, root / "unified"]
        )
        # In a container of version 1, the path is the host's, and the group is mounted at the top.
        parts = Path(path.lstrip("/")).parts
        for top in tops:
            for depth in range(len(parts), -1, -1):
                yield top.joinpath(*parts[:depth])


def _limits_of(folder: Path) -> Iterator[float]:
    quota, period = ((_read(folder / "cpu.max") or "").split() + ["", ""])[:2]
    if not quota:
        quota = _read(folder / "cpu.cfs_quota_us") or ""
        period = _read(folder / "cpu.cfs_period_us") or ""
    if quota.isdecimal() and period.isdecimal() and int(period) > 0:
        yield int(quota) / int(period)
    for name in ("cpuset.cpus.effective", "cpuset.effective_cpus"):
        if count := _count(_read(folder / name) or ""):
            yield count


def _count(cpus: str) -> int:
    """How many CPUs a list such as ``0-3,8`` has; 0 for other texts."""
    if not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", cpus):
        return 0
    ends = [[int(end) for end in part.split("-")] for part in cpus.split(",")]
    return sum(end[-1] - end[0] + 1 for end in ends)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
