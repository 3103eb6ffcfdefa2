"""Joules, watts and seconds around code, compared honestly, and gated in pytest."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_energy.errors import EnergyError, MeterFailed, MeterUnavailable, OptionError
    from pytest_energy.machine import fingerprint
    from pytest_energy.measuring.machine_lock import machine_lock
    from pytest_energy.measuring.once import Once, once
    from pytest_energy.measuring.paired import versus, versus_many
    from pytest_energy.measuring.single import measure
    from pytest_energy.meters import Meter, MeterSettings, open_meter
    from pytest_energy.model import Comparison, Domain, Interval, Measurement, Reading, Window
    from pytest_energy.plan import Plan
    from pytest_energy.stats.per_call import Figures, figures

__all__ = [
    "Comparison",
    "Domain",
    "EnergyError",
    "Figures",
    "Interval",
    "Measurement",
    "Meter",
    "MeterFailed",
    "MeterSettings",
    "MeterUnavailable",
    "Once",
    "OptionError",
    "Plan",
    "Reading",
    "Window",
    "figures",
    "fingerprint",
    "machine_lock",
    "measure",
    "once",
    "open_meter",
    "versus",
    "versus_many",
]

# Names are imported on first use. Importing everything costs 14 ms, and a run without `--energy`
# may cost 10.
_MODULES = {
    "errors": ("EnergyError", "MeterFailed", "MeterUnavailable", "OptionError"),
    "machine": ("fingerprint",),
    "measuring.machine_lock": ("machine_lock",),
    "measuring.once": ("Once", "once"),
    "measuring.paired": ("versus", "versus_many"),
    "measuring.single": ("measure",),
    "meters": ("Meter", "MeterSettings", "open_meter"),
    "model": ("Comparison", "Domain", "Interval", "Measurement", "Reading", "Window"),
    "plan": ("Plan",),
    "stats.per_call": ("Figures", "figures"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def load_ipython_extension(ipython: object) -> None:
    """``%load_ext pytest_energy``: the magics ``%energy`` and ``%%energy``."""
    import_module(f"{__name__}.notebook").load(ipython)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
