"""docs/api.md is made from the docstrings, and has every public name."""

from __future__ import annotations

import pytest

import pytest_energy
from scripts import api_page


def test_the_page_is_up_to_date():
    assert api_page.PAGE.read_text(encoding="utf8") == api_page.page(), (
        "write it again: make reference"
    )


def test_every_public_name_is_in_the_page():
    named = [name for _, names in api_page.PARTS for name in names]
    assert sorted(named) == sorted(pytest_energy.__all__)


@pytest.mark.parametrize("name", pytest_energy.__all__)
def test_every_public_name_has_a_docstring(name):
    assert len((getattr(pytest_energy, name).__doc__ or "").split()) >= 4
