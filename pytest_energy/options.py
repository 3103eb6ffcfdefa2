"""All options in one table, with the parsers of their texts.

An option is ``--energy-NAME`` on the command line and ``energy_NAME`` in pytest's ini file. The
command line overrides the ini file, and the ini file the default. pytest and ``pytest-energy``
both read this table, so that a project has one tolerance and not two. The texts are parsed here
and not by argparse, so that an ini value gets the same checks and the same message.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_energy.errors import OptionError
from pytest_energy.plan import SUITE_ALPHA, WORK_TOLERANCE, Plan

if TYPE_CHECKING:
    from pytest_energy.meters import MeterSettings

# A full suite takes a quarter of an hour. Beyond this, the user would rather know.
DEFAULT_LOCK_TIMEOUT_S = 3600.0
# By what the terminal's table can be sorted.
SORTS = ("change", "name", "time", "energy")
NO_SOURCES: Mapping[str, str] = {}


class Option(NamedTuple):
    """One row of the table."""

    name: str
    parse: Callable[[str], Any] | None
    """From the text to the value. Raises `ValueError` with what is allowed. None: a switch."""
    default: Any
    help: str
    metavar: str | None = None

    @property
    def flag(self) -> str:
        return "--energy-" + self.name.replace("_", "-")

    @property
    def ini(self) -> str:
        return "energy_" + self.name

    def value(self, text: Any, source: str | None = None) -> Any:
        """The value of a text; None and "" give the default.

        Raises `OptionError`, which names ``source``: the flag, if nothing else is given.
        """
        if self.parse is None:
            return bool(text)
        if text is None or text == "":
            return self.default
        try:
            if isinstance(text, bool | list | Mapping):  # TOML has more types than an ini file
                raise ValueError("a text or a number")
            return self.parse(str(text))
        except ValueError as error:
            raise OptionError(f"{source or self.flag} takes {error}, not {text!r}") from None


def parse_share(text: str, low: float = 0.0, high: float = 1.0) -> float:
    """``3%`` or ``0.03``, between ``low`` and ``high``, both excluded."""
    share = _number_or_percentage(text)
    if not low < share < high:
        raise ValueError(f"a share between {low:g} and {high:g}, such as 3% or 0.03")
    return share


def _quantisation(text: str) -> float:
    return 1.0 if text.strip() in ("1", "100%") else parse_share(text)


def _alpha(text: str) -> float:
    return parse_share(text, 0, 0.5)


def _threads(text: str) -> int:
    return _one_or_more(text, "threads")


def _workers(text: str) -> int:
    return _one_or_more(text, "workers")


def _one_or_more(text: str, things: str) -> int:
    if not (text.strip().isdecimal() and int(text) >= 1):
        raise ValueError(f"a number of {things}, 1 or more")
    return int(text)


def _seconds(text: str) -> float:
    seconds = _number(text)
    if not 0 < seconds < math.inf:
        raise ValueError("seconds, more than 0")
    return seconds


def _timeout(text: str) -> float:
    return _zero_or_more(_number(text), "seconds, 0 or more")


def _quality_tolerance(text: str) -> float:
    allowed = "an amount of 0 or more, such as 0.01 or 1%"
    return _zero_or_more(_number_or_percentage(text), allowed)


def _carbon_intensity(text: str) -> float:
    allowed = "the grams of CO2e per kWh of your electricity, 0 or more, such as 400"
    return _zero_or_more(_number(text), allowed)


def _zero_or_more(value: float, allowed: str) -> float:
    if not 0 <= value < math.inf:
        raise ValueError(allowed)
    return value


def _sort(text: str) -> str:
    if text not in SORTS:
        raise ValueError(f"one of {', '.join(SORTS)}")
    return text


def _watts(text: str) -> tuple[float, float]:
    watts = [_number(part) for part in text.split(",")]
    if len(watts) != 2 or not 0 <= watts[0] < watts[1] < math.inf:
        raise ValueError(
            "the idle and the full-load watts of this machine, such as 8,65, with 0 <= idle < full"
        )
    return watts[0], watts[1]


def _number(text: str) -> float:
    """The number that a text means; NaN, which lies in no range, if it means none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _number_or_percentage(text: str) -> float:
    stripped = text.strip()
    return _number(stripped[:-1]) / 100 if stripped.endswith("%") else _number(stripped)


OPTIONS = (
    Option(
        "meter",
        str,
        "auto",
        "Use this meter: auto, a name, NAME:ARGUMENT, or several with commas (default: auto).",
        "SPEC",
    ),
    Option(
        "watts",
        _watts,
        None,
        "Give the estimated meter this machine's idle and full-load watts.",
        "IDLE,FULL",
    ),
    Option(
        "max_time",
        _seconds,
        Plan().max_time_s,
        "Allow a comparison this many seconds (default: 5).",
        "SECONDS",
    ),
    Option(
        "tolerance",
        parse_share,
        Plan().tolerance,
        "Call a ratio unchanged within this share, such as 3% or 0.03 (default: 3%).",
        "SHARE",
    ),
    Option(
        "alpha",
        _alpha,
        Plan().alpha,
        "Accept this chance of a wrong interval per comparison (default: 1%).",
        "SHARE",
    ),
    Option(
        "suite_alpha",
        _alpha,
        SUITE_ALPHA,
        "Accept this chance of any false alarm in a run of unchanged code (default: 5%).",
        "SHARE",
    ),
    Option(
        "family_wise",
        None,
        False,
        "Keep to that chance among saved runs even where other code changed.",
    ),
    Option(
        "threads",
        _threads,
        None,
        "Give the thread pools of torch, OpenMP and BLAS so many threads (default: their own).",
        "NUMBER",
    ),
    Option(
        "fresh_processes",
        None,
        False,
        "Compare the sides of energy.versus in 11 or more fresh processes, and not in this one.",
    ),
    Option(
        "net",
        None,
        False,
        "Gate live comparisons by net joules, which are gross joules less the idle power.",
    ),
    Option(
        "quantisation",
        _quantisation,
        Plan().max_quantisation,
        "Make windows long enough for this error of the counter (default: 1%).",
        "SHARE",
    ),
    Option("count", None, False, "Count each test's instructions too, with valgrind."),
    Option(
        "count_tolerance",
        parse_share,
        WORK_TOLERANCE,
        "Call counted work unchanged within this share (default: 1%).",
        "SHARE",
    ),
    Option(
        "count_timeout",
        _seconds,
        300.0,
        "Give up counting a test after this many seconds (default: 300).",
        "SECONDS",
    ),
    Option(
        "count_workers",
        _workers,
        None,
        "Count tests in so many workers at once (default: one for each CPU).",
        "NUMBER",
    ),
    Option(
        "count_keep",
        str,
        "",
        "Keep each test's counts in this folder, as files for KCachegrind.",
        "FOLDER",
    ),
    Option(
        "gate_estimates",
        None,
        False,
        "Let estimated and attributed joules pass or fail a gate too.",
    ),
    Option(
        "trust_sensor",
        None,
        False,
        "Declare that RAPL in this virtual machine is the hardware's own, and count as measured.",
    ),
    Option(
        "quality_tolerance",
        _quality_tolerance,
        None,
        "Let a quality fall this much below a saved run's (default: the noise of 375 cases).",
        "AMOUNT",
    ),
    Option(
        "carbon_intensity",
        _carbon_intensity,
        None,
        "Show grams of CO2e too, at this many grams per kWh.",
        "G_PER_KWH",
    ),
    Option(
        "lock_timeout",
        _timeout,
        DEFAULT_LOCK_TIMEOUT_S,
        "Wait this long for another measuring run on this machine (default: 3600).",
        "SECONDS",
    ),
    Option(
        "sort",
        _sort,
        SORTS[0],
        "Sort by change, name, time or energy; failed tests come first (default: change).",
        "KEY",
    ),
    Option("strict", None, False, "Fail on inconclusive verdicts too."),
    Option(
        "allow_ungated",
        None,
        False,
        "Exit with 0 even if a gate was asked for and nothing was gated.",
    ),
)
BY_NAME: Mapping[str, Option] = {option.name: option for option in OPTIONS}


@dataclass(frozen=True)
class Options:
    """The values of all options."""

    meter: str = "auto"
    watts: tuple[float, float] | None = None
    """Idle and full-load watts, for the estimated meter."""
    plan: Plan = Plan()
    """With the values of max_time, tolerance, alpha and quantisation."""
    suite_alpha: float = SUITE_ALPHA
    """The chance of any false alarm in a run of unchanged code."""
    family_wise: bool = False
    threads: int | None = None
    """Of each thread pool of the code under test; None: as many as its library chooses."""
    fresh_processes: bool = False
    """Whether each value of `versus` is of a process of its own."""
    net: bool = False
    """Whether live comparisons are gated by net joules."""
    gate_estimates: bool = False
    quality_tolerance: float | None = None
    """None: the sampling noise of a small test set, see runs/compare.py."""
    grams_per_kwh: float | None = None
    lock_timeout_s: float = DEFAULT_LOCK_TIMEOUT_S
    strict: bool = False
    sort: str = SORTS[0]
    trust_sensor: bool = False
    allow_ungated: bool = False
    count: bool = False
    count_tolerance: float = WORK_TOLERANCE
    count_timeout_s: float = 300.0
    count_workers: int | None = None
    """None: one for each CPU that this process may use."""
    count_keep: str = ""

    @classmethod
    def of(cls, given: Mapping[str, Any], sources: Mapping[str, str] = NO_SOURCES) -> Options:
        """From texts by option name; None or "" if nothing was given.

        ``sources`` names the place of each text. Raises `OptionError`.
        """
        values = {
            option.name: option.value(given.get(option.name), sources.get(option.name))
            for option in OPTIONS
        }
        plan = Plan(
            max_time_s=values["max_time"],
            max_quantisation=values["quantisation"],
            alpha=values["alpha"],
            tolerance=values["tolerance"],
            gate_estimates=values["gate_estimates"],
        )
        return cls(
            meter=values["meter"],
            watts=values["watts"],
            plan=plan,
            count=values["count"],
            count_tolerance=values["count_tolerance"],
            count_timeout_s=values["count_timeout"],
            count_workers=values["count_workers"],
            suite_alpha=values["suite_alpha"],
            family_wise=values["family_wise"],
            count_keep=values["count_keep"],
            threads=values["threads"],
            fresh_processes=values["fresh_processes"],
            net=values["net"],
            gate_estimates=values["gate_estimates"],
            trust_sensor=values["trust_sensor"],
            quality_tolerance=values["quality_tolerance"],
            grams_per_kwh=values["carbon_intensity"],
            lock_timeout_s=values["lock_timeout"],
            strict=values["strict"],
            sort=values["sort"],
            allow_ungated=values["allow_ungated"],
        )

    @property
    def meter_settings(self) -> MeterSettings:
        """The part of the options that meters get."""
        from pytest_energy.meters import MeterSettings  # most runs open no meter

        return MeterSettings(watts=self.watts, trust_sensor=self.trust_sensor)
