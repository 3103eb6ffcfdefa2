"""docs/reliability.md names only tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_named_test_exists():
    text = (ROOT / "docs/reliability.md").read_text(encoding="utf8")
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", text)
    files = {path.name: path.read_text(encoding="utf8") for path in ROOT.glob("tests/**/test_*.py")}
    assert len(named) > 30
    assert not [
        f"{file}::{name}" for file, name in named if f"def {name}(" not in files.get(file, "")
    ]
