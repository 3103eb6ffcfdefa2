"""From raw windows to the figures that people read: joules, watts and seconds per call.

Nothing of this is kept: it is worked out anew from the saved windows each time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pytest_energy.model import Interval, Measurement, Window
from pytest_energy.stats.order_statistics import median, median_interval, positive

# Of the figures of one measurement, which describe and do not decide.
FIGURES_ALPHA = 0.05


@dataclass(frozen=True)
class Figures:
    """Per call. Joules and watts of an estimate carry its band. None: the counter cannot tell."""

    joules: Interval | None
    """Gross: what the windows counted."""
    net_joules: Interval | None
    """Gross less idle power x seconds. None without idle windows, too. Below 0 where the idle power was the greater:
    a sleep, or a neighbour who was busy only then. Its unknown lower bound is minus infinity, not 0."""
    watts: Interval | None
    seconds: Interval
    domains: dict[str, float]
    """Gross joules of each domain."""


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
    if min(total(window) for window in windows) <= 0:
        return Figures(None, None, None, seconds, domains)
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
    )


def idle_watts(measurement: Measurement) -> Interval | None:
    """What the machine drew with nothing running, without the band. None where it was not measured."""
    if not measurement.idle:
        return None
    watts = [
        measurement.meter.total_joules(window.joules) / window.seconds
        for window in measurement.idle
    ]
    return positive(median_interval(watts, FIGURES_ALPHA))


def _banded(interval: Interval, band: tuple[float, float]) -> Interval:
    """Bounds moved outwards: a net of joules may be negative, and then the greater factor is the lower bound's."""
    low, high = interval.low, interval.high
    return Interval(
        interval.value, min(low * factor for factor in band), max(high * factor for factor in band)
    )
