"""The example of docs/your-model.md beside busy programs: right, or called unstable.

Run by hand::

    python -m studies.unstable_study --runs 10 --busy 2
    python -m studies.unstable_study --runs 10 --busy 2 --threads 1

Each run is `pytest test_mine.py --energy` in a process of its own. The truth is given: the speedup
with one thread, which no pool slows. A green result is `improved`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "your-model.md"
NEAR = 0.20


def example() -> str:
    return next(
        block
        for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf8"), re.DOTALL)
        if "test_small_instead_of_large" in block
    )


def one_run(folder: Path, options: list[str]) -> dict[str, tuple[float, str, str]]:
    """Of each test: its speedup, the verdict, and the reason."""
    saved = folder / "run.json"
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mine.py", "--energy"]
        + [f"--benchmark-json={saved}", *options],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        check=False,
    )
    found = {}
    for entry in json.loads(saved.read_text(encoding="utf8"))["benchmarks"]:
        energy = entry["energy"]
        verdict = next(each for each in energy["verdicts"] if each["metric"] == "speedup")
        value = energy["versus"]["speedup"]["value"]
        found[entry["name"]] = value, verdict["verdict"], verdict["reason"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--busy", type=int, default=2)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--truth", type=float, nargs=2, default=(2.5, 6.8), help="batch 1 and 32")
    given = parser.parse_args()
    options = [] if given.threads is None else [f"--energy-threads={given.threads}"]
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(given.busy)]
    counts: dict[str, Counter[str]] = {}
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            folder.joinpath("test_mine.py").write_text(example(), encoding="utf8")
            for run in range(given.runs):
                for test, truth in zip(one_run(folder, options).items(), given.truth, strict=True):
                    name, (speedup, verdict, reason) = test
                    near = abs(speedup / truth - 1) <= NEAR
                    kind = verdict
                    if verdict == "improved":
                        kind = "green, within 20 %" if near else "GREEN, AND WRONG"
                    elif reason.startswith("unstable"):
                        kind = "unstable"
                    counts.setdefault(name, Counter())[kind] += 1
                    load = os.getloadavg()[0]
                    print(f"{run}: {name}: {speedup:.3g}, {kind} (load {load:.1f})", flush=True)
    finally:
        for program in busy:
            program.kill()
            program.wait()
    for name, kinds in counts.items():
        print(f"{name}: " + ", ".join(f"{count} {kind}" for kind, count in kinds.items()))


if __name__ == "__main__":
    main()
