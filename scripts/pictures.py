"""Pictures of what people see, by headless Chromium.

python -m scripts.pictures page RUN.json FOLDER      # the page in both widths and both colours
python -m scripts.pictures terminal RUN.json FOLDER  # a saved run as pytest prints it
python -m scripts.pictures recorded FILE FOLDER      # a terminal's output that `script` recorded
python -m scripts.pictures comment FILE.md FOLDER    # a comment, at GitHub's width
python -m scripts.pictures site build/site FOLDER    # the home page and the start page
"""

from __future__ import annotations

import argparse
import html
import io
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# Name, width, height, and whether the system asks for dark colours.
PAGES = (
    ("page-light", 1280, 1500, False),
    ("page-narrow", 390, 1300, True),
    ("page-dark", 1280, 1500, True),
    ("page-narrow-light", 390, 1300, False),
)
COLUMNS = (80, 120)
# Of Chromium's monospaced letters at this size, in pixels.
FONT_PX, LETTER_PX, LINE_PX = 14, 8.43, 18
# The text of a comment on GitHub is this wide on a wide screen.
COMMENT_PX = 830
MARKS = {"🔴": "#d1242f", "🟡": "#d4a72c", "🟢": "#2da44e", "⚪": "#afb8c1"}
# Chromium's own window is not narrower than this; a narrower page stands in a frame.
NARROWEST_WINDOW = 500
# Few colours make a small file.
COLOURS = 64
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
TERMINAL = """<meta charset="utf8"><style>body{{margin:0;background:#111;color:#ddd}}
pre{{margin:12px;font:{font}px/{line}px "DejaVu Sans Mono",monospace}}</style><pre>{text}</pre>"""
COMMENT = """<!doctype html><meta charset="utf8"><style>
body{{margin:16px;width:{width}px;font:14px/1.5 -apple-system,"Segoe UI","DejaVu Sans",sans-serif;
color:#1f2328}}
table{{border-collapse:collapse;display:block;width:max-content;max-width:100%;overflow:auto}}
td,th{{border:1px solid #d1d9e0;padding:6px 13px}} tr:nth-child(2n){{background:#f6f8fa}}
code{{background:#818b981f;padding:.2em .4em;border-radius:6px;font-size:85%}}
h3{{margin:0 0 12px;font-size:1.25em}}</style>{body}"""


def browser() -> str | None:
    """The path of a headless browser, or None."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


def take(page: Path, picture: Path, width: int, height: int, dark: bool) -> None:
    """One picture of the beginning of a page."""
    program = browser()
    if program is None:
        raise SystemExit(f"no browser here: install one of {', '.join(BROWSERS)}")
    with tempfile.TemporaryDirectory() as folder:
        shown = page.resolve()
        if width < NARROWEST_WINDOW:
            style = f"border:0;width:{width}px;height:{height}px"
            frame = f"<body style='margin:0'><iframe src='{shown.as_uri()}' style='{style}'>"
            shown = Path(folder) / "frame.html"
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
    in_few_colours(picture)
    print(f"{picture}: {picture.stat().st_size} bytes")


def in_few_colours(picture: Path) -> None:
    """Make the file a third as large, if Pillow is installed (matplotlib brings it)."""
    try:
        from PIL import Image
    except ImportError:
        return
    with Image.open(picture) as image:
        few = image.convert("RGB").quantize(
            COLOURS, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE
        )
    few.save(picture, optimize=True)


def of_text(text: str, picture: Path, width: int, height: int, dark: bool = False) -> None:
    """A picture of a page of this text."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        page.write_text(text, encoding="utf8")
        take(page, picture, width, height, dark)


def pages(run: str, folder: Path) -> None:
    """The page of a saved run."""
    with tempfile.TemporaryDirectory() as made:
        page = Path(made) / "page.html"
        command = [sys.executable, "-m", "pytest_energy", "report", run, "-o", str(page)]
        subprocess.run(command, check=True)
        for name, width, height, dark in PAGES:
            take(page, folder / f"{name}.png", width, height, dark)


def terminal(run: str, folder: Path) -> None:
    """The end of a run in pytest's output, at each width."""
    from pytest_energy.gate import Gate
    from pytest_energy.report.terminal import Look, summary, wrapped
    from pytest_energy.report.view import RunView
    from pytest_energy.runs.json_format import read_run

    results = read_run(Path(run)).results
    view = RunView.of_results(results, results[0].measurement.meter, Gate().tolerance)
    for columns in COLUMNS:
        text = wrapped(summary(view, Look(columns, colour=True)), columns)
        title = f"\x1b[1m{' energy ':-^{columns}}\x1b[0m"
        coloured(f"{title}\n{text}", folder / f"terminal-{columns}.png", columns)


def recorded(file: str, folder: Path) -> None:
    """What a terminal showed, of a file that `script` wrote."""
    text = Path(file).read_text(encoding="utf8").split("\n", 1)[1]
    text = re.sub(r"\x1b\[[0-9;?]*[A-HJKSTfhl]", "", text)
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]
    columns = max(COLUMNS[0], *(len(line) for line in lines if set(line) & set("=-")))
    coloured("\n".join(lines), folder / f"{Path(file).stem}.png", min(columns, COLUMNS[1]))


def coloured(text: str, picture: Path, columns: int) -> None:
    """A picture of text with a terminal's colours."""
    from rich.console import Console
    from rich.terminal_theme import MONOKAI
    from rich.text import Text

    console = Console(record=True, width=columns, file=io.StringIO())
    console.print(Text.from_ansi(text), soft_wrap=False, overflow="fold")
    shown = console.export_html(theme=MONOKAI, inline_styles=True, code_format="{code}")
    height = (shown.count("\n") + 1) * LINE_PX + 2 * 12
    body = TERMINAL.format(font=FONT_PX, line=LINE_PX, text=shown)
    of_text(body, picture, round(columns * LETTER_PX) + 2 * 12, height)


def comment(file: str, folder: Path) -> None:
    """A comment as GitHub shows it: its table, HTML and width, and nearly its letters."""
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark").enable("table").render(Path(file).read_text(encoding="utf8"))
    for mark, colour in MARKS.items():  # without a font for emoji they are empty boxes
        body = body.replace(mark, f"<span style='color:{colour}'>●</span>")
    text = COMMENT.format(width=COMMENT_PX, body=body)
    of_text(text, folder / f"{Path(file).stem}.png", COMMENT_PX + 2 * 16, 500)


def site(built: str, folder: Path) -> None:
    """The first pages of the docs."""
    for name in ("index", "start"):
        take(Path(built) / f"{name}.html", folder / f"site-{name}.png", 1280, 1400, False)


MAKERS = {
    "page": pages,
    "terminal": terminal,
    "recorded": recorded,
    "comment": comment,
    "site": site,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0],
        epilog=html.unescape("\n".join((__doc__ or "").splitlines()[2:])),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", choices=MAKERS)
    parser.add_argument("source", help="a saved run, such as one of make bench, or a file")
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    MAKERS[options.what](options.source, options.folder)


if __name__ == "__main__":
    main()
