"""What a meter is, which there are, and how several become one.

A meter counts joules, cumulatively, like the one in the hallway. Each device has its own file beside
this one and its own entry point in the group ``pytest_energy.meters``; a meter of yours takes part in
the same way::

    [project.entry-points."pytest_energy.meters"]
    mymeter = "my_package:open_my_meter"       # called with (MeterSettings, argument: str | None)
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Literal, Protocol

from pytest_energy.errors import EnergyError, MeterUnavailable, OptionError
from pytest_energy.model import Domain, MeterInfo, Provenance, Reading

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ENTRY_POINT_GROUP = "pytest_energy.meters"

AUTO = "auto"
# What `auto` tries, in groups: of each group the first that is there is used, and all that are found
# count together, since a CPU's sensor and a GPU's count different things. powercap and perf read the same
# registers, so only one of them may count. hwmon, zeus, pyrapl and replay are only used by name: what they
# count overlaps with these in ways that cannot be told from here.
AUTO_SENSORS = (("powercap", "perf"), ("nvml",))
AUTO_FALLBACK = "estimate"


# Where Linux shows its devices. A container that mounts the host's elsewhere names it by the variable.
SYSFS, SYSFS_VARIABLE = "/sys/class", "PYTEST_ENERGY_SYSFS"
ROOT_KEY = "root="


@dataclass(frozen=True)
class MeterSettings:
    """What a user can say about meters. Every meter gets all of it."""

    sysfs: str = field(default_factory=lambda: os.environ.get(SYSFS_VARIABLE) or SYSFS)
    """The folder that holds the trees of powercap and hwmon."""
    watts: tuple[float, float] | None = None
    """Idle and full-load watts of this machine, for the estimate."""


class Meter(Protocol):
    """Something that counts joules. Subclass it, or just have these names."""

    name: str
    provenance: Provenance
    domains: tuple[Domain, ...]
    update_interval_s: float
    resolution_joules: float
    band: tuple[float, float] = (1.0, 1.0)
    notes: tuple[str, ...] = ()
    ticks: bool = True
    """False where joules are integrated from sampled watts, see `MeterInfo.ticks`."""

    def read(self) -> Reading:
        """The cumulative joules of every domain now. Raises `MeterFailed` where it cannot tell."""
        ...

    def close(self) -> None:
        """Let go of what the meter holds open. Closing twice does no harm."""
        ...

    def __enter__(self) -> Meter:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


MeterFactory = Callable[[MeterSettings, "str | None"], Meter]


def split_root(argument: str | None, default: str) -> tuple[str | None, str]:
    """Split ``root=DIR`` off a meter's argument: it comes last, and takes the rest of the text.

    >>> split_root("psys+root=/host/powercap", "/sys/class/powercap")
    ('psys', '/host/powercap')
    """
    if argument is None:
        return None, default
    if argument.startswith(ROOT_KEY):
        before, found, root = "", ROOT_KEY, argument.removeprefix(ROOT_KEY)
    else:
        before, found, root = argument.partition(f"+{ROOT_KEY}")
    if found and not root:
        raise OptionError(f"{argument!r}: root= names no folder, such as root={default}")
    return before or None, root or default


def info(meter: Meter) -> MeterInfo:
    """What to write down beside the numbers of this meter."""
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


class CompositeMeter(Meter):
    """Several meters of one provenance, read one after the other as one."""

    def __init__(self, meters: list[Meter]):
        provenances = {meter.provenance for meter in meters}
        if len(provenances) != 1:
            raise OptionError(
                f"meters {[meter.name for meter in meters]} are partly measured and partly estimated, "
                "and one number must not hold both; name meters of one kind"
            )
        names = [domain.name for meter in meters for domain in meter.domains]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise OptionError(
                f"{twice} would be counted twice by {[meter.name for meter in meters]}; name one of them"
            )
        self._meters = meters
        self.name = "+".join(meter.name for meter in meters)
        self.provenance = meters[0].provenance
        self.domains = tuple(domain for meter in meters for domain in meter.domains)
        self.update_interval_s = max(meter.update_interval_s for meter in meters)
        self.resolution_joules = max(meter.resolution_joules for meter in meters)
        self.band = (min(info(m).band[0] for m in meters), max(info(m).band[1] for m in meters))
        self.notes = tuple(note for meter in meters for note in info(meter).notes)
        self.ticks = all(info(meter).ticks for meter in meters)

    def read(self) -> Reading:
        readings = [meter.read() for meter in self._meters]
        joules: dict[str, float] = {}
        for reading in readings:
            joules.update(reading.joules)
        return Reading(readings[0].at_s, joules)

    def close(self) -> None:
        for meter in self._meters:
            meter.close()


def installed() -> dict[str, MeterFactory]:
    """The meters that are installed, ours and others', by name, not yet imported nor opened."""
    return _installed(tuple(sys.path))


@cache
def _installed(path: tuple[str, ...]) -> dict[str, MeterFactory]:
    from importlib.metadata import (
        entry_points,  # a third of the time that importing all of this takes, so only here
    )

    # Looking through all that is installed takes tens of milliseconds, and the workers of --energy-against open often.
    return {point.name: _Lazy(point) for point in entry_points(group=ENTRY_POINT_GROUP)}


class _Lazy:
    """A factory that imports its meter's module only when it is called."""

    def __init__(self, point: EntryPoint):
        self._point = point

    def __call__(self, settings: MeterSettings, argument: str | None) -> Meter:
        try:
            factory: MeterFactory = self._point.load()
        except (ImportError, AttributeError) as error:
            raise MeterUnavailable(
                f"meter {self._point.name} cannot be loaded from {self._point.value}: {error}"
            ) from None
        return factory(settings, argument)


def open_meter(spec: str = AUTO, settings: MeterSettings | None = None) -> Meter:
    """Open what ``spec`` names: ``auto``, a name, ``name:argument``, or several with commas between.

    Raises `MeterUnavailable` where a meter that was asked for by name is not to be had, and `OptionError`
    where there is none of that name. ``auto`` takes the sensors that are there, else the estimate::

        with open_meter() as meter:
            before = meter.read()
    """
    settings = settings or MeterSettings()
    factories = installed()
    if spec == AUTO:
        return _open_auto(factories, settings)
    with ExitStack() as opened:
        meters = []
        for part in spec.split(","):
            meters.append(_open_one(factories, part.strip(), settings))
            opened.callback(meters[-1].close)
        meter = meters[0] if len(meters) == 1 else CompositeMeter(meters)
        opened.pop_all()  # all is well: closing them is the caller's from here on
        return meter


def _open_one(factories: dict[str, MeterFactory], part: str, settings: MeterSettings) -> Meter:
    name, _, argument = part.partition(":")
    if name not in factories:
        raise OptionError(
            f"no meter is called {name!r}; installed are: {', '.join(sorted([AUTO, *factories]))}"
        )
    return factories[name](settings, argument or None)


def _open_auto(factories: dict[str, MeterFactory], settings: MeterSettings) -> Meter:
    found: list[Meter] = []
    for group in AUTO_SENSORS:
        for name in group:
            try:
                found.append(factories[name](settings, None))
            except MeterUnavailable:
                continue  # doctor() says why; here the next one is tried
            break
    if not found:
        return factories[AUTO_FALLBACK](settings, None)
    return found[0] if len(found) == 1 else CompositeMeter(found)


Permission = Literal["granted", "denied", "not known"]


@dataclass(frozen=True)
class Finding:
    """What became of trying one meter: what it can do, or why it is not to be had and the remedy."""

    name: str
    meter: MeterInfo | None
    reason: str = ""
    remedy: str = ""
    permission: Permission = "not known"
    """To read it, of the user who asks: not known where nothing was found that could be refused."""


def survey(settings: MeterSettings) -> list[Finding]:
    """Try every installed meter, and say of each what it can do here, or what is missing."""
    findings = []
    for name, factory in sorted(installed().items()):
        try:
            with factory(settings, None) as meter:
                meter.read()
                findings.append(Finding(name, info(meter), permission="granted"))
        except MeterUnavailable as error:
            findings.append(
                Finding(
                    name,
                    None,
                    error.reason,
                    error.remedy,
                    "denied" if error.denied else "not known",
                )
            )
        except EnergyError as error:
            findings.append(
                Finding(name, None, str(error), "read it once more, or use another meter")
            )
        except Exception as error:  # noqa: BLE001 - somebody else's meter may raise anything; the others are asked all the same
            reason = f"it raised {type(error).__name__}: {error}"
            findings.append(Finding(name, None, reason, f"tell whoever made the meter {name!r}"))
    return findings
