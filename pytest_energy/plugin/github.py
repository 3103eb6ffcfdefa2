"""A run on GitHub Actions: the job's summary, and annotations at the tests that failed."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from pytest_energy.report.escape import plain
from pytest_energy.report.github import error_annotations
from pytest_energy.report.view import RunView


def write_step_summary(config: pytest.Config, text: Callable[[], str]) -> None:
    """Add the text to the job's summary, if GitHub Actions names a file for it."""
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if not path:
        return
    try:
        with open(path, "a", encoding="utf8", errors="backslashreplace") as file:
            file.write(text() + "\n")
    except OSError as error:
        warning = pytest.PytestWarning(f"GITHUB_STEP_SUMMARY cannot be written: {error.strerror}")
        config.issue_config_time_warning(warning, stacklevel=2)


def annotation_lines(session: pytest.Session, view: RunView) -> list[str]:
    """A workflow command for each failed test, on GitHub Actions only."""
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return []
    root = session.config.rootpath
    workspace = os.environ.get("GITHUB_WORKSPACE") or root
    locations = {
        plain(item.nodeid): (
            os.path.relpath(root / item.location[0], workspace),
            (item.location[1] or 0) + 1,
        )
        for item in session.items
    }
    return list(error_annotations(view, locations))
