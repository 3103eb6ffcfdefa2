"""Kill `tsbench sweep` at random instants, and let the same command resume. Run by hand::

    python -m studies.kill_sweep_study [--kills 100] [--seed 0] [--ray]

A sweep of two trainings, builds and measurements runs in a user's repository
(kill_git_study.py). It is killed with KILL, TERM, INT and HUP in a random order. After each kill
the same command resumes it, and after the last one it runs to its end. Each of these must be 0:

- changed: kills after which a byte of the repository, or git's report on it, differs;
- left: kills after which a process, a temporary folder or the machine's lock is left;
- twice: runs of the command that did a finished task again, or changed its record;
- unfinished: sweeps that did not end with every task done, and nothing else in the folders of the
  results and of the cache.

With `--ray`, the sweep runs on a cluster of this machine, of its own. Ends with 1 where a count is
not 0. Needs Linux and git.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_energy.measuring.machine_lock import LOCK_VARIABLE, machine_lock
from studies.kill_git_study import SIGNALS, make_repository, obey_signals, processes_in, snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

SPEC = """
datasets = ["synthetic:timepoints=32,cases=12"]
configs = ["student"]
seeds = [0, 1]
epochs = 1
variants = ["int8_dynamic"]
batches = [1]
max_time_s = 0.5
meter = "estimate"
"""
TASKS = 6
WHOLE_LIMIT_S = 600.0
# A worker notices its parent's end at once; a busy machine may need seconds to end a process.
CLEAN_UP_LIMIT_S = 10.0
KILL_LIMIT_S = 120.0
FINISHED = re.compile(r"^\d+/\d+ (train|build|measure) .* seed (\d)", re.MULTILINE)
COUNTED = ("changed", "left", "twice", "unfinished")
# Torch's own cache, which it keeps among the temporary files.
TORCHS = "torchinductor_"
RAY_MEMORY = 80 * 2**20


class Sandbox:
    """A user's repository; beside it the spec, the results, the cache and the temporary files."""

    def __init__(self, folder: Path):
        self.repository, self.tmp = folder / "repository", folder / "tmp"
        self.results, self.cache, self.lock = folder / "results", folder / "cache", folder / "lock"
        self._spec = folder / "spec.toml"
        self.ray: str | None = None
        self._spec.write_text(SPEC, encoding="utf8")
        self.tmp.mkdir()
        make_repository(self.repository)

    def start(self, printed: Path) -> subprocess.Popen[bytes]:
        """The command, as a terminal starts it. Its output goes to a file."""
        command = [sys.executable, "-m", "tsbench", "sweep", str(self._spec)]
        command += ["--out", str(self.results), *(["--ray", self.ray] if self.ray else [])]
        environment = {
            **os.environ,
            **self.variables(),
            "PYTHONPATH": str(Path.cwd()),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
        }
        with printed.open("wb") as file:
            return subprocess.Popen(
                command, cwd=self.repository, env=environment, stdout=file, stderr=file
            )

    def variables(self) -> dict[str, str]:
        """For the command and for a cluster's processes."""
        return {
            "TMPDIR": str(self.tmp),
            "TSBENCH_CACHE": str(self.cache),
            LOCK_VARIABLE: str(self.lock),
        }

    def left_behind(self) -> list[str]:
        """Temporary files, and processes of the sweep. A cluster's own processes may stay."""
        temporary = [path for path in self.tmp.iterdir() if not path.name.startswith(TORCHS)]
        left = [f"temporary: {path.name}" for path in temporary]
        return left + processes_in(self.tmp, self.repository)

    def is_locked(self) -> bool:
        """Whether a measurement would have to wait."""
        os.environ[LOCK_VARIABLE] = str(self.lock)
        try:
            with machine_lock(0.5, lambda line: None):
                return False
        except Exception as error:  # noqa: BLE001 - any failure to lock is one
            print(f"lock: {error}", file=sys.stderr)
            return True

    def finished(self) -> dict[str, str]:
        """The task of each record and each model, with the hash of its file."""
        return {
            str(path.relative_to(self.results)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.results.glob("**/*"))
            if path.is_file() and not path.name.startswith(".")
        }

    def tasks(self) -> set[tuple[str, str]]:
        """Kind and seed of each task that has a record."""
        records = [json.loads(path.read_bytes())["task"] for path in self.results.glob("*.json")]
        return {(record["kind"], str(record["seed"])) for record in records}

    def surplus(self) -> list[str]:
        """Files that a sweep without a kill does not have."""
        files = [path for top in (self.results, self.cache) for path in top.glob("**/*")]
        # A half-written file and an interrupted training's state.
        return [str(p) for p in files if p.name.startswith(".") or p.parent.name == "partial"]

    def start_over(self) -> None:
        """Delete results and cache."""
        shutil.rmtree(self.results, ignore_errors=True)
        shutil.rmtree(self.cache, ignore_errors=True)


class Killed:
    """A sweep that is killed several times, and what is not as it must be after each time."""

    def __init__(self, box: Sandbox):
        self.box, self.printed = box, box.repository.parent / "printed"
        self.found: dict[str, list[str]] = {name: [] for name in COUNTED}

    def run(self, after_s: float, how: signal.Signals | None) -> bool:
        """Run the command, kill it unless it ends before, and look. Gives whether it was killed.

        Without a signal the command must end with every task done.
        """
        box = self.box
        before, kept, done = snapshot(box.repository), box.finished(), box.tasks()
        process = box.start(self.printed)
        killed = False
        if how is None:
            process.wait(WHOLE_LIMIT_S)
        else:
            time.sleep(after_s)
            killed = process.poll() is None
            process.send_signal(how)
            process.wait(KILL_LIMIT_S)
        self._look_for_leftovers()
        after, now = snapshot(box.repository), box.finished()
        self.found["changed"] += [
            key for key in {**before, **after} if before.get(key) != after.get(key)
        ]
        text = self.printed.read_text(encoding="utf8", errors="replace")
        again = done & set(FINISHED.findall(text))
        self.found["twice"] += [f"{kind} of seed {seed}" for kind, seed in again]
        records = [name for name in kept if name.endswith(".json")]
        self.found["twice"] += [
            f"changed {name}" for name in records if kept[name] != now.get(name)
        ]
        if how is None:
            if process.returncode or len(box.tasks()) != TASKS:
                self.found["unfinished"].append(f"exit {process.returncode}: {text[-500:]}")
            self.found["unfinished"] += box.surplus()
        return killed

    def _look_for_leftovers(self) -> None:
        until_s = time.monotonic() + CLEAN_UP_LIMIT_S
        while (left := self.box.left_behind()) and time.monotonic() < until_s:
            time.sleep(0.05)
        self.found["left"] += left
        if self.box.is_locked():
            self.found["left"].append("the machine's lock")


@contextmanager
def cluster(box: Sandbox, wanted: bool) -> Iterator[None]:
    """A Ray cluster of this machine for the sandbox's commands, or none."""
    if not wanted:
        yield
        return
    os.environ.update(box.variables(), PYTHONPATH=str(Path.cwd()))
    del os.environ["TMPDIR"]  # Ray's own temporary files are not the sweep's
    from ray.cluster_utils import Cluster

    made = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": RAY_MEMORY}
    )
    box.ray = made.address
    try:
        yield
    finally:
        made.shutdown()


def report(when: str, sweep: Killed, bad: Counter[str]) -> None:
    """Count and print what was found since the last time."""
    for key in COUNTED:
        bad[key] += bool(sweep.found[key])
    if any(sweep.found.values()):
        print(f"{when}: {sweep.found}", file=sys.stderr, flush=True)
    sweep.found = {name: [] for name in COUNTED}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ray", action="store_true", help="on a Ray cluster of this machine")
    asked = parser.parse_args()
    obey_signals()
    dice = random.Random(asked.seed)
    bad, used = Counter[str](), Counter[str]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        box = Sandbox(folder)
        with cluster(box, asked.ray):
            began_s = time.perf_counter()
            if box.start(folder / "printed").wait(WHOLE_LIMIT_S):
                sys.exit(f"the sweep fails: {(folder / 'printed').read_text(errors='replace')}")
            whole_s = time.perf_counter() - began_s
            while used.total() < asked.kills:
                box.start_over()
                sweep = Killed(box)
                for how in dice.sample(SIGNALS, len(SIGNALS)):
                    # The start takes as long as a task.
                    share = (1 + TASKS - len(box.tasks())) / (1 + TASKS)
                    after_s = dice.uniform(0, whole_s * share)
                    used[how.name] += sweep.run(after_s, how)
                    report(f"{how.name} after {after_s:.2f} s", sweep, bad)
                sweep.run(0, None)
                report("to the end", sweep, bad)
                print(f"{used.total()} kills, {dict(bad)}", file=sys.stderr, flush=True)
    times = ", ".join(str(used[how.name]) for how in SIGNALS)
    runs = "sweep on Ray" if asked.ray else "sweep"
    print("| command | kills | over seconds | KILL, TERM, INT, HUP |", " | ".join(COUNTED), "|")
    print("|---|---|---|---|---|---|---|---|")
    counts = " | ".join(str(bad[key]) for key in COUNTED)
    print(f"| {runs} | {used.total()} | {whole_s:.1f} | {times} | {counts} |", flush=True)
    return int(any(bad.values()))


if __name__ == "__main__":
    sys.exit(main())
