"""Which hwmon sensors hold the joules of which others, so that a total counts each joule once."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pytest_energy.meters.hwmon_sensors import GPU_DRIVERS, Sensor

_INSIDE = (
    ("amd_energy", r"Ecore\d+", r"Esocket\d+"),
    # Grace Performance Tuning Guide, "Power Telemetry": the module holds the GPU too, and the Grace
    # socket holds CPU, SysIO and DRAM. The instances of one socket have one number.
    ("power_meter", r"(?:CPU|SysIO) Power Socket (\d+)", r"Grace Power Socket {0}"),
    ("power_meter", r"Grace Power Socket (\d+)", r"Module Power Socket {0}"),
    # Jetson Linux Developer Guide, "Power Monitors": the module's supply, before its regulators.
    ("ina3221", r"(?!VDD_IN$)(?:VDD|VIN)_\w+", r"VDD_IN"),
    ("ina3221", r"(?!POM_5V_IN$)POM_5V_\w+", r"POM_5V_IN"),
    # Documentation/ABI/testing/sysfs-driver-intel-xe-hwmon: the card holds the package.
    ("xe", r"(?!card$).*", r"card"),
)
"""Chip, label, and the label that holds it. A number in both has to be the same."""

_APART = (
    ("amd_energy", r"Esocket\d+|Ecore\d+"),
    ("power_meter", r"(Module|Grace) Power Socket \d+|(CPU|SysIO) Power Socket \d+"),
)
"""Labels that never overlap, unless one is inside another."""
_GPUS = GPU_DRIVERS
"""Drivers whose devices are whole cards: two devices never overlap."""

# corsairpsu's "power total", macsmc's "Total System Power", and the like.
_TOTAL = re.compile(r"\b(total|sum)\b", re.IGNORECASE)


def holder(inner: Sensor, others: Sequence[Sensor]) -> Sensor | None:
    """The one of the others that holds this sensor's joules already, if that is known."""
    for chip, label, outer_label in _INSIDE:
        match = re.fullmatch(label, inner.label) if inner.chip == chip else None
        if match:
            wanted = outer_label.format(*match.groups())
            found = [o for o in others if o.chip == chip and re.fullmatch(wanted, o.label)]
            # amd_energy does not show the socket of a core. The first socket becomes its parent,
            # which only ensures that the core counts once.
            return _on_the_same_device(inner, found) or next(iter(found), None)
    if inner.chip.startswith("i915_gt"):
        cards = [other for other in others if other.chip == "i915"]
        return _on_the_same_device(inner, cards) or next(iter(cards), None)
    totals = [o for o in others if o.chip == inner.chip and _TOTAL.search(o.label)]
    if not _TOTAL.search(inner.label):
        return _on_the_same_device(inner, totals)
    return None


def may_overlap(sensors: Sequence[Sensor]) -> bool:
    """Whether some of these, of which none holds another, may count the same joules."""
    if len(sensors) < 2:
        return False
    devices = {(sensor.chip, sensor.device) for sensor in sensors}
    if all(sensor.chip in _GPUS for sensor in sensors) and len(devices) == len(sensors):
        return False
    return not any(
        all(s.chip == chip and re.fullmatch(label, s.label) for s in sensors)
        for chip, label in _APART
    )


def _on_the_same_device(inner: Sensor, found: Sequence[Sensor]) -> Sensor | None:
    return next((outer for outer in found if outer.device == inner.device), None)
