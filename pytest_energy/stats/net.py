"""Ratios of net joules: what the code uses beyond the machine's idle power.

An idle package may draw as much as the code adds. Then +5 % of the code's own joules is +2.5 % of
the sum, and `unchanged`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from pytest_energy.model import Block, Interval, MeterInfo, Window
from pytest_energy.stats.gps_up import GpsUp, gps_up


def idle_range(meter: MeterInfo, idle: Sequence[Window]) -> Interval | None:
    """The machine's idle watts: their median, least and most. None if they were not measured."""
    watts = [meter.total_joules(window.joules) / window.seconds for window in idle]
    return Interval(median(watts), min(watts), max(watts)) if watts else None


def net_gps_up(
    blocks: Sequence[Block],
    meter: MeterInfo,
    alpha: float,
    alarm_alpha: float | None,
    idle_watts: Interval,
) -> GpsUp:
    """As `gps_up`, with the greenup of net joules: wide enough for any idle power of that range.

    Greenup is None if the idle power explains all joules of some block. The counter's error is that
    share of the net joules.
    """
    gross = gps_up(blocks, meter, alpha, alarm_alpha)
    nets = [
        gps_up([_less_idle(block, meter, watts) for block in blocks], meter, alpha, alarm_alpha)
        for watts in (idle_watts.value, idle_watts.low, idle_watts.high)
    ]
    left = median(_net_share(block, meter, idle_watts.value) for block in blocks)
    error = gross.counter_error / left if left > 0 else float("inf")
    alarms = [net.alarm for net in nets if net.alarm is not None]
    alarm = gross.alarm
    if alarm is not None:
        alarm = replace(alarm, greenup=_around(alarms), counter_error=error)
    return replace(gross, greenup=_around(nets), counter_error=error, alarm=alarm)


def _around(nets: Sequence[GpsUp]) -> Interval | None:
    """The interval that holds those at each idle power."""
    greenups = [net.greenup for net in nets if net.greenup is not None]
    if len(greenups) < len(nets):
        return None
    return Interval(
        greenups[0].value,
        min(greenup.low for greenup in greenups),
        max(greenup.high for greenup in greenups),
    )


def _less_idle(block: Block, meter: MeterInfo, watts: float) -> Block:
    """The block without idle power, which each domain loses in proportion."""
    return replace(block, windows=tuple(_net(window, meter, watts) for window in block.windows))


def _net(window: Window, meter: MeterInfo, watts: float) -> Window:
    total = meter.total_joules(window.joules)
    kept = 1 - watts * window.seconds / total if total > 0 else 0.0
    return window._replace(joules={name: each * kept for name, each in window.joules.items()})


def _net_share(block: Block, meter: MeterInfo, watts: float) -> float:
    total = sum(meter.total_joules(window.joules) for window in block.windows)
    seconds = sum(window.seconds for window in block.windows)
    return 1 - watts * seconds / total if total > 0 else 0.0
