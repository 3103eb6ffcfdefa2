"""Would the tests notice? Mutants of the modules that a verdict depends on, by cosmic-ray::

    python -m studies.mutation_study [MODULE ...] [--jobs 2] [--sample N] [--keep FOLDER]

Each mutant runs only its module's tests, in a copy of the tree: first the quick ones with 20
fixed examples of hypothesis, then, if it survives, all of them with the usual number of examples.
Tests of how long a reading takes are left out: a busy machine would fail them without a reason.

``--keep`` saves the outcomes in a folder. The next run with the same folder resumes there, and
runs the survivors again: after new tests nothing else is needed, since a killed mutant stays
killed.

Operators on `|` are left out: it occurs only in annotations, which are not evaluated. Needs
cosmic-ray (`pip install cosmic-ray`) and fork, so not Windows.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import cosmic_ray.plugins
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import MutationVisitor


@dataclass(frozen=True)
class Suite:
    """A module's tests: files, and words in the names of tests that never run, or run last."""

    files: tuple[str, ...]
    never: tuple[str, ...] = ()
    slow: tuple[str, ...] = ()


SUITES = {
    "stats/order_statistics": Suite(("stats/test_order_statistics.py",)),
    "stats/gps_up": Suite(("stats/test_gps_up.py", "test_gate.py")),
    "gate": Suite(("test_gate.py",)),
    "runs/json_format": Suite(("runs/test_json_format.py",)),
    # These wait for the real clock. The layouts on a driven tree test powercap_zones.py, 8 s.
    "meters/powercap": Suite(
        ("meters/test_powercap.py",), ("microseconds", "layout_is_true"), ("true", "driven")
    ),
}
FEW_EXAMPLES = """
from hypothesis import Phase, settings
# One failing example is enough: shrinking it takes ten seconds.
generate = (Phase.explicit, Phase.generate)
few = dict(max_examples=20, derandomize=True, database=None, deadline=None, phases=generate)
settings.register_profile("few", **few)
settings.load_profile("few")
"""
# Imported by the tests and never changed here.
BEFOREHAND = (
    "pytest",
    "hypothesis.strategies",
    "scipy.stats",
    "scipy.special",
    "jsonschema",
    "rich.console",
    "rich.table",
)
# An endless mutant must differ from a busy machine, which once took 20 s instead of 2.
TIMEOUT_FACTOR, TIMEOUT_LEAST_S = 10, 60


@dataclass(frozen=True)
class Mutant:
    operator: str
    occurrence: int
    code: str = field(repr=False)

    @property
    def key(self) -> str:
        return f"{self.operator} {self.occurrence}"


def mutants_of(source: str) -> Iterator[Mutant]:
    tree = get_ast(source)
    for name in sorted(cosmic_ray.plugins.operator_names()):
        kind = cosmic_ray.plugins.get_operator(name)
        if "BinaryOperator_BitOr_" in name or kind.arguments():
            continue
        places = sum(1 for node in ast_nodes(tree) for _ in kind().mutation_positions(node))
        for occurrence in range(places):
            yield Mutant(name, occurrence, MutationVisitor.mutate_code(source, kind(), occurrence))


class Study:
    """One module's mutants in a tree of their own."""

    def __init__(self, module: str, folder: Path, sample: int | None):
        self.module, self.suite = module, SUITES[module]
        self.source = Path(f"pytest_energy/{module}.py").read_text(encoding="utf8")
        self.mutants = list(mutants_of(self.source))
        self.of_all = len(self.mutants)
        random.Random(0).shuffle(
            self.mutants
        )  # always the same, so that a larger sample holds the smaller
        self.mutants = self.mutants[:sample]
        self.tree = folder / "tree"
        shutil.rmtree(
            self.tree, ignore_errors=True
        )  # anew each time: a run that was killed leaves a mutant in it
        self.tree.mkdir(parents=True)
        for name in ("pytest_energy", "tsbench", "tests", "pyproject.toml"):
            copy = shutil.copytree if Path(name).is_dir() else shutil.copy2
            copy(name, self.tree / name)
        (self.tree / "few_examples.py").write_text(FEW_EXAMPLES, encoding="utf8")
        # By the module's content: its mutants are others once it changes.
        self.outcomes = folder / f"{hashlib.sha256(self.source.encode()).hexdigest()[:12]}.jsonl"

    def row(self) -> str:
        """A row of the table, and the survivors' diffs."""
        for name in BEFOREHAND:
            importlib.import_module(name)
        known = self.known()
        self.go([mutant for mutant in self.mutants if mutant.key not in known], quick=True)
        known = self.known()
        self.go([mutant for mutant in self.mutants if not known[mutant.key]], quick=False)
        known = self.known()
        survivors = [mutant for mutant in self.mutants if not known[mutant.key]]
        number, killed = len(self.mutants), len(self.mutants) - len(survivors)
        of_all = f"{number} of {self.of_all}" if number < self.of_all else f"{number}"
        diffs = (self.diff(mutant) for mutant in survivors)
        return "\n".join(
            [f"| {self.module} | {of_all} | {killed} | {killed / number:.1%} |", *diffs]
        )

    def known(self) -> dict[str, bool]:
        """By mutant, whether it was killed. What was found later counts."""
        if not self.outcomes.exists():
            return {}
        lines = self.outcomes.read_text(encoding="utf8").splitlines()
        return {saved["mutant"]: saved["killed"] for saved in map(json.loads, lines)}

    def go(self, mutants: list[Mutant], quick: bool) -> None:
        if not mutants:
            return
        file = self.tree / f"pytest_energy/{self.module}.py"
        # The sound one first: it has to pass, and leaves its byte code, which no mutant may.
        started_s = time.perf_counter()
        passed, why = self.passes(quick, 600, keep_byte_code=True)
        if not passed:
            raise SystemExit(f"{self.module}: the tests fail without a mutation: {why}")
        timeout_s = max(TIMEOUT_FACTOR * (time.perf_counter() - started_s), TIMEOUT_LEAST_S)
        with open(self.outcomes, "a", encoding="utf8") as outcomes:
            for mutant in mutants:
                file.write_text(mutant.code, encoding="utf8")
                passed, why = self.passes(quick, timeout_s)
                print(
                    json.dumps({"mutant": mutant.key, "killed": not passed, "by": why}),
                    file=outcomes,
                    flush=True,
                )
        file.write_text(self.source, encoding="utf8")

    def passes(
        self, quick: bool, timeout_s: float, keep_byte_code: bool = False
    ) -> tuple[bool, str]:
        """Whether the tests pass in the tree as it stands, and if not, pytest's last word."""
        options = [
            "-x",
            "-q",
            "-n",
            "0",
            "-p",
            "no:cacheprovider",
            "-W",
            "ignore:Module already imported",
        ]
        options += ["-p", "few_examples"] * quick
        left_out = [*self.suite.never, *self.suite.slow * quick]
        options += ["-k", f"not ({' or '.join(left_out)})"] * bool(left_out)
        with tempfile.TemporaryFile("w+", encoding="utf8", errors="replace") as output:
            child = os.fork()
            if child == 0:
                os.setsid()  # so that what the tests start can be ended with them
                os.dup2(output.fileno(), 1)
                os.dup2(output.fileno(), 2)
                os.chdir(self.tree)
                sys.dont_write_bytecode = not keep_byte_code
                os.environ |= {
                    "PYTHONPATH": str(self.tree),
                    "PYTHONDONTWRITEBYTECODE": "" if keep_byte_code else "1",
                }
                sys.path.insert(0, str(self.tree))
                for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
                    del sys.modules[
                        name
                    ]  # this tree's, not the one that the study itself was imported from
                import pytest

                os._exit(
                    int(
                        pytest.main(
                            [*options, *(f"tests/energy/{name}" for name in self.suite.files)]
                        )
                    )
                )
            deadline_s = time.perf_counter() + timeout_s
            while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
                if time.perf_counter() > deadline_s:
                    os.killpg(child, signal.SIGKILL)
                    os.waitpid(child, 0)
                    return False, f"no end after {timeout_s:.0f} s"
                time.sleep(0.01)
            output.seek(0)
            words = [
                line for line in output.read().splitlines() if line.startswith(("FAILED", "ERROR"))
            ]
        return ended[1] == 0, words[-1][:200] if words else ""

    def diff(self, mutant: Mutant) -> str:
        lines = difflib.unified_diff(
            self.source.splitlines(), mutant.code.splitlines(), mutant.key, lineterm="", n=0
        )
        return "\n".join([line for line in lines if not line.startswith("+++")])


def row(module: str, folder: Path, sample: int | None) -> str:
    return Study(module, folder / module, sample).row()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=", ".join(SUITES))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument(
        "--sample",
        type=int,
        metavar="N",
        help="so many of each module's mutants, drawn always the same",
    )
    parser.add_argument(
        "--keep",
        type=Path,
        metavar="FOLDER",
        help="leave the outcomes there; go on with those that are there",
    )
    asked = parser.parse_args()
    if unknown := set(asked.modules) - set(SUITES):
        parser.error(f"unknown module {', '.join(sorted(unknown))}; known: {', '.join(SUITES)}")
    modules = asked.modules or list(SUITES)
    with tempfile.TemporaryDirectory() as temporary, ProcessPoolExecutor(asked.jobs) as pool:
        folder = (asked.keep or Path(temporary)).resolve()
        for text in pool.map(row, modules, [folder] * len(modules), [asked.sample] * len(modules)):
            print(text, flush=True)


if __name__ == "__main__":
    main()
