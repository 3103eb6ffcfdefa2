"""Joules, watts and seconds around code, compared honestly, and gated in pytest."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_energy.errors import EnergyError, MeterFailed, MeterUnavailable, OptionError
    from pytest_energy.figures import Figures, figures
    from pytest_energy.measure import measure
    from pytest_energy.meters import Meter, MeterSettings, open_meter
    from pytest_energy.plan import Plan
    from pytest_energy.reading import Comparison, Domain, Interval, Measurement, Reading, Window
    from pytest_energy.versus import versus, versus_many

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
    "OptionError",
    "Plan",
    "Reading",
    "Window",
    "figures",
    "measure",
    "open_meter",
    "versus",
    "versus_many",
]

# Each name comes when it is first asked for: pytest imports this package in every run of everybody who has the
# plugin installed, and all of it took 14 ms of the 10 that a run without --energy may pay.
_HOMES = {
    "errors": ("EnergyError", "MeterFailed", "MeterUnavailable", "OptionError"),
    "figures": ("Figures", "figures"),
    "measure": ("measure",),
    "meters": ("Meter", "MeterSettings", "open_meter"),
    "plan": ("Plan",),
    "reading": ("Comparison", "Domain", "Interval", "Measurement", "Reading", "Window"),
    "versus": ("versus", "versus_many"),
}
_HOME_OF = {name: f"{__name__}.{home}" for home, names in _HOMES.items() for name in names}


class _Package(ModuleType):
    """``figures``, ``measure`` and ``versus`` are functions here, and modules of these names lie in this folder.

    Importing such a module would put it in the function's place, if this did not keep it out.
    """

    def __getattr__(self, name: str) -> object:
        if name not in _HOME_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(_HOME_OF[name]), name)
        setattr(self, name, value)
        return value

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOME_OF and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *__all__})


sys.modules[__name__].__class__ = _Package
