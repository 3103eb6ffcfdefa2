"""The watts that a machine draws at a given CPU load, and the published data behind them.

``watts(u) = idle + (full - idle) x u ** exponent``, with u from 0 (idle) to 1 (every CPU busy).
These functions read no files: the caller passes in what it read from the machine.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

# Concave: the first busy core wakes the parts that all cores share, and the second thread of a core
# adds little. 0.6 is the least-squares fit, in steps of 0.05, to B. Davy's averages over AWS
# bare-metal servers ("Building an AWS EC2 carbon emissions dataset", Teads Engineering, 2021):
# 0.12, 0.32, 0.75 and 1.02 of the TDP at 0, 10, 50 and 100 % load. studies/estimate_study.py tests
# it on other data.
CURVE_EXPONENT = 0.6

# The ends of the same averages: idle and full-load watts as shares of the TDP.
TDP_SHARES = (0.12, 1.02)

# The likely error of an estimate without calibration, as factors of the value. It is not a bound.
# Of 42 points in two machines' load sweeps against RAPL, 36 were within a factor of two, with
# published watts and with the TDP (studies/estimate_study.py). At the wall, one machine drew 1.6 to
# 4.4 times as much.
UNCALIBRATED_BAND = (0.5, 2.0)

# The likely error after a calibration, from the load sweeps of two machines against RAPL (the same
# study). It holds all 34 points calibrated at two loads, and 29 of 32 calibrated at five. The band
# comes from these points, so it describes them and predicts little: a band from one machine held 15
# of 18 and 10 of 16 points of the other. The lower end occurred at 1.6 of 3.6 GHz with every core
# lightly loaded. With some cores fully busy, as in tests, RAPL showed 0.96 to 1.41 times the
# estimate.
CALIBRATED_BAND = (0.33, 1.5)

# The exponents that a fit tries. Above 1 the curve is not concave; at 0.2 it is nearly a step.
FITTED_EXPONENTS = tuple(n / 100 for n in range(20, 101, 2))

# Idle and full-load watts for one vCPU (hardware thread): Cloud Carbon Footprint's averages of the
# SPECpower_ssj2008 results of servers with that CPU, so they include memory, fans and power supply.
# Source: github.com/cloud-carbon-footprint/ccf-coefficients, output/coefficients-aws-use.csv
# at commit b0032d928c787cf76cecd7d1d611c5b46f366e29 (2026). Rounded to 3 digits. "EPYC 5th
# Gen" (3.68, 8.96) is left out: it is four times its neighbours, probably a wrong thread count.
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
    # Its row of EPYC 2nd Gen stands in for every Graviton, since AWS publishes no watts.
    "Graviton2": (0.474, 1.69),
    "Graviton3": (0.474, 1.69),
    "Graviton4": (0.474, 1.69),
}

# Apple's 6.8 W idle and 39 W at most of a Mac mini with 8 CPUs ("Mac mini power consumption and
# thermal output", support.apple.com/103253; M1, 2020), by CPU. GitHub's macOS runners have 3 of
# them. The 39 W include a busy GPU.
APPLE_WATTS_PER_CPU = (0.85, 4.88)

# The only row with desktop parts alone (Xeon E-2100 and E-2200). It stands in for every desktop and
# laptop CPU of unknown TDP, because each of a server's many slow cores draws less. In the load
# sweeps of a Threadripper 1950X against RAPL (22 points), the row of its own generation ("EPYC 1st
# Gen") had a median error of 52 %, always too low, and this row 13 %. No second desktop was tested.
CLIENT_STAND_IN = "Coffee Lake"

# Cloud Carbon Footprint's watts for an unknown processor: MIN_WATTS_AVG and
# MAX_WATTS_AVG in packages/aws/src/domain/AwsFootprintEstimationConstants.ts of
# cloud-carbon-footprint/cloud-carbon-footprint.
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
# Arm's part numbers (Linux's arch/arm64/include/asm/cputype.h). Other makers build servers of the
# same cores (Ampere Altra, Google's Axion, Azure's Cobalt 100), and publish no watts either.
_ARM_SERVER_CORES = {
    0xD0C: "Graviton2",  # Neoverse N1
    0xD40: "Graviton3",  # Neoverse V1
    0xD49: "Graviton3",  # Neoverse N2
    0xD4F: "Graviton4",  # Neoverse V2
}
_SKYLAKE_SERVER_MODEL, _FIRST_CASCADE_LAKE_STEPPING = 85, 5


@dataclass(frozen=True)
class PowerModel:
    """The watts of a machine as a function of its CPU load, and the source of the numbers."""

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
        return self.idle_watts + (self.full_watts - self.idle_watts) * load_curve(
            utilisation, self.exponent
        )


def load_curve(utilisation: float, exponent: float = CURVE_EXPONENT) -> float:
    """The share of the step from idle to full watts at a CPU load: concave, 0 at 0 and 1 at 1."""
    return float(utilisation**exponent)


def fit_power_curve(points: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """Idle watts, full-load watts and the exponent that best fit measured (CPU load, watts) points.

    With two loads, the exponent is `CURVE_EXPONENT`; with three or more, it is fitted too. The fit
    minimises the squared relative errors. Raises ValueError if the points determine no curve.

    >>> idle_watts, full_watts, exponent = fit_power_curve([(0.0, 10.0), (1.0, 50.0)])
    >>> round(idle_watts), round(full_watts), exponent
    (10, 50, 0.6)
    """
    loads = {load for load, _ in points}
    if len(loads) < 2:
        raise ValueError(
            f"fitting watts requires at least two different CPU loads, got {sorted(loads)}"
        )
    if not all(0 <= load <= 1 and math.isfinite(watts) and watts > 0 for load, watts in points):
        raise ValueError(f"loads must be from 0 to 1 and watts above 0, got {list(points)}")
    exponents = (CURVE_EXPONENT,) if len(loads) == 2 else FITTED_EXPONENTS
    fits = [(*_fit_line(points, exponent), exponent) for exponent in exponents]
    possible = [fit for fit in fits if watts_are_possible(*fit[1:3])]
    if not possible:
        raise ValueError(f"watts must rise with the CPU load, got {list(points)}")
    _, idle_watts, full_watts, exponent = min(possible)
    return idle_watts, full_watts, exponent


def _fit_line(points: Sequence[tuple[float, float]], exponent: float) -> tuple[float, float, float]:
    """Sum of squared relative errors, idle and full watts, from a weighted line over load_curve."""
    rows = [(load_curve(load, exponent), watts, 1 / watts**2) for load, watts in points]
    weight = math.fsum(w for _, _, w in rows)
    mean_x = math.fsum(w * x for x, _, w in rows) / weight
    mean_y = math.fsum(w * y for _, y, w in rows) / weight
    slope = math.fsum(w * (x - mean_x) * (y - mean_y) for x, y, w in rows) / math.fsum(
        w * (x - mean_x) ** 2 for x, _, w in rows
    )
    idle_watts = mean_y - slope * mean_x
    error = math.fsum(w * (idle_watts + slope * x - y) ** 2 for x, y, w in rows)
    return error, idle_watts, idle_watts + slope


def watts_are_possible(idle_watts: float, full_watts: float) -> bool:
    """Whether the two numbers are possible as a machine's idle and full-load watts."""
    return (
        all(map(math.isfinite, (idle_watts, full_watts)))
        and 0 <= idle_watts <= full_watts
        and full_watts > 0
    )


def microarchitecture(cpuinfo: str) -> str | None:
    """Cloud Carbon Footprint's name for the CPU in /proc/cpuinfo, or None if it lists no watts."""
    fields = _first_processor(cpuinfo)
    if fields.get("vendor_id") == "GenuineIntel" and fields.get("cpu family") == "6":
        model = int(fields.get("model", -1))
        if (
            model == _SKYLAKE_SERVER_MODEL
            and int(fields.get("stepping", 0)) >= _FIRST_CASCADE_LAKE_STEPPING
        ):
            return "Cascade Lake"
        return _INTEL_FAMILY_6.get(model)
    if fields.get("vendor_id") == "AuthenticAMD":
        return _epyc_generation(int(fields.get("cpu family", -1)), int(fields.get("model", -1)))
    if fields.get("CPU implementer") == "0x41":
        return _ARM_SERVER_CORES.get(int(fields.get("CPU part", "0"), 16))
    return None


def _epyc_generation(family: int, model: int) -> str | None:
    # Zen cores by CPUID (AMD's processor programming references; Linux's
    # arch/x86/kernel/cpu/amd.c).
    if family == 23:
        return (
            "EPYC 1st Gen" if model <= 0x0F else "EPYC 2nd Gen" if 0x30 <= model <= 0x3F else None
        )
    if family == 25:
        return (
            "EPYC 3rd Gen"
            if model <= 0x0F
            else "EPYC 4th Gen"
            if model <= 0x1F or 0xA0 <= model <= 0xAF
            else None
        )
    return None


def is_apple(cpuinfo: str) -> bool:
    """Whether the CPU is one of Apple's: its name is ``Apple M1``, ``Apple M2 Pro``, ..."""
    return re.match(r"Apple M\d", cpu_name(cpuinfo)) is not None


def cpuinfo_of(name: str) -> str:
    """What /proc/cpuinfo would show, from the name of the CPU on Windows or macOS.

    Windows names no model, but its numbers.

    >>> print(cpuinfo_of("AMD64 Family 25 Model 1 Stepping 1, AuthenticAMD"))
    model name : AMD64 Family 25 Model 1 Stepping 1, AuthenticAMD
    vendor_id : AuthenticAMD
    cpu family : 25
    model : 1
    stepping : 1
    """
    numbers = re.fullmatch(r"\S+ Family (\d+) Model (\d+) Stepping (\d+), (\S+)", name)
    lines = [f"model name : {name}"] if name else []
    if numbers is not None:
        keys = ("cpu family", "model", "stepping")
        lines.append(f"vendor_id : {numbers[4]}")
        lines += [f"{key} : {number}" for key, number in zip(keys, numbers.groups(), strict=False)]
    return "\n".join(lines)


def is_client(cpuinfo: str) -> bool:
    """Whether the CPU is for desktops or laptops. The published watts are for servers."""
    return (
        re.search(r"Ryzen|Core\(TM\)|Core i\d|Pentium|Celeron|Atom", cpu_name(cpuinfo)) is not None
    )


def cpu_name(cpuinfo: str) -> str:
    """The CPU's model name, or an empty string."""
    return _first_processor(cpuinfo).get("model name", "")


def _first_processor(cpuinfo: str) -> dict[str, str]:
    first = cpuinfo.strip().split("\n\n", 1)[0]
    return dict(re.findall(r"^([^:\n]+?)\s*:[ \t]*(.*?)\s*$", first, re.MULTILINE))
