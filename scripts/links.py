"""Links of README, of the other pages at the root and of docs/: ``python -m scripts.links``.

zensical checks links and anchors between the pages of docs/ (--strict). This checks the pages at
the root. Links to other sites are listed and not opened: a build needs no network.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")))
LINK = re.compile(r"(?<!`)\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


def links(page: Path) -> list[str]:
    """The targets of a page's links, in order, without those in code."""
    return LINK.findall(CODE.sub("", page.read_text(encoding="utf8")))


def broken() -> list[str]:
    """Our broken links, as PAGE: TARGET."""
    found = []
    for page in PAGES:
        for target in links(page):
            path, _, anchor = target.partition("#")
            if "://" in target:
                continue
            there = (page.parent / path).resolve() if path else page
            if not there.exists() or (anchor and anchor not in anchors(there)):
                found.append(f"{page.relative_to(ROOT)}: {target}")
    return found


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as Markdown's toc makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf8"), re.MULTILINE)
    return {
        re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip())
        for heading in headings
    }


def elsewhere() -> list[str]:
    """Links to other sites, each once."""
    return sorted({target for page in PAGES for target in links(page) if "://" in target})


if __name__ == "__main__":
    print(*(f"not opened: {target}" for target in elsewhere()), sep="\n")
    if trouble := broken():
        sys.exit("broken links:\n" + "\n".join(trouble))
