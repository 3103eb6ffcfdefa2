"""How often ``--energy-against`` calls an edit a regression that only moves memory.

Run by hand, alone on a machine::

    python -m studies.layout_study [--runs 20] [--max-time 5] [--only numpy]

Three kinds of code (Python's own objects, numpy, torch), and three edits of each that change no
work: an unused array, a longer name, another order of imports. Then 5 % more work. Prints the
verdicts on time and the seconds per run. Needs torch, numpy and git.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from studies.git_repo import git

IMPORTS = "import math\nimport json\n"
CODE = {
    "python": """
WORDS = [f"word{{n}}" for n in range(2000)]

def work():
    counts = {{}}
    for word in WORDS[:{amount}]:
        counts[word[-2:]] = counts.get(word[-2:], 0) + len(word)
    return counts
""",
    "numpy": """
import numpy as np

A = np.linspace(0.0, 1.0, 4096)

def work():
    total = 0.0
    for _ in range({amount} // 50):
        total += float(np.sqrt(A * A + 1.0).sum())
    return total
""",
    "torch": """
import torch

torch.set_num_threads(1)
A = torch.ones(48, 48)

def work():
    x = A
    for _ in range({amount} // 25):
        x = torch.tanh(x @ A)
    return x
""",
}
UNUSED = {
    "python": "UNUSED = [str(n) for n in range(997)]\n",
    "numpy": "import numpy\nUNUSED = numpy.ones(777)\n",
    "torch": "import torch\nUNUSED = torch.ones(777)\n",
}
TEST = "from library import work\n\ndef test_it(energy):\n    energy(work)\n"
BASE_AMOUNT = 1000


def library(kind: str, edit: str) -> str:
    """The code after an edit."""
    amount = 1050 if edit == "5 % more work" else BASE_AMOUNT
    code = CODE[kind].format(amount=amount)
    if edit == "an unused array":
        return IMPORTS + UNUSED[kind] + code
    if edit == "a longer name":
        longer = "work_" + "x" * 200
        return IMPORTS + code.replace("def work", f"def {longer}") + f"\nwork = {longer}\n"
    if edit == "another order of imports":
        return "import decimal\n" + "".join(reversed(IMPORTS.splitlines(keepends=True))) + code
    return IMPORTS + code


EDITS = ("an unused array", "a longer name", "another order of imports", "5 % more work")


def verdict_of_run(folder: Path, max_time_s: float) -> tuple[str, float]:
    """The verdict on time, and the ratio."""
    saved = folder.parent / "run.json"
    saved.unlink(missing_ok=True)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *("--energy", "--energy-meter=estimate", "--energy-against", "HEAD"),
            *(f"--energy-max-time={max_time_s}", f"--benchmark-json={saved}"),
        ],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 1) or not saved.exists():
        raise SystemExit(done.stdout + done.stderr)
    ours = json.loads(saved.read_text(encoding="utf8"))["benchmarks"][0]["energy"]
    (verdict,) = [v["verdict"] for v in ours["verdicts"] if v["metric"] == "speedup"]
    return verdict, ours["versus"]["speedup"]["value"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20, help="of each edit")
    parser.add_argument("--max-time", type=float, default=5.0, dest="max_time_s")
    parser.add_argument("--only", choices=CODE)
    options = parser.parse_args()
    print(
        "| code | edit | verdicts | ratios | seconds per run |\n|---|---|---|---|---|", flush=True
    )
    for kind in [options.only] if options.only else CODE:
        for edit in EDITS:
            verdicts: Counter[str] = Counter()
            ratios, seconds = [], []
            with tempfile.TemporaryDirectory() as folder:
                repo = Path(folder) / "repo"
                repo.mkdir()
                (repo / "library.py").write_text(library(kind, ""), encoding="utf8")
                (repo / "test_it.py").write_text(TEST, encoding="utf8")
                git(repo, "init", "-q")
                git(repo, "add", ".")
                git(repo, "commit", "-q", "-m", "then")
                (repo / "library.py").write_text(library(kind, edit), encoding="utf8")
                for _ in range(options.runs):
                    began_s = time.perf_counter()
                    verdict, ratio = verdict_of_run(repo, options.max_time_s)
                    seconds.append(time.perf_counter() - began_s)
                    verdicts[verdict] += 1
                    ratios.append(ratio)
            words = ", ".join(f"{times} {word}" for word, times in verdicts.most_common())
            spread = f"{statistics.median(ratios):.3f} [{min(ratios):.3f}, {max(ratios):.3f}]"
            slowest = max(seconds)
            print(
                f"| {kind} | {edit} | {words} | {spread} | "
                f"{statistics.median(seconds):.1f}, at most {slowest:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
