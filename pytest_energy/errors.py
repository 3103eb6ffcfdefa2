"""The errors that pytest_energy raises.

::

    EnergyError
    ├── OptionError            an option, ini value or marker is invalid
    ├── MeterError
    │   ├── MeterUnavailable   this machine does not have the meter: a reason and a remedy
    │   └── MeterFailed        a reading failed: the window is void
    ├── CountingUnavailable    work cannot be counted here: a reason and a remedy
    ├── MachineBusy            another process measures on this machine and does not finish in time
    ├── FixtureMisuse          the energy fixture is used wrongly, as twice in one test
    └── RunError               a saved run
        ├── RunUnreadable      not a run, or a broken one: names the file
        │   └── RunWithoutJoules   a pytest-benchmark run that was saved without --energy
        └── RunsIncomparable   another machine or another meter: names the difference

The plugin turns ``OptionError`` and ``MeterUnavailable`` into ``pytest.UsageError`` (exit code 4).
"""

from __future__ import annotations


class EnergyError(Exception):
    """Base of every error that pytest_energy raises."""


class OptionError(EnergyError):
    """An option, an ini value or a marker has an invalid value."""


class MeterError(EnergyError):
    """Base of the errors about a meter."""


class MeterUnavailable(MeterError):
    """A meter is unavailable on this machine.

    ``reason`` names what is missing, ``remedy`` what the user can do about it (may be empty).
    ``denied``: the meter exists, but this user may not read it.
    """

    def __init__(self, reason: str, remedy: str = "", denied: bool = False):
        super().__init__(f"{reason}; {remedy}" if remedy else reason)
        self.reason = reason
        self.remedy = remedy
        self.denied = denied


class MeterFailed(MeterError):
    """A reading failed: the window is void, and no joules are invented for it."""


class CountingUnavailable(EnergyError):
    """Work cannot be counted here. ``remedy`` is what the user can do (may be empty)."""

    def __init__(self, reason: str, remedy: str = ""):
        super().__init__(f"{reason}; {remedy}" if remedy else reason)
        self.reason = reason
        self.remedy = remedy


class MachineBusy(EnergyError):
    """Another process measures on this machine and does not finish in time, or the lock fails."""


class FixtureMisuse(EnergyError):
    """The ``energy`` fixture is used wrongly, such as twice in one test."""


class RunError(EnergyError):
    """Base of the errors about a saved run."""


class RunUnreadable(RunError):
    """A file is not a saved run, or a broken one."""


class RunWithoutJoules(RunUnreadable):
    """A pytest-benchmark run that was saved without ``--energy``."""


class RunsIncomparable(RunError):
    """Two runs cannot be compared: another machine, another meter or another provenance."""
