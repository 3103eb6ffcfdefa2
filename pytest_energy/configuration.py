"""What is known of this machine from one run to the next: small files in the user's configuration folder, written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def folder() -> Path:
    """Where they lie; it may not be there yet."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "pytest-energy"


def write(path: Path, content: Mapping[str, Any]) -> None:
    """As JSON. Raises `OSError` where it cannot be written, and then leaves what was there as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    part.replace(path)
