"""How often ``pytest-energy bisect`` finds one commit of 16 with 8 % more work, planted at random::

python -m studies.bisect_study [--tries 10] [--max-time 5] [--seed 1]
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from studies.git_repo import git

COMMITS = 16
STEPS, STEPS_WORSE = 50_000, 54_000
LIBRARY = "def work():\n    return sum(range({steps}))\n# {number}\n"
TEST = "from library import work\n\ndef test_work(energy):\n    energy(work)\n"


def commit(folder: Path, number: int, steps: int) -> str:
    (folder / "library.py").write_text(LIBRARY.format(steps=steps, number=number))
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", f"number {number}")
    return git(folder, "rev-parse", "HEAD")


def attempt(folder: Path, culprit: int, max_time_s: float) -> tuple[str, int, float]:
    """The outcome of one try, how many commits it named, and its seconds."""
    git(folder, "init", "-q")
    (folder / "test_work.py").write_text(TEST)
    good = commit(folder, -1, STEPS)
    hashes = [
        commit(folder, number, STEPS_WORSE if number >= culprit else STEPS)
        for number in range(COMMITS)
    ]
    began = time.perf_counter()
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest_energy",
            "bisect",
            good,
            hashes[-1],
            f"--max-time={max_time_s}",
        ],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - began
    named = [commit for commit in hashes if commit in done.stdout]
    if not named:
        return f"nothing: {done.stderr.strip()}", 0, seconds
    if hashes[culprit] not in named:
        return "WRONG", len(named), seconds
    return "found" if len(named) == 1 else "range", len(named), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tries", type=int, default=10)
    parser.add_argument("--max-time", type=float, default=5.0, dest="max_time_s")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    dice = random.Random(options.seed)
    rows = []
    for number in range(options.tries):
        culprit = dice.randrange(COMMITS)
        with tempfile.TemporaryDirectory() as folder:
            rows.append(attempt(Path(folder), culprit, options.max_time_s))
        print(
            f"try {number + 1}: planted in commit {culprit + 1}: {rows[-1][0]}, {rows[-1][1]} "
            f"named, {rows[-1][2]:.0f} s",
            flush=True,
        )
    found = sum(row[0] == "found" for row in rows)
    ranges = sum(row[0] == "range" for row in rows)
    wrong = sum(row[0] == "WRONG" for row in rows)
    print(
        f"{found} of {len(rows)} found, {ranges} as a range that holds it, {wrong} wrong; "
        f"median {statistics.median(row[2] for row in rows):.0f} s a try"
    )


if __name__ == "__main__":
    main()
