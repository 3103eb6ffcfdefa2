"""Make each call fail that changes a file of a run: ENOSPC, EIO, short writes, kills. Run by hand::

    python -m studies.fault_study [SCENARIO ...] [--every 1]

Each scenario runs once to count its calls, and then once per call and fault (fault_shim.c, which
cc compiles). Then three things are counted, and all of them must be 0:

- lost: finished benchmarks that no readable file has, although the disk recovered;
- tracebacks;
- blocked: the next command, which reads the folder, fails.

Ends with 1 otherwise. Needs Linux, cc and git.
"""

from __future__ import annotations

import argparse
import errno
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pytest_energy.errors import RunError
from pytest_energy.measuring.machine_lock import LOCK_VARIABLE
from pytest_energy.runs.json_format import read_run
from pytest_energy.runs.load import load_runs
from tests.energy.rigs import clock_meter

CALL_TIMEOUT_S = 300
CLEAN_UP_LIMIT_S = 30.0
PLAIN = """
import pytest

@pytest.mark.parametrize("number", range(3))
def test_it(energy, number):
    energy(sum, range(10))
"""
VERSUS = """
import pytest

@pytest.mark.parametrize("number", range(2))
def test_it(energy, number):
    energy.versus(lambda: sum(range(100)), lambda: sum(range(100)))
"""
BISECT = """
import time

def test_it(energy):
    energy(time.sleep, {seconds})
"""
# A test is finished when pytest reports it. This file is not in the folder that faults hit.
CONFTEST = """
import os

def pytest_runtest_logreport(report):
    if report.when == "teardown" and "FINISHED" in os.environ:
        with open(os.environ["FINISHED"], "a") as file:
            file.write(report.nodeid + "\\n")
"""
PYTEST = (
    *(sys.executable, "-m", "pytest", "-q", "-p", "no:hypothesispytest", "-p", "no:cacheprovider"),
    *("--energy", "--energy-meter=clock"),
)


@dataclass(frozen=True)
class Scenario:
    """A command, its tests, and the folder whose calls fail."""

    command: tuple[str, ...]
    tests: str = PLAIN
    folder: str = "project/.benchmarks"
    commits: int = 0
    saves: bool = True


QUICK = "--energy-max-time=0.2"
SCENARIOS = {
    "plain": Scenario((*PYTEST, QUICK, "--benchmark-json=out/run.json"), folder="project/"),
    "autosave": Scenario((*PYTEST, QUICK, "--benchmark-autosave")),
    "versus": Scenario((*PYTEST, QUICK, "--benchmark-autosave"), VERSUS),
    "against": Scenario(
        (*PYTEST, QUICK, "--benchmark-autosave", "--energy-against=HEAD~1"), commits=2
    ),
    "bisect": Scenario(
        (
            *(sys.executable, "-m", "pytest_energy", "bisect", "HEAD~2", "HEAD"),
            *("--meter=clock", "--max-time=0.3"),
        ),
        BISECT,
        folder="",
        commits=3,
        saves=False,
    ),
}


@dataclass(frozen=True)
class Fault:
    """How one call fails, and whether all later ones do."""

    kind: str
    error: int = 0
    forever: bool = False

    def environment(self, at: int) -> dict[str, str]:
        """For the shim."""
        forever = {"FAULT_FOREVER": "1"} if self.forever else {}
        return {
            "FAULT_KIND": self.kind,
            "FAULT_ERRNO": str(self.error),
            "FAULT_AT": str(at),
            **forever,
        }

    def __str__(self) -> str:
        name = errno.errorcode[self.error] if self.error else self.kind
        return f"{name} from then on" if self.forever else name


FAULTS = (
    *(Fault("error", errno.ENOSPC), Fault("error", errno.ENOSPC, forever=True)),
    *(Fault("error", errno.EIO), Fault("error", errno.EIO, forever=True)),
    *(Fault("short"), Fault("kill")),
)


class Sandbox:
    """A project with a saved run, in a folder of its own."""

    def __init__(self, base: Path, scenario: Scenario, shim: Path):
        self.base, self.scenario = base, scenario
        self.project = base / "project"
        self.log, self.finished = base / "calls.log", base / "finished"
        (self.project / "out").mkdir(parents=True)
        (base / "tmp").mkdir()
        self._install_meter(base / "meter")
        (self.project / "conftest.py").write_text(CONFTEST, encoding="utf8")
        self._commit_tests()
        self.environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(base / "meter"), str(Path.cwd())]),
            "PYTHONDONTWRITEBYTECODE": "1",
            LOCK_VARIABLE: str(base / "lock"),
            "TMPDIR": str(base / "tmp"),
            "LD_PRELOAD": str(shim),
            "FAULT_LOG": str(self.log),
            "FINISHED": str(self.finished),
        }

    def run(self, **faults: str) -> subprocess.CompletedProcess[str]:
        """The scenario's command, with faults."""
        environment = {**self.environment, **faults}
        environment["FAULT_FOLDER"] = f"{self.base}/{self.scenario.folder}"
        return subprocess.run(
            self.scenario.command,
            cwd=self.project,
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=CALL_TIMEOUT_S,
            check=False,
        )

    def calls(self) -> list[str]:
        """The calls of the last run, by name."""
        lines = self.log.read_text(encoding="utf8").splitlines() if self.log.exists() else []
        return [line.split()[0] for line in lines]

    def lost(self) -> set[str]:
        """Finished benchmarks that no file has."""
        finished = (
            self.finished.read_text(encoding="utf8").split() if self.finished.exists() else []
        )
        readable: set[str] = set()
        for path in [*self.project.glob("**/*.json"), *self.project.glob("**/*.jsonl")]:
            try:
                readable |= {result.name for result in read_run(path).results}
            except RunError:
                continue
        return set(finished) - readable

    def blocked(self) -> str:
        """Why the folder of saved runs cannot be read, or ""."""
        folder = self.project / ".benchmarks"
        try:
            if list(folder.glob("**/*.json")):
                load_runs(folder)
        except RunError as error:
            return str(error)
        return ""

    def _install_meter(self, folder: Path) -> None:
        installed = folder / "clock_meter-1.0.dist-info"
        installed.mkdir(parents=True)
        shutil.copy(clock_meter.__file__, folder / "clock_meter.py")
        (installed / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: clock-meter\nVersion: 1.0\n", encoding="utf8"
        )
        (installed / "entry_points.txt").write_text(clock_meter.ENTRY_POINT, encoding="utf8")

    def _commit_tests(self) -> None:
        tests = self.project / "test_it.py"
        tests.write_text(self.scenario.tests.replace("{seconds}", "0.001"), encoding="utf8")
        if not self.scenario.commits:
            return
        git = (
            "git",
            "-C",
            str(self.project),
            "-c",
            "user.name=n",
            "-c",
            "user.email=e@example.org",
        )
        subprocess.run([*git, "init", "-q"], check=True)
        for number in range(self.scenario.commits):
            slower = "0.002" if number == self.scenario.commits - 1 else "0.001"
            tests.write_text(
                self.scenario.tests.replace("{seconds}", slower) + f"# {number}\n", encoding="utf8"
            )
            subprocess.run([*git, "add", "-A"], check=True)
            subprocess.run([*git, "commit", "-qm", f"{number}"], check=True)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A temporary folder. After a kill, the janitor may still delete files in it."""
    folder = Path(tempfile.mkdtemp())
    try:
        yield folder
    finally:
        ends_s = time.monotonic() + CLEAN_UP_LIMIT_S
        while folder.exists() and time.monotonic() < ends_s:
            shutil.rmtree(folder, ignore_errors=True)
            time.sleep(0.05 if folder.exists() else 0)


def points(calls: list[str], every: int) -> Iterator[tuple[int, Fault]]:
    """Each call with each fault that can hit it."""
    for at, name in enumerate(calls, start=1):
        if at % every:
            continue
        for fault in FAULTS:
            if fault.kind != "short" or name == "write":
                yield at, fault


def study(name: str, scenario: Scenario, shim: Path, every: int) -> Counter[str]:
    """All points of one scenario; prints each that is not clean."""
    with scratch_folder() as folder:
        box = Sandbox(folder, scenario, shim)
        box.run()
        calls = box.calls()
    print(f"{name}: {len(calls)} calls", file=sys.stderr, flush=True)
    seen: Counter[str] = Counter()
    for at, fault in points(calls, every):
        with scratch_folder() as folder:
            box = Sandbox(folder, scenario, shim)
            done = box.run(**fault.environment(at))
            output = done.stdout + done.stderr
            traceback = "Traceback (most recent call last)" in output or "INTERNALERROR" in output
            lost = box.lost() if scenario.saves and not fault.forever else set()
            blocked = box.blocked()
        seen["points"] += 1
        seen["lost"] += len(lost)
        seen["tracebacks"] += traceback
        seen["blocked"] += bool(blocked)
        if fault.kind != "kill":
            seen[f"exit {done.returncode}"] += 1
        if lost or traceback or blocked:
            print(
                f"{name}: {fault} at call {at} ({calls[at - 1]}): lost {sorted(lost)}, "
                f"{blocked}\n{output[-1500:] if traceback else ''}",
                file=sys.stderr,
                flush=True,
            )
    return seen


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=", ".join(SCENARIOS))
    parser.add_argument("--every", type=int, default=1, help="Only each so many calls.")
    arguments = parser.parse_args()
    if unknown := set(arguments.scenarios) - set(SCENARIOS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(SCENARIOS)}")
    total: Counter[str] = Counter()
    print(
        "| scenario | points | lost | tracebacks | blocked | exit codes |\n"
        "|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as folder:
        shim = Path(folder) / "fault_shim.so"
        source = Path(__file__).with_name("fault_shim.c")
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", shim, source, "-ldl"], check=True)
        for name in arguments.scenarios or SCENARIOS:
            seen = study(name, SCENARIOS[name], shim, arguments.every)
            total += seen
            codes = ", ".join(
                f"{n}x {key[5:]}" for key, n in sorted(seen.items()) if key[:4] == "exit"
            )
            counts = " | ".join(
                str(seen[key]) for key in ("points", "lost", "tracebacks", "blocked")
            )
            print(f"| {name} | {counts} | {codes} |", flush=True)
    counts = " | ".join(str(total[key]) for key in ("points", "lost", "tracebacks", "blocked"))
    print(f"| all | {counts} | |")
    return int(bool(total["lost"] or total["tracebacks"] or total["blocked"]))


if __name__ == "__main__":
    sys.exit(main())
