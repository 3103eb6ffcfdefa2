"""The site in a browser, 1280 pixels wide: no code, table or picture is cut."""

import html
import json
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from scripts.pictures import BROWSERS, browser

ROOT = Path(__file__).parents[2]
# Code at the end of a line has up to 8 pixels of padding beyond it.
PROBE = """<script>addEventListener("load", () => setTimeout(() => {
  const cut = [...document.querySelectorAll(
      "article :is(pre, pre code, .md-typeset__scrollwrap, p, li, img)")]
    .filter((each) => each.clientWidth > 0 && each.scrollWidth > each.clientWidth + 8)
    .map((each) => each.textContent.trim().slice(0, 60));
  const seen = document.createElement("pre");
  seen.id = "seen";
  seen.textContent = JSON.stringify(cut);
  document.body.append(seen);
}, 300));</script></body>"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("zensical") is None, reason="zensical is not installed"),
    pytest.mark.skipif(browser() is None, reason=f"none of {', '.join(BROWSERS)} is installed"),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "docs", folder / "docs")
    shutil.copy(ROOT / "zensical.toml", folder)
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "build" / "site"


@pytest.mark.parametrize("page", sorted(path.stem for path in (ROOT / "docs").glob("*.md")))
def test_nothing_is_cut(site, page, tmp_path):
    probed = site / f"probed_{page}.html"
    text = (site / f"{page}.html").read_text(encoding="utf8")
    probed.write_text(text.replace("</body>", PROBE), encoding="utf8")
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--window-size=1280,900")
    done = subprocess.run(
        [
            *(browser(), *options, "--virtual-time-budget=5000", "--dump-dom"),
            *(f"--user-data-dir={tmp_path}", probed.as_uri()),
        ],
        capture_output=True,
        encoding="utf8",
        check=True,
    )
    seen = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.DOTALL)
    assert json.loads(html.unescape(seen[1])) == []
