"""Whether RAPL's counters here are the hardware's, or a hypervisor's share of them.

A virtual machine has no RAPL of its own. QEMU (from 9.1, ``rapl=true``), Scaphandre and vrapl give
their guests counters that divide the host's joules by CPU time. These are `attributed`.
"""

from __future__ import annotations

import os
import re

from pytest_energy.model import Provenance

_FLAGS = re.compile(r"^(?:flags|Features)\s*:(.*)$", re.MULTILINE)
_HYPERVISOR_FLAG = "hypervisor"

ATTRIBUTED_NOTE = (
    "attributed: this CPU runs under a hypervisor, so its counters are shares of the host's joules "
    "by CPU time; --energy-trust-sensor declares that they are the hardware's own"
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
    if not is_virtual(cpuinfo):
        return "measured", ()
    if trust_sensor:
        return "measured", (TRUSTED_NOTE,)
    return "attributed", (ATTRIBUTED_NOTE,)
