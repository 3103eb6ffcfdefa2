"""ARCHITECTURE.md is true of the tree."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.energy.test_imports import MODULES, own_modules

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf8")
LAYERS = [line.split() for line in re.findall(r"<!-- layers -->\n```text\n(.*?)```", TEXT, re.DOTALL)[0].splitlines()]


def test_every_module_is_drawn_once():
    drawn = [module for layer in LAYERS for module in layer]
    assert sorted(drawn) == sorted({*MODULES.values()} - {"__init__"})


@pytest.mark.parametrize("number", range(len(LAYERS)))
def test_imports_come_from_the_lines_above(number):
    above = {module for layer in LAYERS[:number] for module in layer}
    for module in LAYERS[number]:
        used = set().union(*(own_modules(path) for path, name in MODULES.items() if name == module)) - {module}
        assert used <= above, f"{module} imports {sorted(used - above)}, which is not drawn above it"


def test_what_is_named_is_there():
    named = re.findall(r"`((?:pytest_energy|tsbench|tests|benchmarks)/[\w/.]+)`", TEXT)
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []
