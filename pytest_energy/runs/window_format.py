"""Windows and intervals to and from JSON. All readers raise `TypeError` or `ValueError`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_energy.model import CpuSeconds, Interval, MeterInfo, Window
from pytest_energy.runs.json_values import UNREADABLE, finite, number, of_type, shown

# Quantities beyond these would overflow in ratios and sums. A machine's are far within: a year is
# 3e7 s, and a data centre's year 1e15 J.
SMALLEST, LARGEST = 1e-30, 1e30
# Of a window in JSON. Clocks count ns in windows of seconds; a counter's steps are coarser.
SECONDS_DIGITS, JOULES_DIGITS = 9, 7
# Decimals of CPU seconds: the kernel counts the machine's in ticks of 10 ms.
CPU_DIGITS = 3
FEWEST_VALUES = 3  # of a window: seconds, joules, calls


def window_to_json(window: Window) -> list[Any]:
    """[seconds, joules by domain, calls], and CPU seconds if they are known."""
    saved: list[Any] = [window.seconds, window.joules, window.calls]
    return saved if window.cpu is None else [*saved, [round(s, CPU_DIGITS) for s in window.cpu]]


def windows_from_json(saved: Any, meter: MeterInfo, fewest_calls: int) -> tuple[Window, ...]:
    """Each window of the list, see `window_from_json`."""
    return tuple(window_from_json(window, meter, fewest_calls) for window in of_type(list, saved))


def window_from_json(saved: Any, meter: MeterInfo, fewest_calls: int) -> Window:
    """The window, if a machine with this meter can have measured it."""
    if len(of_type(list, saved)) < FEWEST_VALUES:
        raise ValueError(f"a window {shown(saved)}, without seconds, joules and calls")
    seconds, joules, calls, *cpu = saved
    if of_type(dict, joules).keys() != {domain.name for domain in meter.domains}:
        raise ValueError(
            f"a window has joules of {shown(sorted(joules))}, "
            f"but the meter counts {[domain.name for domain in meter.domains]}"
        )
    if not number(seconds, 0) > 0 or number(calls, fewest_calls) != int(calls):
        raise ValueError(f"a window of {shown(seconds)} s and {shown(calls)} calls")
    # Counters only go up.
    checked = {name: number(value, 0) for name, value in joules.items()}
    for name, quantity in (("s", seconds), ("calls", calls), *(("J", j) for j in checked.values())):
        if quantity and not SMALLEST <= quantity <= LARGEST:
            raise ValueError(f"a window of {shown(quantity)} {name}, which no machine measures")
    return Window(float(seconds), checked, int(calls), _cpu_from_json(cpu))


def _cpu_from_json(saved: Sequence[Any]) -> CpuSeconds | None:
    """The CPU seconds from what follows a window's calls: nothing, or a list of two."""
    if not saved:
        return None
    if len(saved) > 1:
        raise ValueError(f"a window with {len(saved)} values after its calls, such as {saved[1]}")
    if len(of_type(list, saved[0])) != len(CpuSeconds._fields):
        raise ValueError(f"a window with the CPU seconds {shown(saved[0])}")
    own, others = saved[0]
    return CpuSeconds(number(own, -LARGEST, LARGEST), number(others, -LARGEST, LARGEST))


def is_readable(window: Window, meter: MeterInfo) -> bool:
    """Whether `window_from_json` accepts the window."""
    try:
        window_from_json(window_to_json(window), meter, fewest_calls=0)
    except UNREADABLE:
        return False
    return True


def rounded_window(window: Window) -> list[Any]:
    """As `window_to_json`, in the digits that a clock and a counter have."""
    joules = {name: _round(value, JOULES_DIGITS) for name, value in window.joules.items()}
    seconds = _round(window.seconds, SECONDS_DIGITS)
    return window_to_json(window._replace(seconds=seconds, joules=joules))


def _round(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")


def interval_to_json(interval: Interval | None) -> dict[str, float | None] | None:
    """The value and its bounds; an infinite bound is null."""
    if interval is None:
        return None
    return {"value": interval.value, "low": finite(interval.low), "high": finite(interval.high)}
