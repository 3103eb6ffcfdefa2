"""Kills at random instants: does a run leave the user's repository as it was, and nothing behind?

Run by hand::

    python -m studies.kill_git_study [--kills 100] [--seed 0] [--command against]

The repository has a stash, staged and changed files, and a worktree whose folder is out of sight.
Each kill is KILL, TERM, INT or HUP, in turn. The study compares every byte of the repository, and
the output of git, before and after it. It ends with 1 if anything differs, or if a process or a
temporary folder is left.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from pytest_energy.measuring.machine_lock import LOCK_VARIABLE

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# The janitor lets workers tear down for 10 s before it kills them.
CLEAN_UP_LIMIT_S = 30.0
LIBRARY = "def work():\n    return sum(range({}))\n"
TESTS = """
import pytest
from library import work

@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("session")

def test_one(energy, folder):
    energy(work)

def test_two(energy, tmp_path):
    energy(work)
"""
PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
OPTIONS = ("--energy", "--energy-meter=estimate", "--energy-max-time=2")
COMMANDS = {
    "plain": (*PYTEST, *OPTIONS),
    "against": (*PYTEST, *OPTIONS, "--energy-tolerance=0.1%", "--energy-against=first"),
    "bisect": (
        *(sys.executable, "-m", "pytest_energy", "bisect", "first", "last", "test_it.py::test_one"),
        *("--meter=estimate", "--max-time=2"),
    ),
}
QUESTIONS = (
    ("fsck", "--full"),
    ("status", "--porcelain"),
    ("stash", "list"),
    ("worktree", "list", "--porcelain"),
    ("for-each-ref",),
    ("reflog",),
)


def git(folder: Path, *arguments: str) -> str:
    """What git prints."""
    identity = ("-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "gc.auto=0")
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout + done.stderr


def make_repository(folder: Path) -> None:
    """A history in which one commit doubles the work, and all that a user may have beside it."""
    folder.mkdir()
    git(folder, "init", "-q", "-b", "trunk")
    (folder / "test_it.py").write_text(TESTS, encoding="utf8")
    (folder / ".gitignore").write_text("__pycache__/\n", encoding="utf8")
    for number in range(6):
        size = 20_000 if number < 4 else 40_000
        (folder / "library.py").write_text(LIBRARY.format(size) + f"# {number}\n", encoding="utf8")
        git(folder, "add", ".")
        git(folder, "commit", "-qm", f"number {number}")
    git(folder, "tag", "first", "HEAD~5")
    git(folder, "tag", "last")
    (folder / "library.py").write_text("stashed\n", encoding="utf8")
    git(folder, "stash")
    git(folder, "worktree", "add", "-q", "--detach", str(folder.parent / "side"))
    (folder.parent / "side" / "staged").write_text("staged", encoding="utf8")
    git(folder.parent / "side", "add", "staged")
    (folder.parent / "side").rename(folder.parent / "unmounted")
    (folder / "notes").write_text("staged", encoding="utf8")
    git(folder, "add", "notes")
    (folder / "notes").write_text("staged and changed", encoding="utf8")
    git(folder, "status")  # git refreshes its index here, and not in the comparison


def snapshot(folder: Path) -> dict[str, str]:
    """Every file of the repository by its hash, and what git prints."""
    said = {" ".join(question): git(folder, *question) for question in QUESTIONS}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            said[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return said


def left_behind(temporary: Path, repository: Path) -> list[str]:
    """The plugin's temporary folders, and processes that work in them or in the repository."""
    folders = [str(path) for path in temporary.glob("pytest-energy-*")]
    return folders + processes_in(temporary, repository)


def processes_in(temporary: Path, repository: Path) -> list[str]:
    """Processes that work in the repository or in a temporary folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = os.fsdecode((process / "cmdline").read_bytes().replace(b"\0", b" "))
            folder = os.readlink(process / "cwd")
        except OSError:
            continue  # it ended meanwhile
        if str(temporary) in command + folder or folder.startswith(str(repository)):
            found.append(f"process {process.name}: {command[:60]}")
    return found


def start(command: str, scratch: Path) -> subprocess.Popen[bytes]:
    """The command, as a terminal starts it."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path.cwd()),
        "PYTHONDONTWRITEBYTECODE": "1",
        "TMPDIR": str(scratch / "tmp"),
        # A lock of its own: it measures nothing that another run could disturb.
        LOCK_VARIABLE: str(scratch / "lock"),
    }
    return subprocess.Popen(
        COMMANDS[command],
        cwd=scratch / "repository",
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def kill_once(command: str, scratch: Path, after_s: float, how: signal.Signals) -> list[str]:
    """Start, kill after some seconds, and say what is not as it was."""
    before = snapshot(scratch / "repository")
    process = start(command, scratch)
    time.sleep(after_s)
    process.send_signal(how)
    process.wait(120)
    until_s = time.monotonic() + CLEAN_UP_LIMIT_S
    while left := left_behind(scratch / "tmp", scratch / "repository"):
        if time.monotonic() > until_s:
            break
        time.sleep(0.05)
    after = snapshot(scratch / "repository")
    changed = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return [f"changed: {name}" for name in changed] + [f"left: {name}" for name in left]


def obey_signals() -> None:
    """Let what this process starts obey the signals.

    A shell's background job ignores INT, and one that nohup starts HUP, and so would its children.
    """
    for how in SIGNALS[1:]:
        signal.signal(how, signal.default_int_handler if how == signal.SIGINT else signal.SIG_DFL)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100, help="of each command")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--signals", nargs="+", choices=[how.name for how in SIGNALS], metavar="SIG"
    )
    parser.add_argument("--command", choices=COMMANDS, help="only this one")
    asked = parser.parse_args()
    obey_signals()
    instants = random.Random(asked.seed)
    signals = [signal.Signals[name] for name in asked.signals or [how.name for how in SIGNALS]]
    faults = 0
    print("| command | kills | over seconds | KILL, TERM, INT, HUP | with a difference |")
    print("|---|---|---|---|---|", flush=True)
    for command in [asked.command] if asked.command else COMMANDS:
        with tempfile.TemporaryDirectory() as folder:
            scratch = Path(folder).resolve()
            make_repository(scratch / "repository")
            (scratch / "tmp").mkdir()
            began_s = time.perf_counter()
            start(command, scratch).wait(600)
            whole_s = time.perf_counter() - began_s
            bad, used = 0, Counter[str]()
            for number in range(asked.kills):
                how = signals[number % len(signals)]
                after_s = instants.uniform(0, whole_s)
                differences = kill_once(command, scratch, after_s, how)
                used[how.name] += 1
                print(f"{command}: {number + 1} kills, {bad} bad", file=sys.stderr, flush=True)
                if differences:
                    bad += 1
                    print(f"{command}, {how.name} after {after_s:.2f} s:", *differences, sep="\n  ")
        times = ", ".join(str(used[how.name]) for how in SIGNALS)
        print(f"| {command} | {asked.kills} | {whole_s:.1f} | {times} | {bad} |", flush=True)
        faults += bad
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
