"""From raw windows to joules, watts and seconds per call.

These figures are never saved: they are computed from the saved windows each time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from pytest_energy.model import Interval, Measurement, MeterInfo, Shown, Window, add_windows
from pytest_energy.stats.order_statistics import median_interval, positive

# For the figures of one measurement, which describe and do not decide.
FIGURES_ALPHA = 0.05


@dataclass(frozen=True)
class Figures(Shown):
    """Per call. An estimate's joules and watts have its band. None: the counter did not move."""

    joules: Interval | None
    """Gross joules: what the windows counted."""
    net_joules: Interval | None
    """Gross less idle power x seconds. None without idle windows, too. Negative if the idle power
    was higher: a sleep, or a neighbour that was busy only then. An unknown lower bound is minus
    infinity, not 0."""
    watts: Interval | None
    seconds: Interval
    domains: dict[str, float]
    """Gross joules of each domain."""
    meter: MeterInfo
    others_share: float | None = None
    """The share of other processes in the CPU time of the windows, if a sensor counted theirs."""


def figures(measurement: Measurement) -> Figures:
    """Medians over the windows, with 95 % intervals by order statistics."""
    meter, windows = measurement.meter, measurement.windows

    def total(window: Window) -> float:
        return meter.total_joules(window.joules)

    def over_windows(value: Callable[[Window], float]) -> Interval:
        return median_interval([value(window) for window in windows], FIGURES_ALPHA)

    seconds = positive(over_windows(lambda window: window.seconds_per_call))
    domains = {
        domain.name: median([window.joules[domain.name] / window.calls for window in windows])
        for domain in meter.domains
    }
    others_share = add_windows(windows).others_share
    if min(total(window) for window in windows) <= 0:
        return Figures(None, None, None, seconds, domains, meter, others_share)
    joules = positive(over_windows(lambda window: total(window) / window.calls))
    watts = positive(over_windows(lambda window: total(window) / window.seconds))
    net_joules = None
    idle = idle_watts(measurement)
    if idle is not None:
        net_joules = over_windows(
            lambda window: (total(window) - idle.value * window.seconds) / window.calls
        )
    return Figures(
        _banded(joules, meter.band),
        _banded(net_joules, meter.band) if net_joules else None,
        _banded(watts, meter.band),
        seconds,
        domains,
        meter,
        others_share,
    )


def idle_watts(measurement: Measurement) -> Interval | None:
    """The machine's idle power, without the band. None if it was not measured."""
    if not measurement.idle:
        return None
    watts = [
        measurement.meter.total_joules(window.joules) / window.seconds
        for window in measurement.idle
    ]
    return positive(median_interval(watts, FIGURES_ALPHA))


def idle_share(measurement: Measurement) -> float | None:
    """The share of its joules that the machine would have used idle, from 0 to 1."""
    idle, used = idle_watts(measurement), add_windows(measurement.windows)
    joules = measurement.meter.total_joules(used.joules)
    if idle is None or joules <= 0:
        return None
    return min(1.0, idle.value * used.seconds / joules)


def _banded(interval: Interval, band: tuple[float, float]) -> Interval:
    """Bounds moved outwards. For a negative bound (net joules) the greater factor is lower."""
    low, high = interval.low, interval.high
    return Interval(
        interval.value, min(low * factor for factor in band), max(high * factor for factor in band)
    )
