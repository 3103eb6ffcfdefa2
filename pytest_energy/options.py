"""What the user asked for: the command line, then the ini file, then the default.

Every option's command-line default is None, so that an ini value is never hidden by it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pytest_energy.errors import OptionError
from pytest_energy.meters import AUTO, MeterSettings
from pytest_energy.plan import Plan
from pytest_energy.settings import SETTINGS
from pytest_energy.stats.carbon import carbon_intensity

# A full suite takes a quarter of an hour; who waits for longer than this would rather know.
DEFAULT_LOCK_TIMEOUT_S = 3600.0


@dataclass(frozen=True)
class Options:
    """All options, read once."""

    enabled: bool = False
    meter: str = AUTO
    meter_settings: MeterSettings = MeterSettings()
    plan: Plan = Plan()
    gate_estimates: bool = False
    strict: bool = False
    quality_tolerance: float | None = None
    """None: the sampling noise of a small test set, see compare.py."""
    durations: int | None = None
    """Of how many tests to show where the time went; 0: of all; None: of none."""
    grams_per_kwh: float | None = None
    lock_timeout_s: float = DEFAULT_LOCK_TIMEOUT_S
    machine_name: str = ""
    """Saved with the run. Empty: a run goes to other people, and says no host's name unless it is asked to."""

    @classmethod
    def of(cls, enabled: bool, given: Mapping[str, Any]) -> Options:
        """From the texts that were given, by setting name; None or "" where nothing was given.

        Raises `OptionError` naming the option, its value and what is allowed.
        """

        def text(name: str, default: str) -> str:
            return given.get(name) or default

        settings = MeterSettings()
        return cls(
            enabled,
            text("meter", AUTO),
            MeterSettings(
                text(
                    "powercap_root",
                    os.environ.get("PYTEST_ENERGY_POWERCAP_ROOT") or settings.powercap_root,
                ),
                text("hwmon_root", settings.hwmon_root),
                _watts(given.get("watts")),
            ),
            _plan(given),
            bool(given.get("gate_estimates")),
            bool(given.get("strict")),
            _quality_tolerance(given.get("quality_tolerance")),
            _durations(given.get("durations")),
            carbon_intensity(given.get("carbon_intensity"), "--energy-carbon-intensity"),
            _lock_timeout_s(given.get("lock_timeout")),
            text("machine_name", ""),
        )


def _lock_timeout_s(text: str | None) -> float:
    if not text:
        return DEFAULT_LOCK_TIMEOUT_S
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise OptionError(f"--energy-lock-timeout takes seconds, 0 or more, not {text!r}")
    return seconds


def _durations(text: str | None) -> int | None:
    if not text:
        return None
    try:
        tests = int(text)
    except ValueError:  # no number, or one of thousands of digits
        tests = -1
    if tests < 0:
        raise OptionError(f"--energy-durations takes a number of tests, or 0 for all, not {text!r}")
    return tests


def _quality_tolerance(text: str | None) -> float | None:
    if not text:
        return None
    tolerance = _share(text)
    if tolerance is None or tolerance < 0:
        raise OptionError(
            f"--energy-quality-tolerance takes an amount of 0 or more, such as 0.01 or 1%, not {text!r}"
        )
    return tolerance


# Which field of the plan each option fills.
PLAN_FIELDS = {
    "max_time": "max_time_s",
    "quantisation": "max_quantisation",
    "alpha": "alpha",
    "tolerance": "tolerance",
}


def _plan(given: Mapping[str, Any]) -> Plan:
    plan = Plan()
    for setting in SETTINGS:
        text = given.get(setting.name)
        if setting.name not in PLAN_FIELDS or not text:
            continue
        number = _share(text) if setting.metavar == "SHARE" else _number(text)
        if number is None:
            kind = "a share, such as 3% or 0.03" if setting.metavar == "SHARE" else "a number"
            raise OptionError(f"{setting.flag} takes {kind}, not {text!r}")
        try:
            changed: dict[str, Any] = {PLAN_FIELDS[setting.name]: number}
            plan = replace(plan, **changed)
        except OptionError as error:
            raise OptionError(f"{setting.flag} {text}: {error}") from None
    return plan


def _number(text: str) -> float | None:
    """The number that a text means, or None where it means none."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _share(text: str) -> float | None:
    stripped = text.strip()
    if not stripped.endswith("%"):
        return _number(stripped)
    percent = _number(stripped[:-1])
    return None if percent is None else percent / 100


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
