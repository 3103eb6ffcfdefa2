"""Shows how far a measurement is: on a terminal in place, and with ``-v`` in a log a line per test.

Nothing is written while a window is open, and at most once per `EVERY_S`: drawing a terminal takes
joules too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import pytest

from pytest_energy.clock import now_s
from pytest_energy.measuring.stopwatch import PhaseTimes
from pytest_energy.plan import Step
from pytest_energy.report.escape import encodable
from pytest_energy.report.timings import left_s, live_line, log_line

EVERY_S = 1.0


class Progress:
    """Shows the steps of each measurement, through pytest's terminal reporter."""

    def __init__(
        self,
        config: pytest.Config,
        tests: Collection[str],
        allowed_s: float,
        clock: Callable[[], float] = now_s,
    ):
        self._reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
        self._capture: Any = config.pluginmanager.get_plugin("capturemanager")
        self._live = self._reporter is not None and bool(self._reporter.isatty())
        self._waiting, self._tests = set(tests), len(tests)
        self._allowed_s, self._clock = allowed_s, clock
        self._finished: list[PhaseTimes] = []
        self._took_s: list[float] = []
        """Seconds of each finished test, with its fixtures, such as the building of a model."""
        self._began_s = 0.0
        self._line: str | None = None
        """What pytest has written on the line that is overwritten."""
        self._ended: PhaseTimes | None = None
        self._shown_at_s: float | None = None

    def step(self, name: str, step: Step) -> None:
        """Show a step of this test, between two windows."""
        at_s = self._clock()
        if not self._live or (self._shown_at_s is not None and at_s - self._shown_at_s < EVERY_S):
            return
        self._shown_at_s = at_s
        number = len(self._finished) + 1
        remaining_s = left_s(step, self._took_s, len(self._waiting) - 1, self._allowed_s)
        width = self._reporter._tw.fullwidth - 1
        self._over(
            live_line(step, name.split("::", 1)[-1], number, self._tests, remaining_s, width)
        )

    def ended(self, spent: PhaseTimes) -> None:
        """Restore pytest's own line, so that it can write the outcome of the test after it."""
        self._finished.append(spent)
        self._ended = spent
        if self._shown_at_s is not None:
            self._shown_at_s = None
            self._over("", self._line or "")
            self._line = None

    def pytest_runtest_logstart(self) -> None:
        """Time the test with its fixtures."""
        self._began_s = self._clock()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A skipped test takes no time."""
        if report.when == "setup" and report.skipped and report.nodeid in self._waiting:
            self._waiting.discard(report.nodeid)
            self._tests -= 1

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """In a log, write a line after pytest's."""
        if nodeid in self._waiting:
            self._waiting.discard(nodeid)
            self._took_s.append(self._clock() - self._began_s)
        spent, self._ended = self._ended, None
        if spent is None or self._live or self._reporter is None:
            return
        number = len(self._finished)
        each_s = sum(self._took_s) / max(1, len(self._took_s))
        self._reporter.write_line(log_line(spent, number, self._tests, len(self._waiting) * each_s))

    def _over(self, line: str, then: str = "") -> None:
        writer = self._reporter._tw
        # pytest places its percentages by what it thinks it has written on this line.
        written = writer._current_line
        if self._line is None:
            self._line = written
        self._write(writer, line, then)
        writer._current_line = self._line

    def _write(self, writer: Any, line: str, then: str) -> None:
        blank = " " * (writer.fullwidth - 1 - len(line))
        text = encodable(
            f"\r{line}{blank}" + (f"\r{then}" if not line else ""),
            getattr(writer._file, "encoding", None),
        )
        if self._capture is None:
            writer.write(text, flush=True)
            return
        with self._capture.global_and_fixture_disabled():  # as pytest's live logs do
            writer.write(text, flush=True)
