"""``--energy-against`` over a suite of a public package: 50 real benchmarks of yarl.

Run by hand, alone on a machine (two to four minutes a run; needs git and the package index)::

    python -m studies.suite_study [--runs 20] [--changed 10]

Takes yarl's source and 50 of its own benchmarks of URLs, which are plain Python without its
extension. The other commit is equal; or, with ``--changed``, so many of the benchmarks, spread over
the file, do 5 % more work in this tree: 105 calls for each 100. Prints the verdicts on time of each
run, with its seconds; pytest-benchmark's own rounds take a tenth of a second of each test.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from studies.git_repo import git

PACKAGE, NEEDS = "yarl==1.25.1", ("multidict", "propcache", "idna")
BENCHMARKS = "tests/test_url_benchmarks.py"
TESTS = 50
# The benchmarks name a type of this package, and use nothing else of it.
TYPE_ONLY = {"pytest_codspeed.py": "BenchmarkFixture = object\n"}
CALLS, MORE_CALLS = "range(100)", "range(105)"


def unpack(folder: Path) -> Path:
    """The package's source, downloaded into the folder."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "download", "--no-deps", "--no-binary", ":all:", "-d", str(folder), PACKAGE],
        check=True,
    )
    subprocess.run([*pip, "install", "--target", str(folder / "needs"), *NEEDS], check=True)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


def parts(source: str) -> Iterator[tuple[str, str]]:
    """The parts of a test file: the name of a test, or "", and the text."""
    for part in ast.parse(source).body:
        is_test = isinstance(part, ast.FunctionDef) and part.name.startswith("test_")
        yield part.name if is_test else "", ast.get_source_segment(source, part) or ""


def first_tests(source: str, number: int) -> tuple[str, list[str]]:
    """The test file with its first so many tests that make 100 calls each, and their names."""
    wanted = [name for name, text in parts(source) if name and CALLS in text][:number]
    kept = [text for name, text in parts(source) if not name or name in wanted]
    return "\n\n\n".join(kept) + "\n", wanted


def with_more_work(source: str, changed: set[str]) -> str:
    """The test file with 5 % more calls in each of these tests."""
    edited = (
        text.replace(CALLS, MORE_CALLS) if name in changed else text for name, text in parts(source)
    )
    return "\n\n\n".join(edited) + "\n"


def make_repo(repo: Path, source: Path) -> tuple[str, list[str]]:
    """A repository with the package and its benchmarks; returns the test file and the tests."""
    (repo / "tests").mkdir(parents=True)
    (repo / "yarl").mkdir()
    for file in (source / "yarl").glob("*.py"):
        (repo / "yarl" / file.name).write_bytes(file.read_bytes())
    for name, text in TYPE_ONLY.items():
        (repo / name).write_text(text, encoding="utf8")
    text, names = first_tests((source / BENCHMARKS).read_text(encoding="utf8"), TESTS)
    (repo / BENCHMARKS).write_text(text, encoding="utf8")
    git(repo, "init", "-q")
    git(repo, "add", ".")
    git(repo, "commit", "-q", "-m", "then")
    return text, names


def run(repo: Path, needs: Path) -> tuple[dict[str, str], float]:
    """The verdict on time of each test of one run, and the run's seconds."""
    saved = repo.parent / "run.json"
    saved.unlink(missing_ok=True)
    began_s = time.perf_counter()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", BENCHMARKS),
            *("--energy", "--energy-meter=estimate", "--energy-against", "HEAD"),
            *("--benchmark-max-time=0.1", f"--benchmark-json={saved}"),
        ],
        cwd=repo,
        env=os.environ
        | {
            "PYTHONPATH": os.pathsep.join([os.getcwd(), str(repo), str(needs)]),
            "YARL_NO_EXTENSIONS": "1",
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - began_s
    if done.returncode not in (0, 1) or not saved.exists():
        raise SystemExit(done.stdout + done.stderr)
    verdicts = {}
    for entry in json.loads(saved.read_text(encoding="utf8"))["benchmarks"]:
        of_time = [v for v in entry["energy"]["verdicts"] if v["metric"] == "speedup"]
        verdicts[entry["name"]] = of_time[0]["verdict"] if of_time else "not gated"
    return verdicts, seconds


def show(verdicts: dict[str, str], changed: set[str], seconds: float) -> None:
    def words(names: set[str]) -> str:
        counts = Counter(verdicts.get(name, "missing") for name in names)
        return ", ".join(f"{count} {word}" for word, count in counts.most_common()) or "-"

    print(f"| {words(set(verdicts) - changed)} | {words(changed)} | {seconds:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--changed", type=int, default=0, help="benchmarks with 5 %% more work")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        repo = folder / "repo"
        text, names = make_repo(repo, unpack(folder))
        step = TESTS // options.changed if options.changed else 1
        changed = set(names[::step][: options.changed])
        (repo / BENCHMARKS).write_text(with_more_work(text, changed), encoding="utf8")
        print(f"{TESTS - len(changed)} equal benchmarks, {len(changed)} with 5 % more work")
        print("| equal | more work | seconds |\n|---|---|---|", flush=True)
        took = []
        for _ in range(options.runs):
            verdicts, seconds = run(repo, folder / "needs")
            took.append(seconds)
            show(verdicts, changed, seconds)
        print(f"median {statistics.median(took):.0f} s a run, at most {max(took):.0f} s")


if __name__ == "__main__":
    main()
