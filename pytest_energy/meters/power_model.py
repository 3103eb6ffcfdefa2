"""How many watts a machine draws at a given CPU load, and whose figures that rests on.

``watts(u) = idle + (full - idle) x u ** exponent``, with u from 0 (idle) to 1 (every CPU busy). Pure
functions over text and numbers: what is read from the machine comes in as an argument.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

# Concave: the first busy core wakes what all cores share, and the second thread of a core adds little.
CURVE_EXPONENT = 0.55

# How far off an estimate is taken to be, as factors of the value, where nothing was calibrated here.
UNCALIBRATED_BAND = (0.5, 2.0)

# Idle and full-load watts for one vCPU (hardware thread): Cloud Carbon Footprint's averages of the
# SPECpower_ssj2008 results of servers with that CPU, so they hold memory, fans and power supply too.
# Source: github.com/cloud-carbon-footprint/ccf-coefficients, output/coefficients-aws-use.csv at commit
# b0032d928c787cf76cecd7d1d611c5b46f366e29 (2026). Rounded to 3 digits. Left out is "EPYC 5th Gen" (3.68, 8.96):
# four times its neighbours, so more likely a slip in counting threads than a CPU.
PUBLISHED_WATTS_PER_VCPU = {
    "Sandy Bridge": (2.21, 8.63),
    "Ivy Bridge": (1.71, 5.56),
    "Haswell": (1.86, 5.60),
    "Broadwell": (0.713, 3.69),
    "Skylake": (0.613, 4.10),
    "Cascade Lake": (0.690, 4.06),
    "Coffee Lake": (1.14, 5.42),
    "Ice Lake": (0.767, 3.76),
    "Sapphire Rapids": (1.04, 4.16),
    "Emerald Rapids": (0.814, 4.48),
    "Granite Rapids": (0.582, 2.53),
    "EPYC 1st Gen": (0.847, 2.60),
    "EPYC 2nd Gen": (0.474, 1.69),
    "EPYC 3rd Gen": (0.456, 1.96),
    "EPYC 4th Gen": (0.739, 2.28),
    "Graviton2": (0.474, 1.69),
}

# What Cloud Carbon Footprint takes for a processor it does not know: MIN_WATTS_AVG and MAX_WATTS_AVG in
# packages/aws/src/domain/AwsFootprintEstimationConstants.ts of cloud-carbon-footprint/cloud-carbon-footprint.
AVERAGE_WATTS_PER_VCPU = (0.74, 3.5)

# Family 6 of Intel, by model number (Linux's arch/x86/include/asm/intel-family.h).
_INTEL_FAMILY_6 = {
    42: "Sandy Bridge", 45: "Sandy Bridge",
    58: "Ivy Bridge", 62: "Ivy Bridge",
    60: "Haswell", 63: "Haswell", 69: "Haswell", 70: "Haswell",
    61: "Broadwell", 71: "Broadwell", 79: "Broadwell", 86: "Broadwell",
    78: "Skylake", 94: "Skylake", 85: "Skylake",
    142: "Coffee Lake", 158: "Coffee Lake",
    106: "Ice Lake", 108: "Ice Lake",
    143: "Sapphire Rapids", 207: "Emerald Rapids",
    173: "Granite Rapids", 174: "Granite Rapids",
}  # fmt: skip
_SKYLAKE_SERVER_MODEL, _FIRST_CASCADE_LAKE_STEPPING = 85, 5


@dataclass(frozen=True)
class PowerModel:
    """The watts of this machine against its CPU load, and where they come from."""

    idle_watts: float
    full_watts: float
    source: str
    exponent: float = CURVE_EXPONENT
    band: tuple[float, float] = UNCALIBRATED_BAND

    def watts(self, utilisation: float) -> float:
        """Watts at a CPU load from 0 to 1 of all CPUs.

        >>> PowerModel(10.0, 50.0, "an example", exponent=0.5).watts(0.25)
        30.0
        """
        return self.idle_watts + (self.full_watts - self.idle_watts) * load_curve(utilisation, self.exponent)


def load_curve(utilisation: float, exponent: float = CURVE_EXPONENT) -> float:
    """The share of the way from idle to full watts at a CPU load from 0 to 1: concave, 0 at 0 and 1 at 1."""
    return utilisation**exponent


def watts_are_possible(idle_watts: float, full_watts: float) -> bool:
    """Whether two figures can be a machine's idle and full-load watts."""
    return all(map(math.isfinite, (idle_watts, full_watts))) and 0 <= idle_watts <= full_watts and full_watts > 0


def microarchitecture(cpuinfo: str) -> str | None:
    """What Cloud Carbon Footprint calls the CPU that /proc/cpuinfo describes; None where it has no figure."""
    fields = _first_processor(cpuinfo)
    if fields.get("vendor_id") == "GenuineIntel" and fields.get("cpu family") == "6":
        model = int(fields.get("model", -1))
        if model == _SKYLAKE_SERVER_MODEL and int(fields.get("stepping", 0)) >= _FIRST_CASCADE_LAKE_STEPPING:
            return "Cascade Lake"
        return _INTEL_FAMILY_6.get(model)
    if fields.get("vendor_id") == "AuthenticAMD":
        return _epyc_generation(int(fields.get("cpu family", -1)), int(fields.get("model", -1)))
    if fields.get("CPU implementer") == "0x41" and fields.get("CPU part") == "0xd0c":  # Arm Neoverse N1
        return "Graviton2"
    return None


def _epyc_generation(family: int, model: int) -> str | None:
    # Zen cores by CPUID (AMD's processor programming references; Linux's arch/x86/kernel/cpu/amd.c).
    if family == 23:
        return "EPYC 1st Gen" if model <= 0x0F else "EPYC 2nd Gen" if 0x30 <= model <= 0x3F else None
    if family == 25:
        return "EPYC 3rd Gen" if model <= 0x0F else "EPYC 4th Gen" if model <= 0x1F or 0xA0 <= model <= 0xAF else None
    return None


def cpu_name(cpuinfo: str) -> str:
    """The CPU's own name for itself, or an empty string."""
    return _first_processor(cpuinfo).get("model name", "")


def _first_processor(cpuinfo: str) -> dict[str, str]:
    first = cpuinfo.strip().split("\n\n", 1)[0]
    return dict(re.findall(r"^([^:\n]+?)\s*:[ \t]*(.*?)\s*$", first, re.MULTILINE))
