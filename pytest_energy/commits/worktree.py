"""A commit checked out beside the user's tree, and gone again whatever happens.

The user's files, index and branches are never touched: the commit is checked out in a `git worktree` in a
temporary folder, detached, with the repo's hooks off. A janitor, a process of its own that only waits for
ours to end, takes it away again: on success, failure, Ctrl-C and kill -9 alike, by one path.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pytest_energy.errors import OptionError

# Set by git for hooks, and would turn our commands on another repo or index.
GIT_VARIABLES = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY")
NO_HOOKS = ("-c", "core.hooksPath=/dev/null")

JANITOR = """
import shutil, subprocess, sys
folder, repo = sys.argv[1:3]
sys.stdin.buffer.read()  # until the last process that holds the other end is gone
for command in (["worktree", "remove", "--force", folder + "/tree"], ["worktree", "prune"]):
    subprocess.run(["git", "-C", repo, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
shutil.rmtree(folder, ignore_errors=True)
"""


@dataclass(frozen=True)
class Worktree:
    """A commit's files in a folder of their own."""

    path: Path
    commit: str
    """The full hash."""
    repo: Path
    """The top of the user's tree."""


def find_repo(folder: Path) -> Path:
    """The top of the git repo that holds ``folder``. Raises `OptionError` where there is none."""
    return Path(
        git(folder, "rev-parse", "--show-toplevel", problem=f"{folder} is not in a git repository")
    )


def resolve(repo: Path, revision: str) -> str:
    """The full hash of a revision. Raises `OptionError` where git knows no such commit."""
    problem = f"git knows no commit {revision!r} here; fetch it, or name one that it knows"
    if revision.startswith("-"):
        raise OptionError(problem)
    return git(repo, "rev-parse", "--verify", "--quiet", revision + "^{commit}", problem=problem)


@contextmanager
def checked_out(repo: Path, revision: str) -> Iterator[Worktree]:
    """Check ``revision`` out in a temporary folder for as long as the context lasts."""
    commit = resolve(repo, revision)
    folder = Path(tempfile.mkdtemp(prefix="pytest-energy-")).resolve()
    janitor = subprocess.Popen(
        [sys.executable, "-I", "-c", JANITOR, str(folder), str(repo)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=environment(),
        start_new_session=True,  # Ctrl-C in the terminal is not meant for it
    )
    try:
        git(
            repo, *NO_HOOKS, "worktree", "add", "--quiet", "--detach", str(folder / "tree"), commit,
            problem=f"{commit[:12]} cannot be checked out",
        )  # fmt: skip
        yield Worktree(folder / "tree", commit, repo)
    finally:
        if janitor.stdin is not None:
            janitor.stdin.close()
        janitor.wait()
        shutil.rmtree(folder, ignore_errors=True)


def git(folder: Path, *arguments: str, problem: str) -> str:
    """What git prints. Raises `OptionError` with ``problem`` and git's own words where it fails."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            env=environment(),
            check=False,
        )
    except FileNotFoundError:
        raise OptionError(f"{problem}: git is not installed") from None
    if done.returncode:
        raise OptionError(": ".join(filter(None, (problem, done.stderr.strip()))))
    return done.stdout.strip()


def environment() -> dict[str, str]:
    """Our environment without what git sets for its hooks."""
    return {key: value for key, value in os.environ.items() if key not in GIT_VARIABLES}
