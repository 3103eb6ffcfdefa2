"""docs/write-a-meter.md and write-a-variant.md: their files become a package, which is used."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("hatchling", reason="hatchling, which builds the examples, is not installed")

DOCS = Path(__file__).parents[2] / "docs"
NAMED_FILE = re.compile(r"^`([\w.]+)`:\n\n```\w+\n(.*?)```", re.MULTILINE | re.DOTALL)
FAST = ("--energy-max-time", "0.5")


def install(page: str, folder: Path) -> dict[str, str]:
    """Install the package whose files a page shows; return the environment that finds it."""
    package = folder / "package"
    package.mkdir()
    files = dict(NAMED_FILE.findall((DOCS / page).read_text(encoding="utf8")))
    for name, text in files.items():
        (package / name).write_text(text, encoding="utf8")
    # Everything it needs is installed here already: no index is asked.
    pip = (
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    )
    site = folder / "site"
    subprocess.run(
        [*pip, "--disable-pip-version-check", "--target", site, package], check=True, timeout=120
    )
    # Wide, so that no table breaks a line that the test looks for.
    return {
        **os.environ,
        "PYTHONPATH": str(site),
        "COLUMNS": "200",
        "PYTEST_ADDOPTS": "-p no:hypothesispytest",
    }


def run(environment: dict[str, str], folder: Path, *command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        env=environment,
        cwd=folder,
        capture_output=True,
        encoding="utf8",
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_meter_is_found_and_counts(tmp_path):
    environment = install("write-a-meter.md", tmp_path)
    assert "yes fixed: estimated; board-0" in run(environment, tmp_path, "pytest_energy", "doctor")
    (tmp_path / "test_it.py").write_text("def test_it(energy):\n    energy(sum, range(10_000))\n")
    said = run(
        environment,
        tmp_path,
        "pytest",
        "-vv",
        "--energy",
        "--energy-meter",
        "fixed:12",
        *FAST,
        "test_it.py",
    )
    assert "1 passed" in said
    assert re.search(r"power 12\.0+ .*W", said)
    with pytest.raises(AssertionError, match="fixed takes watts, not 'much'"):
        run(environment, tmp_path, "pytest", "--energy", "--energy-meter", "fixed:much")


@pytest.mark.slow
def test_the_variant_is_listed_and_measured(tmp_path):
    pytest.importorskip("torch")
    environment = install("write-a-variant.md", tmp_path)
    environment |= {"TSBENCH_CACHE": str(tmp_path / "cache"), "TSBENCH_OFFLINE": "1"}
    assert re.search(
        r"rounded\s.*weights rounded to 15 levels",
        run(environment, tmp_path, "tsbench", "variants"),
    )
    command = (
        "measure",
        "PLAID",
        "student",
        "--variant",
        "rounded",
        "--batch",
        "1",
        "--max-time",
        "0.3",
    )
    said = run(environment, tmp_path, "tsbench", *command)
    assert re.search(
        r"^ *rounded +[\d.]+ .*\n *batch 1 .* (estimated|measured)", said, re.MULTILINE
    ), said
