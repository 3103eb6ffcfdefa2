"""pytest's lines FAILED: the value and the limit stand left of column 80, where terminals end."""

from __future__ import annotations

from collections.abc import Generator

import pytest

COLUMNS = 80
# How pytest shortens the failure of a gate.
SAYS_WHO = "Failed: energy gate: "
# pytest ends a message that it cuts with three dots.
AROUND, CUT = "FAILED  - ...", "…"
# A shorter name says too little.
LEAST_NAME = 12
NAME = "energy-failed-lines"


def value_first(report: pytest.TestReport, config: pytest.Config) -> None:
    """Let the value and the limit follow the name in the line FAILED, which may be cut."""
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is None or not crash.message.startswith(SAYS_WHO):
        return
    crash.message = crash.message.removeprefix(SAYS_WHO)
    lines = config.pluginmanager.get_plugin(NAME)
    if lines is None:
        lines = FailedLines(config)
        config.pluginmanager.register(lines, NAME)
    lines.reports.append((report, crash.message))


def shortened(name: str, message: str) -> str:
    """The end of a test's name, so short that value and limit stand left of column 80.

    >>> shortened("tests/test_speed.py::test_of_a_model[PLAID-t1-l1_structured-batch32]",
    ...           "time +23 % [+22, +24], limit +3 %: speedup regressed")
    '…l[PLAID-t1-l1_structured-batch32]'
    """
    room = max(COLUMNS - len(AROUND) - len(message.partition(": ")[0]), LEAST_NAME)
    return name if len(name) <= room else CUT + name[1 - room :]


class FailedLines:
    """Shortens the names of failed gates while pytest prints its lines FAILED.

    With ``-v`` names stay whole.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.reports: list[tuple[pytest.TestReport, str]] = []
        self._whole = config.get_verbosity() > 0
        self._names: list[str] = []

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self) -> None:
        """After the sections, which find a report by its name, and before the lines."""
        if not self._whole:
            self._names = [report.nodeid for report, _ in self.reports]
            for report, message in self.reports:
                report.nodeid = shortened(report.nodeid, message)

    @pytest.hookimpl(specname="pytest_terminal_summary", wrapper=True, tryfirst=True)
    def pytest_restore_names(self) -> Generator[None, None, None]:
        """Give other plugins the whole names again. pytest finds hooks by its prefix."""
        try:
            yield
        finally:
            for (report, _), name in zip(self.reports, self._names, strict=False):
                report.nodeid = name
