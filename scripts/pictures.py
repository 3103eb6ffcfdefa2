"""The pictures of docs/report.md, by headless Chromium.

python -m scripts.pictures RUN.json
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
# File, width, height, and whether the system asks for dark colours.
PICTURES = (
    ("page-light.png", 1280, 1500, False),
    ("page-narrow.png", 390, 1300, True),
)
# Chromium's own window is not narrower than this; a narrower page stands in a frame.
NARROWEST_WINDOW = 500
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def browser() -> str | None:
    """The path of a headless browser, or None."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


def take(page: Path, picture: Path, width: int, height: int, dark: bool) -> None:
    """One picture of the beginning of a page."""
    program = browser()
    if program is None:
        raise SystemExit(f"no browser here: install one of {', '.join(BROWSERS)}")
    with tempfile.TemporaryDirectory() as folder:
        shown = page
        if width < NARROWEST_WINDOW:
            shown = Path(folder) / "frame.html"
            style = f"border:0;width:{width}px;height:{height}px"
            frame = f"<body style='margin:0'><iframe src='{page.as_uri()}' style='{style}'>"
            shown.write_text(frame, encoding="utf8")
        subprocess.run(
            [
                *(program, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
                *("--allow-file-access-from-files", "--virtual-time-budget=8000"),
                f"--blink-settings=preferredColorScheme={0 if dark else 1}",
                f"--user-data-dir={folder}/profile",
                f"--window-size={width},{height}",
                f"--screenshot={picture}",
                shown.as_uri(),
            ],
            check=True,
            capture_output=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", help="a saved run, such as one of make bench")
    run = parser.parse_args().run
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        command = [sys.executable, "-m", "pytest_energy", "report", run, "-o", str(page)]
        subprocess.run(command, check=True)
        for name, width, height, dark in PICTURES:
            take(page, DOCS / name, width, height, dark)
            print(f"{name}: {(DOCS / name).stat().st_size} bytes")


if __name__ == "__main__":
    main()
