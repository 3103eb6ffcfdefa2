"""Everything that pytest_energy raises on purpose.

::

    EnergyError
    ├── OptionError            an option, ini value or marker that cannot be meant
    ├── MeterError
    │   ├── MeterUnavailable   this meter is not to be had here: a reason and a remedy
    │   └── MeterFailed        it was there, and a reading went wrong: the window is void
    ├── CountingUnavailable    work cannot be counted here: a reason and a remedy
    ├── MachineBusy            another process measures on this machine, and has not finished in time
    ├── FixtureMisuse          the energy fixture used in a way that has no meaning
    └── RunError               a saved run
        ├── RunUnreadable      not a run, or a broken one: names the file
        │   └── RunWithoutJoules   a run of pytest-benchmark's that was saved without --energy
        └── RunsIncomparable   another machine, another meter: names the difference

The plugin turns ``OptionError`` and ``MeterUnavailable`` into ``pytest.UsageError`` (exit code 4).
"""

from __future__ import annotations


class EnergyError(Exception):
    """Base of every error that pytest_energy raises on purpose."""


class OptionError(EnergyError):
    """An option, an ini value or a marker has a value that cannot be meant."""


class MeterError(EnergyError):
    """Something about a meter."""


class MeterUnavailable(MeterError):
    """A meter is not to be had on this machine.

    ``reason`` says what is missing, ``remedy`` what the user can do about it (may be empty). ``denied``: it is
    there, and this user may not read it.
    """

    def __init__(self, reason: str, remedy: str = "", denied: bool = False):
        super().__init__(f"{reason}; {remedy}" if remedy else reason)
        self.reason = reason
        self.remedy = remedy
        self.denied = denied


class MeterFailed(MeterError):
    """A reading failed half-way: what was being measured is void, and no joules are made up for it."""


class CountingUnavailable(EnergyError):
    """Work cannot be counted here. ``remedy`` is what the user can do about it; it may be empty."""

    def __init__(self, reason: str, remedy: str = ""):
        super().__init__(f"{reason}; {remedy}" if remedy else reason)
        self.reason = reason
        self.remedy = remedy


class MachineBusy(EnergyError):
    """Another process measures on this machine, and has not finished in time; or it cannot be found out whether one does."""


class FixtureMisuse(EnergyError):
    """The ``energy`` fixture was used in a way that has no meaning, such as twice in one test."""


class RunError(EnergyError):
    """Something about a saved run."""


class RunUnreadable(RunError):
    """A file is not a saved run, or a broken one."""


class RunWithoutJoules(RunUnreadable):
    """A run of pytest-benchmark's that was saved without ``--energy``."""


class RunsIncomparable(RunError):
    """Two runs cannot be put side by side: another machine, another meter or another provenance."""
