"""What every installed meter can do on this machine, for `pytest-energy doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pytest_energy.errors import EnergyError, MeterUnavailable
from pytest_energy.meters import registry
from pytest_energy.meters.protocol import MeterFactory, MeterSettings, info
from pytest_energy.model import MeterInfo

Permission = Literal["granted", "denied", "not known"]


@dataclass(frozen=True)
class MeterCheck:
    """What one meter can do here, or why it is unavailable, with a remedy."""

    name: str
    meter: MeterInfo | None
    reason: str = ""
    remedy: str = ""
    permission: Permission = "not known"
    """This user's permission to read it; not known if no device was found."""


def check_meters(settings: MeterSettings) -> list[MeterCheck]:
    """Open and read every installed meter once."""
    return [
        _check(name, factory, settings) for name, factory in sorted(registry.installed().items())
    ]


def _check(name: str, factory: MeterFactory, settings: MeterSettings) -> MeterCheck:
    try:
        with factory(settings, None) as meter:
            meter.read()
            return MeterCheck(name, info(meter), permission="granted")
    except MeterUnavailable as error:
        denied: Permission = "denied" if error.denied else "not known"
        return MeterCheck(name, None, error.reason, error.remedy, denied)
    except EnergyError as error:
        return MeterCheck(name, None, str(error), "read it once more, or use another meter")
    except Exception as error:  # noqa: BLE001 - an installed meter may raise anything
        reason = f"it raised {type(error).__name__}: {error}"
        return MeterCheck(name, None, reason, f"report this to the author of the meter {name!r}")
