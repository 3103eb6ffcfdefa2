"""The data of a measurement: no device, no statistics, no pytest.

A meter returns a `Reading`. Two readings around some calls make a `Window`. Windows make a
`Measurement`; windows of two pieces of code, taken in turns, make the `Block`s of a `Comparison`.
Runs save raw windows, and every figure is computed from them again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from typing import Any, Literal, NamedTuple

Provenance = Literal["measured", "attributed", "estimated"]
VerdictName = Literal[
    "met", "missed", "improved", "unchanged", "regressed", "inconclusive", "not gated"
]
# Smaller numbers are printed with an exponent.
SMALLEST_PLACE = 7
# The order of a block's four windows: A is the baseline, B the candidate.
ORDERS = ("ABBA", "BAAB")
# Counters slower than this get windows that start and end on the counter's own ticks. RAPL (1 ms)
# needs windows of 100 ms for 1 %. A GPU's counter (20 to 100 ms) would need 2 to 10 s.
SLOW_UPDATE_S = 0.005
# A window that ends on a tick looks for it this often per update: a hundredth of an update is 1 %
# of the shortest window.
LOOKS_PER_UPDATE = 100


@dataclass(frozen=True)
class Domain:
    """One thing that a meter counts, such as ``package-0``, ``dram-0`` or ``gpu-0``.

    ``parent`` names the domain that already counts these joules (``core-0`` is inside
    ``package-0``). It is None if no domain does (``dram-0`` is not inside ``package-0``).
    """

    name: str
    parent: str | None = None


class Reading(NamedTuple):
    """Cumulative joules of each domain at one instant of the monotonic clock, unwrapped."""

    at_s: float
    joules: dict[str, float]


@dataclass(frozen=True)
class MeterInfo:
    """The facts about a meter that its numbers need to be understood."""

    name: str
    provenance: Provenance
    domains: tuple[Domain, ...]
    update_interval_s: float
    """How often the device refreshes its counter, in seconds."""
    resolution_joules: float
    """The counter's smallest step, in joules."""
    band: tuple[float, float] = (1.0, 1.0)
    """Factors below and above: the truth lies in joules x band. (1, 1) for a sensor."""
    notes: tuple[str, ...] = ()
    """For readers of the numbers: what is missing, which model, where its watts come from."""
    ticks: bool = True
    """Whether a window can see when the counter was refreshed. Joules integrated from sampled watts
    move in each reading, while the watts are as old as their register: no ticks."""

    def total_joules(self, joules: Mapping[str, float]) -> float:
        """The joules of the domains without a parent, each once."""
        return sum(joules[domain.name] for domain in self.domains if domain.parent is None)

    def quantisation(self, window: Window) -> float:
        """The counter's own error, its lag and smallest step, as a share of the window's energy.

        Infinite if the counter stood still.
        """
        joules = self.total_joules(window.joules)
        if joules <= 0:
            return math.inf
        return (
            self.lag_s(window.seconds_per_call) / window.seconds + self.resolution_joules / joules
        )

    def lag_s(self, seconds_per_call: float) -> float:
        """Seconds that the counter may lag at the end of a window of such calls.

        One update interval, or less if windows end on ticks.
        """
        if not self.windows_end_on_ticks:
            return self.update_interval_s
        # window.aligned_window looks after each call, but at most 100 times an update.
        return min(
            max(seconds_per_call, self.update_interval_s / LOOKS_PER_UPDATE), self.update_interval_s
        )

    @property
    def windows_end_on_ticks(self) -> bool:
        """Whether windows start and end on ticks: the counter is slow and has ticks."""
        return self.ticks and self.update_interval_s > SLOW_UPDATE_S


class CpuSeconds(NamedTuple):
    """CPU seconds used during a window, from just before its first reading to just after its last.

    The kernel counts the machine's in ticks, so ``others`` of one window may be slightly negative.
    """

    own: float
    """Of the process that took the window, and its descendants."""
    others: float
    """Of all other processes on this machine."""


class GpuClocks(NamedTuple):
    """How fast the counted GPUs ran in a window."""

    limited: bool
    """Whether a limit of power or heat lowered the clock of one of them."""
    mhz: float
    """The clock of the slowest of them, just after the window's last reading."""


class Window(NamedTuple):
    """The span between two readings: raw sums. Watts and per-call figures are derived."""

    seconds: float
    joules: dict[str, float]
    calls: int
    cpu: CpuSeconds | None = None
    """None if the system does not report it, or if the joules are of this process alone."""
    gpu: GpuClocks | None = None
    """None without a GPU whose driver reports it. It is not saved."""

    @property
    def seconds_per_call(self) -> float:
        return self.seconds / self.calls

    @property
    def others_share(self) -> float | None:
        """The share of other processes in the CPU seconds of this window, from 0 to 1."""
        if self.cpu is None:
            return None
        others_s = max(0.0, self.cpu.others)
        total_s = others_s + max(0.0, self.cpu.own)
        return others_s / total_s if total_s > 0 else 0.0


@dataclass(frozen=True)
class Interval:
    """A value with its bounds.

    If the data cannot bound it, ``high`` is infinite. ``low`` is then 0, or minus infinity for
    values that may be negative (net joules).
    """

    value: float
    low: float
    high: float

    def scaled(self, factor: float) -> Interval:
        return Interval(self.value * factor, self.low * factor, self.high * factor)

    def as_change(self) -> Interval:
        """How much more the candidate takes, as a share, from a ratio baseline / candidate."""
        value, low, high = (
            1 / ratio - 1 if ratio > 0 else math.inf for ratio in (self.value, self.high, self.low)
        )
        return Interval(value, low, high)

    def __format__(self, spec: str) -> str:
        """With as many digits as the interval supports; ``%`` prints a change in per cent.

        >>> f"{Interval(1.634, 1.6, 1.66)}, {Interval(2581.82, 2402.0, 2703.0)}"
        '1.63 [1.60, 1.66], 2600 [2400, 2700]'
        >>> f"{Interval(0.2312, 0.211, 0.2431):%}, {Interval(1.0, 0.0, math.inf)}"
        '+23 % [+21, +24], 1.00 [bounds unknown]'
        """
        percent = spec == "%"
        shown = self.scaled(100) if percent else self
        bounded = math.isfinite(shown.low) and math.isfinite(shown.high)
        half_width = (shown.high - shown.low) / 2 if bounded else 0.0
        place = _place(shown.value, half_width, percent)
        value, low, high = (
            at_place(number, place, percent) for number in (shown.value, shown.low, shown.high)
        )
        bounds = f"[{low}, {high}]" if bounded else "[bounds unknown]"
        return f"{value} % {bounds}" if percent else f"{value} {bounds}"


def at_place(value: float, place: int, signed: bool = False) -> str:
    """The value rounded to so many decimals; a negative ``place`` rounds to tens, hundreds, ..."""
    if not math.isfinite(value) or place > SMALLEST_PLACE:
        return f"{value:+.3g}" if signed else f"{value:.3g}"
    rounded = round(value, place) + 0.0  # no "-0.0"
    return f"{rounded:{'+' if signed else ''}.{max(0, place)}f}"


def _place(value: float, half_width: float, percent: bool) -> int:
    """The decimal place of the first digit of half the interval; 2 or 3 digits of the value."""
    first = math.floor(math.log10(abs(value))) if value and math.isfinite(value) else 0
    if percent:
        return 0 if half_width >= 0.95 or first >= 1 else 1
    if half_width == 0:
        return 2 - first
    return min(max(-math.floor(math.log10(half_width)), 1 - first), 2 - first)


class Shown:
    """Has a short text for people, ``print(value)``, and a table for a notebook."""

    def __str__(self) -> str:
        return str(_writer().text(self))

    def _repr_html_(self) -> str:
        return str(_writer().table(self))


def _writer() -> Any:
    """report/shown.py, by name: text is made in a room that imports this one."""
    return import_module("pytest_energy.report.shown")


@dataclass(frozen=True)
class Measurement(Shown):
    """Windows around one piece of code, and the meter that counted them."""

    name: str
    meter: MeterInfo
    windows: tuple[Window, ...]
    idle: tuple[Window, ...] = ()
    """Windows with nothing running (``calls`` is 0): the machine's idle power."""
    warnings: tuple[str, ...] = ()
    waiting_share: float = 0.0
    """The share of their time that its threads waited for a CPU. Not saved."""


@dataclass(frozen=True)
class Block:
    """One randomised group of windows: ``order`` is one of `ORDERS`."""

    order: str
    windows: tuple[Window, ...]
    replicate: int | None = None
    """The number of the process start that took the block. Blocks of one start count once.
    None: the block counts alone."""

    def side(self, letter: str) -> Window:
        """The windows of one side, added up."""
        return self._sides[letter]

    def least_seconds_per_call(self, letter: str) -> float:
        """Seconds per call in the faster window of one side."""
        return self._least[letter]

    @cached_property
    def _least(self) -> dict[str, float]:
        least: dict[str, float] = {}
        for letter, window in zip(self.order, self.windows, strict=True):
            seconds = window.seconds_per_call
            least[letter] = min(seconds, least.get(letter, seconds))
        return least

    @cached_property
    def _sides(self) -> dict[str, Window]:
        # Once: each look at a comparison needs the sides of all its blocks.
        return {
            letter: add_windows(
                w for which, w in zip(self.order, self.windows, strict=True) if which == letter
            )
            for letter in sorted(set(self.order))
        }


@dataclass(frozen=True)
class Comparison(Shown):
    """Two pieces of code, measured in turns, with the three ratios of GPS-UP."""

    baseline_name: str
    speedup: Interval
    greenup: Interval | None
    """None if the counter did not move in some block."""
    powerup: Interval | None
    category: int | None
    """1 to 8 (see stats/gps_up.py), or None if the intervals support no category."""
    blocks: tuple[Block, ...]
    confidence: float
    """Of each interval, valid at any stopping time."""
    meter: MeterInfo | None = field(default=None, compare=False)
    """What counted the joules."""
    waiting_share: float = 0.0
    """Of code of several threads: the share of their time that they waited for a CPU. Not saved:
    the verdicts are."""


@dataclass(frozen=True)
class Quality:
    """A property that must not be traded for energy, such as accuracy."""

    name: str
    value: float
    floor: float | None = None
    ceiling: float | None = None
    """The most that is allowed of a quality that is better when smaller, such as an error."""

    @property
    def meets_its_limits(self) -> bool:
        """Whether the value lies within floor and ceiling. NaN meets no limit."""
        return (self.floor is None or self.value >= self.floor) and (
            self.ceiling is None or self.value <= self.ceiling
        )

    @property
    def limits(self) -> str:
        """``floor 0.87, ceiling 0.95``; "" without either."""
        limits = (("floor", self.floor), ("ceiling", self.ceiling))
        return ", ".join(f"{name} {limit:.4g}" for name, limit in limits if limit is not None)


# The meter of a run that counts work only.
NO_METER = "none"


@dataclass(frozen=True)
class CountedWork:
    """What one call executes, counted by simulation or by the CPU. Not joules."""

    tool: str
    """Name and version; only counts of the same tool are comparable."""
    events: Mapping[str, int]
    """Per call: instructions, data_reads, data_writes, first_level_misses, last_level_misses."""
    spread: float
    """By which share of the instructions counts of equal code may differ."""
    counts: int
    """How often the call was counted; ``events`` are those of the smallest count."""
    functions: Mapping[str, int]
    """Instructions of each C function itself, if the tool separates functions."""
    bytecodes: Mapping[str, int] = field(default_factory=dict)
    """Bytecodes of each Python function itself, by file and name; empty if they are unknown."""
    notes: tuple[str, ...] = ()
    """What the counts leave out, or why they may vary."""
    processes: int = 1
    """In how many processes the call was counted."""
    conditions: Mapping[str, str] = field(default_factory=dict)
    """What two counts have to share beside the tool: the simulated cache, the instruction set."""

    @property
    def instructions(self) -> int:
        return self.events["instructions"]


@dataclass(frozen=True)
class Counted:
    """The counted work of one test, or the reason why it was not counted."""

    candidate: CountedWork | None = None
    """Of the measured call; of the candidate, if there is a comparison."""
    baseline: CountedWork | None = None
    """Of the other side of ``energy.versus``, or of the other commit."""
    reason: str = ""
    """Why there is no candidate."""
    baseline_reason: str = ""
    """Why the other commit has none."""


@dataclass(frozen=True)
class Verdict:
    """The gate's decision on one metric, and its reason."""

    metric: str
    verdict: VerdictName
    reason: str

    @property
    def fails(self) -> bool:
        return self.verdict in ("missed", "regressed")


@dataclass(frozen=True)
class Result:
    """Everything about one benchmark that is saved, gated and shown."""

    name: str
    """The test's node id."""
    measurement: Measurement
    """Of the candidate, if there is a comparison."""
    comparison: Comparison | None = None
    qualities: tuple[Quality, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    group: str | None = None
    counted: Counted | None = None
    """None: the run did not count."""
    items: int | None = None
    """How many items one call processes, such as the cases of a batch. None: unknown."""


def window_between(before: Reading, after: Reading, calls: int) -> Window:
    """The window between two readings of one meter."""
    joules = {name: after.joules[name] - start for name, start in before.joules.items()}
    return Window(after.at_s - before.at_s, joules, calls)


def add_windows(windows: Iterable[Window]) -> Window:
    """Windows of one meter added up: seconds, joules of each domain, calls, and CPU seconds."""
    seconds, calls = 0.0, 0
    joules: dict[str, float] = {}
    cpu: CpuSeconds | None = CpuSeconds(0.0, 0.0)
    for window in windows:
        seconds += window.seconds
        calls += window.calls
        cpu = (
            None
            if cpu is None or window.cpu is None
            else CpuSeconds(cpu.own + window.cpu.own, cpu.others + window.cpu.others)
        )
        for name, value in window.joules.items():
            joules[name] = joules.get(name, 0.0) + value
    return Window(seconds, joules, calls, cpu if calls or seconds else None)
