"""The verdicts of ``--energy-against`` on edits that only move memory, and on a little more work.

Run by hand, alone on a machine (three to four minutes a run; needs torch, numpy and git)::

    python -m studies.layout_study [--runs 20] [--tolerance 3] [--more 5 6]

Three kinds of code (Python's own objects, numpy, torch), each with three edits that change no work:
an unused array, a longer name, another order of imports. Each run compares them with the commit
before, as one suite, and beside them Python and numpy code with so many per cent more work.
Prints the verdicts on time, and how often the 99 % interval holds the truth.
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
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from studies.git_repo import git

IMPORTS = "import math\nimport json\n"
CODE = {
    "python": """
WORDS = [f"word{{n}}" for n in range(2000)]

def work():
    counts = {{}}
    for word in WORDS[:{amount} * 10]:
        counts[word[-2:]] = counts.get(word[-2:], 0) + len(word)
    return counts
""",
    "numpy": """
import numpy as np

A = np.linspace(0.0, 1.0, 4096)

def work():
    total = 0.0
    for _ in range({amount}):
        total += float(np.sqrt(A * A + 1.0).sum())
    return total
""",
    "torch": """
import torch

torch.set_num_threads(1)
A = torch.ones(48, 48)

def work():
    x = A
    for _ in range({amount}):
        x = torch.tanh(x @ A)
    return x
""",
}
UNUSED = {
    "python": "UNUSED = [str(n) for n in range(997)]\n",
    "numpy": "import numpy\nUNUSED = numpy.ones(777)\n",
    "torch": "import torch\nUNUSED = torch.ones(777)\n",
}
BASE_AMOUNT = 100
NO_OP = ("an unused array", "a longer name", "another order of imports")
# Tests of each amount of more work in a run: 20 runs have 100.
MORE_TESTS = {"python": 2, "numpy": 3, "torch": 0}


def edits_of(kind: str, more: Sequence[int]) -> list[str]:
    """The edit of each test of a kind of code."""
    return [
        *NO_OP,
        *(f"{percent} % more work" for percent in more for _ in range(MORE_TESTS[kind])),
    ]


def truth_of(edit: str) -> float:
    """The ratio of times, before over after."""
    return 1.0 if edit in NO_OP else 1 / (1 + int(edit.split()[0]) / 100)


def library(kind: str, edit: str) -> str:
    """The code after an edit; "" is none."""
    amount = BASE_AMOUNT if edit in ("", *NO_OP) else round(BASE_AMOUNT / truth_of(edit))
    code = CODE[kind].format(amount=amount)
    if edit == "an unused array":
        return IMPORTS + UNUSED[kind] + code
    if edit == "a longer name":
        longer = "work_" + "x" * 200
        return IMPORTS + code.replace("def work", f"def {longer}") + f"\nwork = {longer}\n"
    if edit == "another order of imports":
        return "import decimal\n" + "".join(reversed(IMPORTS.splitlines(keepends=True))) + code
    return IMPORTS + code


def make_repo(repo: Path, more: Sequence[int]) -> dict[str, str]:
    """A repository with a commit before the edits, and the edits; returns each test's edit."""
    edits = {}
    for kind in CODE:
        tests = ""
        for number, edit in enumerate(edits_of(kind, more)):
            name = f"{kind}_{number}"
            tests += f"import {name}\n\ndef test_{name}(energy):\n    energy({name}.work)\n\n\n"
            (repo / f"{name}.py").write_text(library(kind, ""), encoding="utf8")
            edits[f"test_{name}"] = edit
        (repo / f"test_{kind}.py").write_text(tests, encoding="utf8")
    git(repo, "init", "-q")
    git(repo, "add", ".")
    git(repo, "commit", "-q", "-m", "then")
    for name, edit in edits.items():
        module = name.removeprefix("test_")
        text = library(module.partition("_")[0], edit)
        (repo / f"{module}.py").write_text(text, encoding="utf8")
    return edits


def run(repo: Path, tolerance: float) -> list[dict]:
    """The saved benchmarks of one run."""
    saved = repo.parent / "run.json"
    saved.unlink(missing_ok=True)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *("--energy", "--energy-meter=estimate", "--energy-against", "HEAD"),
            *(f"--energy-tolerance={tolerance}%", f"--benchmark-json={saved}"),
        ],
        cwd=repo,
        env=os.environ | {"PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 1) or not saved.exists():
        raise SystemExit(done.stdout + done.stderr)
    return json.loads(saved.read_text(encoding="utf8"))["benchmarks"]


def show(seen: dict[tuple[str, str], list[tuple[str, bool, float]]]) -> None:
    print("| code | edit | regressed | unchanged | other | 99 % interval held | median ratio |")
    print("|---|---|---|---|---|---|---|")
    for (kind, edit), rows in seen.items():
        words = [word for word, *_ in rows]
        regressed, unchanged = words.count("regressed"), words.count("unchanged")
        held = sum(holds for _, holds, _ in rows)
        ratio = statistics.median(ratio for *_, ratio in rows)
        print(
            f"| {kind} | {edit} | {regressed} | {unchanged} | {len(rows) - regressed - unchanged} "
            f"| {held} of {len(rows)} | {ratio:.3f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--tolerance", type=float, default=3.0, help="in %%")
    parser.add_argument("--more", type=int, nargs="*", default=[5, 6], help="more work, in %%")
    options = parser.parse_args()
    seen: dict[tuple[str, str], list[tuple[str, bool, float]]] = defaultdict(list)
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        repo = Path(folder) / "repo"
        repo.mkdir()
        edits = make_repo(repo, options.more)
        for number in range(1, options.runs + 1):
            began_s = time.perf_counter()
            for benchmark in run(repo, options.tolerance):
                name, ours = benchmark["name"], benchmark["energy"]
                kind, edit = name.split("_")[1], edits[name]
                (word,) = [v["verdict"] for v in ours["verdicts"] if v["metric"] == "speedup"]
                speedup = ours["versus"]["speedup"]
                holds = speedup["low"] <= truth_of(edit) <= speedup["high"]
                seen[kind, edit].append((word, holds, speedup["value"]))
            seconds.append(time.perf_counter() - began_s)
            print(f"run {number}: {seconds[-1]:.0f} s", file=sys.stderr, flush=True)
            if number % 5 == 0 or number == options.runs:
                show(seen)
    print(f"{len(edits)} tests a run, median {statistics.median(seconds):.0f} s")


if __name__ == "__main__":
    main()
