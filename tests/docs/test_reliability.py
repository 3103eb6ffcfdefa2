"""docs/reliability.md names only tests that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = re.findall(r"`(test_\w+\.py)::(test_\w+)`", (ROOT / "docs/reliability.md").read_text(encoding="utf8"))


def test_there_are_some():
    assert len(NAMED) > 30


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_it_exists(file, name):
    assert f"def {name}(" in (ROOT / "tests/energy" / file).read_text(encoding="utf8")
