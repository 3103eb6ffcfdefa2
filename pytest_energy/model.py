"""What a measurement is made of. Data only: no device, no statistics, no pytest.

The way of a number: a meter gives a `Reading`; two readings around some calls make a `Window`; windows
make a `Measurement`, or, taken in turns from two pieces of code, `Block`s of a `Comparison`. Raw
windows are what is saved, and every figure is worked out from them again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

Provenance = Literal["measured", "estimated"]
VerdictName = Literal[
    "met", "missed", "improved", "unchanged", "regressed", "inconclusive", "not gated"
]
# In what order the four windows of a block are taken: A is the baseline, B the candidate.
ORDERS = ("ABBA", "BAAB")
# Counters slower than this get windows that start and end on the counter's own ticks. RAPL (1 ms) does
# not need it: 1 % of a window is 100 ms. A GPU's counter (20 to 100 ms) would need windows of 2 to 10 s.
SLOW_UPDATE_S = 0.005
# How often a window that is to end on a tick looks for it: a hundredth of an update late is 1 % of the shortest window.
LOOKS_PER_UPDATE = 100


@dataclass(frozen=True)
class Domain:
    """One thing that a meter counts, such as ``package-0``, ``dram-0`` or ``gpu-0``.

    ``parent`` names the domain whose joules hold this one's already (``core-0`` is inside ``package-0``),
    or is None where nothing does (``dram-0`` is not inside ``package-0``).
    """

    name: str
    parent: str | None = None


class Reading(NamedTuple):
    """The cumulative joules of each domain at one instant of the monotonic clock, already unwrapped."""

    at_s: float
    joules: dict[str, float]


@dataclass(frozen=True)
class MeterInfo:
    """What has to be known about the meter that made a number, for the number to mean something."""

    name: str
    provenance: Provenance
    domains: tuple[Domain, ...]
    update_interval_s: float
    """How often the device refreshes its counter, in seconds."""
    resolution_joules: float
    """The counter's smallest step, in joules."""
    band: tuple[float, float] = (1.0, 1.0)
    """Factors below and above: the truth is taken to lie in joules x band. (1, 1) for a sensor."""
    notes: tuple[str, ...] = ()
    """What a reader of the numbers has to know: what is left out, which model, whose watts."""
    ticks: bool = True
    """Whether a window can tell by the counter when it was refreshed. Joules that are integrated from sampled watts
    move in each reading, while the watts in them are as old as their register: there, no window starts on a tick."""

    def total_joules(self, joules: Mapping[str, float]) -> float:
        """The joules of the domains without a parent, each once."""
        return sum(joules[domain.name] for domain in self.domains if domain.parent is None)

    def quantisation(self, window: Window) -> float:
        """The counter's own error as a part of the window's energy: its lag, and its smallest step. Infinite where it stood still."""
        joules = self.total_joules(window.joules)
        if joules <= 0:
            return math.inf
        return (
            self.lag_s(window.seconds_per_call) / window.seconds + self.resolution_joules / joules
        )

    def lag_s(self, seconds_per_call: float) -> float:
        """How far behind the counter may be at the end of a window of such calls: an update, or less where windows end on ticks."""
        if not self.windows_end_on_ticks:
            return self.update_interval_s
        # windows.aligned_window looks after each call, but no more often than 100 times an update.
        return min(
            max(seconds_per_call, self.update_interval_s / LOOKS_PER_UPDATE), self.update_interval_s
        )

    @property
    def windows_end_on_ticks(self) -> bool:
        """Whether the counter is slow enough for that to help, and tells its ticks."""
        return self.ticks and self.update_interval_s > SLOW_UPDATE_S


class Window(NamedTuple):
    """The span between two readings: raw sums, of which watts and per-call figures are worked out."""

    seconds: float
    joules: dict[str, float]
    calls: int

    @property
    def seconds_per_call(self) -> float:
        return self.seconds / self.calls


@dataclass(frozen=True)
class Interval:
    """A value with its bounds. Where the data cannot bound it, ``high`` is infinite, and ``low`` is 0, or minus
    infinity of something that may be negative (net joules)."""

    value: float
    low: float
    high: float

    def scaled(self, factor: float) -> Interval:
        return Interval(self.value * factor, self.low * factor, self.high * factor)


@dataclass(frozen=True)
class Measurement:
    """Windows around one piece of code, and what is needed to read them."""

    name: str
    meter: MeterInfo
    windows: tuple[Window, ...]
    idle: tuple[Window, ...] = ()
    """Windows with nothing running (``calls`` is 0): the machine's idle power."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Block:
    """One randomised group of windows: ``order`` is one of `ORDERS`."""

    order: str
    windows: tuple[Window, ...]
    replicate: int | None = None
    """Blocks of one start of both processes share its luck, and have its number. None: the block stands for itself."""

    def side(self, letter: str) -> Window:
        """The windows of one side, added up."""
        return self._sides[letter]

    @cached_property
    def _sides(self) -> dict[str, Window]:
        # Added up once: a comparison that goes on asks for the sides of all its blocks again and again.
        return {
            letter: add_windows(
                w for which, w in zip(self.order, self.windows, strict=True) if which == letter
            )
            for letter in sorted(set(self.order))
        }


@dataclass(frozen=True)
class Comparison:
    """Two pieces of code, measured in turns. The three ratios are baseline/candidate as in GPS-UP."""

    baseline_name: str
    speedup: Interval
    greenup: Interval | None
    """None where the counter did not move, and a ratio of joules has no meaning."""
    powerup: Interval | None
    category: int | None
    """1 to 8 (see gpsup.py), or None where the intervals support no category."""
    blocks: tuple[Block, ...]
    confidence: float
    """Of each interval, valid at any stopping time."""


@dataclass(frozen=True)
class Quality:
    """Something other than energy that must not be paid for energy, such as accuracy."""

    name: str
    value: float
    floor: float | None = None


@dataclass(frozen=True)
class CountedWork:
    """What one call executes, counted by simulation or by the CPU. Not joules."""

    tool: str
    """Name and version; only counts of the same tool are comparable."""
    events: Mapping[str, int]
    """Per call: instructions, data_reads, data_writes, first_level_misses, last_level_misses."""
    spread: float
    """How far the two least counts are apart, as a share of the instructions."""
    counts: int
    """How often the call was counted; ``events`` are those of the least."""
    functions: Mapping[str, int]
    """Instructions of each C function itself, where the tool tells them apart."""

    @property
    def instructions(self) -> int:
        return self.events["instructions"]


@dataclass(frozen=True)
class Verdict:
    """What the gate says of one metric, and why."""

    metric: str
    verdict: VerdictName
    reason: str

    @property
    def fails(self) -> bool:
        return self.verdict in ("missed", "regressed")


@dataclass(frozen=True)
class Result:
    """All that is known of one benchmark: what is stored, gated and shown."""

    name: str
    """The test's node id."""
    measurement: Measurement
    """Of the candidate, where there is a comparison."""
    comparison: Comparison | None = None
    qualities: tuple[Quality, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    group: str | None = None


def window_between(before: Reading, after: Reading, calls: int) -> Window:
    """The window between two readings of one meter."""
    joules = {name: after.joules[name] - start for name, start in before.joules.items()}
    return Window(after.at_s - before.at_s, joules, calls)


def add_windows(windows: Iterable[Window]) -> Window:
    """Windows of one meter added up: seconds, joules of each domain, and calls."""
    seconds, calls = 0.0, 0
    joules: dict[str, float] = {}
    for window in windows:
        seconds += window.seconds
        calls += window.calls
        for name, value in window.joules.items():
            joules[name] = joules.get(name, 0.0) + value
    return Window(seconds, joules, calls)
