"""Would the tests notice? Mutation testing of the modules that a verdict hangs on, by cosmic-ray, in copies of the tree. Run by hand::

    python -m tests.energy.studies.mutation_study [MODULE ...] [--jobs 2]

Each mutant runs the tests of its module alone, so what is killed is killed by them. Left out: `|` and unary minus of annotations
and defaults cannot matter under `from __future__ import annotations`, so the operators on `|` are not applied.
Needs cosmic-ray (`pip install cosmic-ray`).
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TESTS = {
    "stats": "test_stats.py",
    "gpsup": "test_gpsup.py test_gate.py",
    "gate": "test_gate.py",
    "meters/powercap": "test_powercap.py",
    "store": "test_store.py test_keeping.py",
}
CONFIG = """
[cosmic-ray]
module-path = "pytest_energy/{module}.py"
timeout = 120.0
excluded-modules = []
test-command = "{python} -m pytest -x -q -n 0 -p no:cacheprovider {tests}"
[cosmic-ray.distributor]
name = "local"
[cosmic-ray.filters.operators-filter]
exclude-operators = ["core/ReplaceBinaryOperator_BitOr_.*"]
"""


def study(module: str) -> str:
    """A row of the table, and the survivors' diffs."""
    from cosmic_ray.work_db import WorkDB, use_db
    from cosmic_ray.work_item import TestOutcome, WorkerOutcome

    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        tree.mkdir()
        for name in ("pytest_energy", "tsbench", "tests", "pyproject.toml"):
            copy = shutil.copytree if Path(name).is_dir() else shutil.copy
            copy(name, tree / name)
        tests = " ".join(f"tests/energy/{name}" for name in TESTS[module].split())
        (tree / "mutate.toml").write_text(CONFIG.format(module=module, python=sys.executable, tests=tests), encoding="utf8")
        binaries = Path(sys.executable).parent
        for command in (
            [binaries / "cosmic-ray", "baseline", "mutate.toml"],
            [binaries / "cosmic-ray", "init", "mutate.toml", "work.sqlite"],
            [binaries / "cr-filter-operators", "work.sqlite", "mutate.toml"],
            [binaries / "cosmic-ray", "exec", "mutate.toml", "work.sqlite"],
        ):
            done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
            if done.returncode:
                return f"{module}: {command[0].name} {command[1]} ended with {done.returncode}: {done.stderr[-2000:]}"
        killed, survivors = 0, []
        with use_db(tree / "work.sqlite", WorkDB.Mode.open) as work:
            for _, result in work.completed_work_items:
                if result.worker_outcome == WorkerOutcome.SKIPPED:
                    continue
                if result.test_outcome == TestOutcome.SURVIVED:
                    survivors.append(result.diff)
                else:
                    killed += 1
    mutants = killed + len(survivors)
    return "\n".join([f"| {module} | {mutants} | {killed} | {killed / mutants:.1%} |", *survivors])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=", ".join(TESTS))
    parser.add_argument("--jobs", type=int, default=2)
    asked = parser.parse_args()
    if unknown := set(asked.modules) - set(TESTS):
        parser.error(f"unknown module {', '.join(sorted(unknown))}; known: {', '.join(TESTS)}")
    with ThreadPoolExecutor(asked.jobs) as pool:
        for row in pool.map(study, asked.modules or TESTS):
            print(row, flush=True)


if __name__ == "__main__":
    main()
