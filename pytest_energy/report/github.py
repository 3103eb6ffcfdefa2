"""Annotations for GitHub Actions, at the tests that failed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pytest_energy.report.escape import plain
from pytest_energy.report.view import RunView


def error_annotations(view: RunView, locations: Mapping[str, tuple[str, int]]) -> Iterator[str]:
    """A workflow command for each failed test; ``locations`` has the file and line of each.

    Source: docs.github.com, "Workflow commands for GitHub Actions".
    """
    for row, label in zip(view.rows, view.labels, strict=True):
        if row.state != "failed":
            continue
        test = row.name if row.name in locations else row.name.rpartition("::")[0]  # of a phase
        file, line = locations.get(test, ("", 0))
        place = f"file={_property(file)},line={line}," if file else ""
        message = _data("; ".join(row.reasons))
        yield f"::error {place}title={_property(f'energy: {label}')}::{message}"


def _data(text: str) -> str:
    """A message; GitHub decodes these escapes."""
    return plain(text).replace("%", "%25")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
