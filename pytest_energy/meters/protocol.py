"""What a meter is, and what every meter gets from the user."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from pytest_energy.errors import OptionError
from pytest_energy.model import Domain, MeterInfo, Provenance, Reading

# Where Linux shows its devices. A container may mount the host's folder elsewhere.
SYSFS, SYSFS_VARIABLE = "/sys/class", "PYTEST_ENERGY_SYSFS"
ROOT_KEY = "root="
_KEY = re.compile(r"(?:^|\+)([a-z_]+)=")


@dataclass(frozen=True)
class MeterSettings:
    """What a user sets for meters. Every meter gets all of it."""

    sysfs: str = field(default_factory=lambda: os.environ.get(SYSFS_VARIABLE) or SYSFS)
    """The folder that holds the trees of powercap and hwmon."""
    watts: tuple[float, float] | None = None
    """Idle and full-load watts of this machine, for the estimate."""
    trust_sensor: bool = False
    """The user declares that a sensor inside a virtual machine is the hardware's own."""


class Meter(Protocol):
    """A cumulative counter of joules. Subclass it, or write a class with these names."""

    name: str
    provenance: Provenance
    domains: tuple[Domain, ...]
    update_interval_s: float
    resolution_joules: float
    band: tuple[float, float] = (1.0, 1.0)
    notes: tuple[str, ...] = ()
    ticks: bool = True
    """False if joules are integrated from sampled watts, see `MeterInfo.ticks`."""
    counts_other_processes: bool = True
    """Whether CPU time of other processes adds joules, as it does in a package. An estimate counts
    this process tree alone; a GPU's counter does not follow CPU time."""

    def read(self) -> Reading:
        """The cumulative joules of every domain now.

        Raises `MeterFailed` if the window since the last reading is void. The next is sound again.
        """
        ...

    def close(self) -> None:
        """Release what the meter holds open. A second call does nothing."""
        ...

    def __enter__(self) -> Meter:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


MeterFactory = Callable[[MeterSettings, "str | None"], Meter]


def info(meter: Meter) -> MeterInfo:
    """What is saved beside the numbers of this meter."""
    return MeterInfo(
        meter.name,
        meter.provenance,
        tuple(meter.domains),
        meter.update_interval_s,
        meter.resolution_joules,
        tuple(getattr(meter, "band", (1.0, 1.0))),
        tuple(getattr(meter, "notes", ())),
        bool(getattr(meter, "ticks", True)),
    )


def split_root(argument: str | None, default: str) -> tuple[str | None, str]:
    """Split ``root=DIR`` off a meter's argument. It comes last and takes the rest of the text.

    Raises `OptionError` for another key, and for a root without a folder.

    >>> split_root("psys+root=/host/powercap", "/sys/class/powercap")
    ('psys', '/host/powercap')
    """
    if argument is None:
        return None, default
    if argument.startswith(ROOT_KEY):
        before, found, root = "", ROOT_KEY, argument.removeprefix(ROOT_KEY)
    else:
        before, found, root = argument.partition(f"+{ROOT_KEY}")
    if key := _KEY.search(before):
        raise OptionError(f"{argument!r}: {key[1]}= is unknown; root=DIR is the only key, last")
    if found and not root:
        raise OptionError(f"{argument!r}: root= names no folder, such as root={default}")
    return before or None, root or default
