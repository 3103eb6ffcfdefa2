"""docs/reference.md is what the code says."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="the suite's options are in a conftest that imports torch")

from scripts import reference


def test_the_page_is_up_to_date():
    assert reference.PAGE.read_text(encoding="utf8") == reference.page(), (
        "write it again: make reference"
    )


def test_every_environment_variable_is_explained():
    assert reference.variables_in_code() == set(reference.VARIABLES)


def test_every_marker_is_in_the_page():
    """The page names the two markers by hand."""
    assert [marker.split("(")[0] for marker in reference.command_line.MARKERS] == [
        "energy",
        "gps_up",
    ]
