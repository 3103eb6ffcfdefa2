"""Whether what a device reports can be true. A reading that cannot voids its window, no other."""

from __future__ import annotations

from pytest_energy.errors import MeterFailed

# More than any single sensor's device draws: a rack's power supply has at most 33 kW.
MAX_DEVICE_WATTS = 50_000.0
# A counter that is refreshed this rarely may show so many seconds of joules in one step.
LONGEST_UPDATE_S = 2.0
# A live counter moves within one update. While others move by this much, one that does not is dead:
# a package draws 0.1 J in 2 to 20 ms, and memory that is refreshed draws at least 1 % of it.
DEAD_WHILE_OTHERS_MOVE_J = 0.1


def plausible_watts(name: str, watts: float) -> float:
    """The watts unchanged. Raises `MeterFailed` for negative, endless and impossible ones."""
    if not 0 <= watts <= MAX_DEVICE_WATTS:  # NaN is not in the range either
        raise MeterFailed(
            f"{name} reports {watts:g} W; a device draws 0 to {MAX_DEVICE_WATTS:g} W, so its "
            "wiring, its driver or its unit is wrong"
        )
    return watts


class CheckedCounter:
    """A counter that only goes up, and by no more than a device draws.

    After a bad step it starts over from the present value, so that the next window is sound.
    """

    __slots__ = ("_at_s", "_joules", "name")

    def __init__(self, name: str):
        self.name = name
        self._at_s = self._joules = -1.0

    def step(self, joules: float, at_s: float) -> float:
        """The joules unchanged. Raises `MeterFailed` if they cannot follow the last ones."""
        if not 0 <= joules < float("inf"):
            raise MeterFailed(f"{self.name} reports {joules:g} J; a counter has 0 or more")
        before_j, before_s, first = self._joules, self._at_s, self._at_s < 0
        self._joules, self._at_s = joules, at_s
        if first:
            return joules
        if joules < before_j:
            raise MeterFailed(
                f"{self.name} went back from {before_j:.6f} to {joules:.6f} J: its driver was "
                "reloaded or the device was reset, and this window is void"
            )
        possible_j = MAX_DEVICE_WATTS * (at_s - before_s + LONGEST_UPDATE_S)
        if joules - before_j > possible_j:
            raise MeterFailed(
                f"{self.name} went from {before_j:.6f} to {joules:.6f} J in "
                f"{at_s - before_s:.6f} s, more than {MAX_DEVICE_WATTS:g} W; this window is void"
            )
        return joules
