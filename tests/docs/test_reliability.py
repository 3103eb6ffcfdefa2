"""docs/reliability.md and docs/gate.md name only tests that exist, and gate.md each of its own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`(?:(test_\w+\.py)::)?(test_\w+)`")
UNGATED = "test_ungated.py"


def files() -> dict[str, str]:
    """The text of all test files of each name."""
    found: dict[str, str] = {}
    for path in ROOT.glob("tests/**/test_*.py"):
        found[path.name] = found.get(path.name, "") + path.read_text(encoding="utf8")
    return found


def named_tests(page: str) -> list[tuple[str, str]]:
    """File and name of each test that a page names; gate.md leaves out test_ungated.py."""
    text = (ROOT / "docs" / page).read_text(encoding="utf8")
    return [(file or UNGATED, name) for file, name in NAMED.findall(text)]


@pytest.mark.parametrize(("page", "at_least"), [("reliability.md", 60), ("gate.md", 40)])
def test_every_named_test_exists(page, at_least):
    named, sources = named_tests(page), files()
    assert len(named) >= at_least
    assert not [
        f"{file}::{name}" for file, name in named if f"def {name}(" not in sources.get(file, "")
    ]


def test_gate_md_names_every_test_of_a_gate_that_gates_nothing():
    tests = re.findall(r"^def (test_\w+)\(", files()[UNGATED], re.MULTILINE)
    named = {name for file, name in named_tests("gate.md") if file == UNGATED}
    assert tests and not set(tests) - named
