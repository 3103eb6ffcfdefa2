"""What the user asked for: the command line, then the ini file, then the default; and what the markers say.

Every option's command-line default is None, so that an ini value is never hidden by it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from pytest_energy.errors import OptionError
from pytest_energy.gate import Budget, Gate, Thresholds
from pytest_energy.measure import Plan
from pytest_energy.meters import AUTO, MeterSettings


@dataclass(frozen=True)
class Setting:
    """One option: ``--energy-NAME`` on the command line and ``energy_NAME`` in the ini file."""

    name: str
    help: str
    metavar: str | None = None
    """None for a switch."""

    @property
    def flag(self) -> str:
        return "--energy-" + self.name.replace("_", "-")

    @property
    def ini(self) -> str:
        return "energy_" + self.name


SETTINGS = (
    Setting("meter", "Meter to use: auto, a name, NAME:ARGUMENT, or several with commas (default: auto).", "SPEC"),
    Setting("watts", "Idle and full-load watts of this machine, for the estimated meter.", "IDLE,FULL"),
    Setting("max_time", "Seconds allowed for one comparison (default: 5).", "SECONDS"),
    Setting("tolerance", "Change of a ratio that counts as unchanged, such as 3%% or 0.03 (default: 3%%).", "SHARE"),
    Setting("alpha", "Chance of a wrong interval that is accepted per comparison (default: 1%%).", "SHARE"),
    Setting("quantisation", "Error of the counter that windows are made long enough for (default: 1%%).", "SHARE"),
    Setting("powercap_root", "Where the powercap tree is (default: /sys/class/powercap).", "DIR"),
    Setting("hwmon_root", "Where the hwmon tree is (default: /sys/class/hwmon).", "DIR"),
    Setting("gate_estimates", "Let estimated joules pass or fail a gate, too."),
    Setting("strict", "Fail on inconclusive verdicts, too."),
)


@dataclass(frozen=True)
class Options:
    """All options, read once."""

    enabled: bool = False
    meter: str = AUTO
    meter_settings: MeterSettings = MeterSettings()
    plan: Plan = Plan()
    gate_estimates: bool = False
    strict: bool = False

    @classmethod
    def of(cls, enabled: bool, given: Mapping[str, Any]) -> Options:
        """From the texts that were given, by setting name; None or "" where nothing was given.

        Raises `OptionError` naming the option, its value and what is allowed.
        """

        def text(name: str, default: str) -> str:
            return given.get(name) or default

        plan = Plan()
        settings = MeterSettings()
        return cls(
            enabled,
            text("meter", AUTO),
            MeterSettings(
                text("powercap_root", os.environ.get("PYTEST_ENERGY_POWERCAP_ROOT") or settings.powercap_root),
                text("hwmon_root", settings.hwmon_root),
                _watts(given.get("watts")),
            ),
            Plan(
                _number("max_time", given.get("max_time"), plan.max_time_s),
                _share("quantisation", given.get("quantisation"), plan.max_quantisation),
                _share("alpha", given.get("alpha"), plan.alpha),
                _share("tolerance", given.get("tolerance"), plan.tolerance),
            ),
            bool(given.get("gate_estimates")),
            bool(given.get("strict")),
        )


def _number(name: str, value: str | None, default: float) -> float:
    if not value:
        return default
    try:
        number = float(value)
    except ValueError:
        raise OptionError(f"--energy-{name.replace('_', '-')} takes a number, not {value!r}") from None
    if not math.isfinite(number):
        raise OptionError(f"--energy-{name.replace('_', '-')} takes a finite number, not {value!r}")
    return number


def _share(name: str, value: str | None, default: float) -> float:
    if value and value.strip().endswith("%"):
        return _number(name, value.strip()[:-1], default) / 100
    return _number(name, value, default)


def _watts(value: str | None) -> tuple[float, float] | None:
    if not value:
        return None
    wanted = f"--energy-watts takes the idle and the full-load watts of this machine, such as 8,65, not {value!r}"
    try:
        idle, full = (float(part) for part in value.split(","))
    except ValueError:
        raise OptionError(wanted) from None
    if not 0 <= idle < full < math.inf:
        raise OptionError(wanted + ": 0 <= idle < full is needed")
    return idle, full


@dataclass(frozen=True)
class Mark:
    """A marker's name and arguments, as pytest gives them."""

    name: str
    args: tuple
    kwargs: Mapping[str, Any]


def gate_from_marks(energy: Mark | None, gps_up: Mark | None, options: Options) -> Gate:
    """What the markers of one test ask. Raises `OptionError` for unknown keywords and impossible values."""
    tolerance = options.plan.tolerance
    budget, thresholds = Budget(), None
    if energy is not None:
        values = _keywords(energy, [field.name for field in fields(Budget)] + ["tolerance"])
        tolerance = values.pop("tolerance", tolerance)
        budget = Budget(**values)
    if gps_up is not None:
        thresholds = Thresholds(**_keywords(gps_up, [field.name for field in fields(Thresholds)]))
    return Gate(budget, thresholds, tolerance, options.gate_estimates)


def _keywords(mark: Mark, allowed: list[str]) -> dict[str, float]:
    if mark.args:
        raise OptionError(f"the {mark.name} marker takes keywords only ({', '.join(allowed)}), not {mark.args!r}")
    for key, value in mark.kwargs.items():
        if key not in allowed:
            raise OptionError(f"the {mark.name} marker has no keyword {key!r}; it has {', '.join(allowed)}")
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
            raise OptionError(f"{key} of the {mark.name} marker must be a number above 0, not {value!r}")
    return dict(mark.kwargs)
