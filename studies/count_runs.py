"""Counted work through pytest and ``pytest-energy bisect``: the parts of `count_study.py` that run
whole programs."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMMITS = 16
LIBRARY = """
def work():
    total = 0
    for x in range({turns}):
        total = (total * 3 + x) % 79
    return total
# {number}
"""
TEST = "from library import work\n\ndef test_work(energy):\n    energy(work)\n"
TURNS, MORE_TURNS = 3000, 3060
SUITE = """
import pytest

def work(n):
    total = 0
    for x in range(n):
        total = (total * 3 + x) % 79
    return total

@pytest.mark.parametrize("n", range(1000, 6000, 100))
def test_work(energy, n): energy(work, n)
"""


def bisect_study(tries: int) -> None:
    """Plant 2 % more work in one commit of 16, at random, and let bisect --count name it."""
    coin = random.Random(1)
    hits = 0
    for number in range(tries):
        culprit = coin.randrange(COMMITS)
        with tempfile.TemporaryDirectory() as folder:
            commits = _history(Path(folder), culprit)
            began_s = time.monotonic()
            done = _run(
                Path(folder), "-m", "pytest_energy", "bisect", "--count", commits[0], commits[-1]
            )
        last = done.stdout.strip().splitlines()[-1:]
        hit = bool(last) and last[0].startswith(commits[culprit + 1])
        hits += hit
        print(
            f"  {number}: commit {culprit + 1} of {COMMITS}: {'named' if hit else last}, "
            f"{time.monotonic() - began_s:.0f} s {done.stderr[-300:]}",
            flush=True,
        )
    print(f"bisect --count named the commit in {hits} of {tries}")


def _history(folder: Path, culprit: int) -> list[str]:
    """A good commit and 16 more, of which one has more turns."""

    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b")
        done = subprocess.run(
            ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    git("init", "--quiet")
    (folder / "test_it.py").write_text(TEST)
    commits = []
    for number in range(-1, COMMITS):
        turns = MORE_TURNS if number >= culprit else TURNS
        (folder / "library.py").write_text(LIBRARY.format(turns=turns, number=number))
        git("add", "--all")
        git("commit", "--quiet", "--message", f"change {number}")
        commits.append(git("rev-parse", "HEAD"))
    return commits


def cost_study() -> None:
    """Seconds of 50 Python tests without and with --energy-count, and the worker's memory."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "test_it.py").write_text(SUITE)
        pytest = ("-m", "pytest", "-q", "-p", "no:cacheprovider")
        _time("50 tests, plain", Path(folder), *pytest)
        _time("50 tests, --energy-count", Path(folder), *pytest, "--energy-count")


def suite_study() -> None:
    """Seconds and memory of counting the core set of benchmarks/."""
    _time("make bench-count", ROOT, "-m", "pytest", "-q", "benchmarks", "--energy-count")


def _time(what: str, folder: Path, *arguments: str) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began_s = time.monotonic()
    done = _run(folder, *arguments)
    seconds = time.monotonic() - began_s
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(
        f"{what}: {seconds:.1f} s, {cpu_s:.1f} CPU-s, at most {after.ru_maxrss / 2**20:.2f} GiB in "
        f"one process, load {os.getloadavg()[0]:.0f}: {done.stdout.strip().splitlines()[-1]}",
        flush=True,
    )


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments],
        check=False,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
