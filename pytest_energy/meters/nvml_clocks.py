"""Whether a limit of power or heat lowers the clocks of NVIDIA GPUs, and how fast they run.

Turns do not cancel a power cap that only one side of a comparison hits. NVML sums the nanoseconds
in which a policy held the clocks down (``nvmlDeviceGetViolationStatus``). GPUs without these sums
show the reasons of one instant (``nvmlDeviceGetCurrentClocksThrottleReasons``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NamedTuple

# nvml.h: software's power cap, its heat limit, and the hardware's slowdowns. The others (idle,
# application clocks, sync boost, display) are settings, and hold for both sides alike.
LIMITS = 0x4 | 0x8 | 0x20 | 0x40 | 0x80


class ClockState(NamedTuple):
    """The limits and the clock at one instant."""

    limited_ns: int
    """Nanoseconds so far in which a limit lowered a clock; 0 if the driver does not sum them."""
    limited_now: bool
    mhz: float


class GpuClockWatch:
    """Reads the state of some GPUs; every call of NVML that a GPU refuses is left out."""

    def __init__(self, nvml: ModuleType, handles: Sequence[Any]):
        self._nvml, self._handles = nvml, handles
        self._policies = (nvml.NVML_PERF_POLICY_POWER, nvml.NVML_PERF_POLICY_THERMAL)

    def read(self) -> ClockState | None:
        """The state now; None if no GPU reports a clock."""
        clocks = self._all(self._mhz)
        if not clocks:
            return None
        reasons = self._all(self._nvml.nvmlDeviceGetCurrentClocksThrottleReasons)
        limited_ns = sum(self._all(self._limited_ns))
        return ClockState(limited_ns, any(each & LIMITS for each in reasons), min(clocks))

    def _mhz(self, handle: Any) -> int:
        mhz: int = self._nvml.nvmlDeviceGetClockInfo(handle, self._nvml.NVML_CLOCK_SM)
        return mhz

    def _limited_ns(self, handle: Any) -> int:
        return sum(
            int(self._nvml.nvmlDeviceGetViolationStatus(handle, policy).violationTime)
            for policy in self._policies
        )

    def _all(self, call: Callable[[Any], int]) -> list[int]:
        """The answers of the GPUs that have one."""
        answers = []
        for handle in self._handles:
            try:
                answers.append(call(handle))
            except self._nvml.NVMLError:
                continue  # an older GPU or driver, or a GPU that is gone: the next reading says so
        return answers
