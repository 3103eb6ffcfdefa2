"""How often ``--energy-against`` errs: a torch model, an unchanged commit, and 5 % more work.

    python -m studies.against_study [--runs 20] [--max-time 5]

Prints a table of verdicts on time, with the time each run took. Needs torch and git.
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

# 20 layers against 21: 5 % more of the same work.
MODEL = """
import torch

LAYERS = {layers}

class Block(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = torch.nn.LayerNorm(width)
        self.up = torch.nn.Linear(width, 4 * width)
        self.down = torch.nn.Linear(4 * width, width)

    def forward(self, x):
        return x + self.down(torch.nn.functional.gelu(self.up(self.norm(x))))

def make(width=64):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return torch.nn.Sequential(*(Block(width) for _ in range(LAYERS))).eval()
"""
TEST = """
import pytest
import torch
from model import make

@pytest.fixture(scope="module")
def model():
    return make()

def test_model(energy, model):
    x = torch.zeros(32, 64)
    with torch.inference_mode():
        energy(model, x)
"""
CHANGES = {"unchanged": 20, "+5 % of work": 21}


def make_repo(folder: Path) -> None:
    (folder / "model.py").write_text(MODEL.format(layers=20))
    (folder / "test_model.py").write_text(TEST)
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "baseline")


def verdict_of_run(folder: Path, max_time_s: float) -> tuple[str, float, int]:
    """The verdict on time, the ratio, and how many blocks it took."""
    saved = folder.parent / "run.json"
    saved.unlink(missing_ok=True)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "--energy",
            "--energy-against",
            "HEAD",
            f"--energy-max-time={max_time_s}",
            f"--benchmark-json={saved}",
            "-p",
            "no:cacheprovider",
        ],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 1) or not saved.exists():
        raise SystemExit(done.stdout + done.stderr)
    ours = json.loads(saved.read_text())["benchmarks"][0]["energy"]
    (verdict,) = [v["verdict"] for v in ours["verdicts"] if v["metric"] == "speedup"]
    return verdict, ours["versus"]["speedup"]["value"], len(ours["versus"]["blocks"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--max-time", type=float, default=5.0, dest="max_time_s")
    options = parser.parse_args()
    seen: dict[str, list] = {change: [] for change in CHANGES}
    with tempfile.TemporaryDirectory() as folder:
        repo = Path(folder) / "repo"
        repo.mkdir()
        make_repo(repo)
        for _ in range(options.runs):
            for change, layers in CHANGES.items():  # in turns: the machine drifts
                (repo / "model.py").write_text(MODEL.format(layers=layers))
                began = time.perf_counter()
                seen[change].append(
                    (*verdict_of_run(repo, options.max_time_s), time.perf_counter() - began)
                )
    print(
        f"{'change':14} {'runs':>4} {'regressed':>9} {'unchanged':>9} {'improved':>8} "
        f"{'inconclusive':>12} "
        f"{'median speedup':>14} {'blocks':>6} {'median s a run':>14}"
    )
    for change, rows in seen.items():
        counts = Counter(verdict for verdict, *_ in rows)
        print(
            f"{change:14} {len(rows):4} {counts['regressed']:9} {counts['unchanged']:9} "
            f"{counts['improved']:8} "
            f"{counts['inconclusive']:12} {statistics.median(r[1] for r in rows):14.4f} "
            f"{statistics.median(r[2] for r in rows):6.0f} "
            f"{statistics.median(r[3] for r in rows):14.1f}"
        )


if __name__ == "__main__":
    main()
