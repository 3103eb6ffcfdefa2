"""Text about the time that measuring takes and took: durations, progress, the time left."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_energy.measuring.stopwatch import PhaseTimes
from pytest_energy.plan import Step
from pytest_energy.report.escape import plain


def duration(seconds: float) -> str:
    """A duration in seconds, minutes or hours.

    >>> [duration(s) for s in (0.0004, 0.31, 4.19, 75.0, 4000.0)]
    ['0.00 s', '0.31 s', '4.2 s', '1 min 15 s', '1 h 7 min']
    """
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def left_s(step: Step, finished_s: Sequence[float], tests_after: int, allowed_s: float) -> float:
    """The time left: the rest of this test, and for each other the mean of the finished tests.

    Before a test has finished, the allowed time stands for it.
    """
    each_s = sum(finished_s) / len(finished_s) if finished_s else allowed_s
    return max(0.0, (step.allowed_s or allowed_s) - step.spent_s) + tests_after * each_s


def live_line(step: Step, name: str, number: int, of: int, remaining_s: float, width: int) -> str:
    """One line, cut to the terminal's width: how far this test is, and the time left for all."""
    phase = step.phase.removesuffix("s") if step.done == 1 else step.phase
    spent = f"{step.spent_s:.1f} s"
    if step.spent_s <= step.allowed_s:  # else the fewest windows take longer than the time asked
        spent = f"{step.spent_s:.1f} of {step.allowed_s:.1f} s"
    state = f"{step.done} {phase}, {spent}" if step.done else step.phase
    line = f"energy {number}/{of}, about {duration(remaining_s)} left: {state}; "
    test, room = plain(name), width - len(line)
    if len(test) > room > 1:
        test = "…" + test[1 - room :]  # tests of one file differ at the end of their names
    line += test
    return line if len(line) <= width else line[: width - 1] + "…"


def log_line(spent: PhaseTimes, number: int, of: int, remaining_s: float) -> str:
    """One line for a log, after a test."""
    line = f"energy {number}/{of}: {duration(spent.total_s)}, {_phases(spent)}"
    return line + (f"; about {duration(remaining_s)} left" if number < of else "")


def _phases(spent: PhaseTimes) -> str:
    parts = [
        f"{phase} {duration(seconds)}"
        + (f" ({spent.done})" if phase in ("windows", "blocks") else "")
        for phase, seconds in spent.seconds.items()
    ]
    return ", ".join(parts)
