"""Git in the repositories that studies make."""

from __future__ import annotations

import subprocess
from pathlib import Path

SETTINGS = ("user.name=study", "user.email=study@example.org", "commit.gpgsign=false")


def git(folder: Path, *arguments: str) -> str:
    """What git prints. Raises CalledProcessError if it fails."""
    settings = [part for setting in SETTINGS for part in ("-c", setting)]
    done = subprocess.run(
        ["git", *settings, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()
