"""Git commands that only read the user's repository.

No command here writes to the user's files, index, refs or worktrees (docs/security.md): hooks, the
file system monitor and automatic maintenance are off, and git's own variables are removed.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from pytest_energy.errors import OptionError

# Git sets these for hooks (git rev-parse --local-env-vars): they name another repository or index.
REPOSITORY_VARIABLES = frozenset({
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR", "GIT_CONFIG", "GIT_DIR",
    "GIT_GRAFT_FILE", "GIT_IMPLICIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_INDEX_VERSION",
    "GIT_INTERNAL_SUPER_PREFIX", "GIT_NAMESPACE", "GIT_NO_REPLACE_OBJECTS",
    "GIT_OBJECT_DIRECTORY", "GIT_PREFIX", "GIT_QUARANTINE_PATH", "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE", "GIT_WORK_TREE",
})  # fmt: skip
# These change what git prints or how it reads paths.
OUTPUT_VARIABLES = frozenset({
    "GIT_GLOB_PATHSPECS", "GIT_ICASE_PATHSPECS", "GIT_LITERAL_PATHSPECS", "GIT_NOGLOB_PATHSPECS",
    "GIT_TRACE", "GIT_TRACE2", "GIT_TRACE2_EVENT", "GIT_TRACE2_PERF",
})  # fmt: skip
# Settings that would run the user's programs, or write beside the index that a command names.
CONFIGURATION = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.splitIndex=false",
    "core.untrackedCache=false",
    "index.sparse=false",
    "submodule.recurse=false",
    "gc.auto=0",
    "maintenance.auto=false",
)


def environment() -> dict[str, str]:
    """This process's environment without the variables that point git at another repository."""
    return {key: value for key, value in os.environ.items() if key not in REPOSITORY_VARIABLES}


def git_bytes(
    folder: Path, *arguments: str | Path, problem: str, variables: Mapping[str, str] | None = None
) -> bytes:
    """The bytes that git prints. Raises `OptionError`: ``problem`` and git's own message."""
    settings = [part for setting in CONFIGURATION for part in ("-c", setting)]
    without = {key: value for key, value in environment().items() if key not in OUTPUT_VARIABLES}
    try:
        done = subprocess.run(
            ["git", "-C", folder, *settings, *arguments],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            env=without | {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"} | dict(variables or {}),
            check=False,
        )
    except FileNotFoundError:
        raise OptionError(f"{problem}: git is not installed") from None
    if done.returncode:
        reason = done.stderr.decode("utf8", "backslashreplace").strip()
        raise OptionError(": ".join(filter(None, (problem, reason))))
    return done.stdout


def git(folder: Path, *arguments: str | Path, problem: str) -> str:
    """The text that git prints, without its last newline. Raises `OptionError`."""
    return os.fsdecode(git_bytes(folder, *arguments, problem=problem).removesuffix(b"\n"))


def find_repo(folder: Path) -> Path:
    """The top of the git repository that holds ``folder``. Raises `OptionError`."""
    problem = f"{printable(folder)} is not in a git repository"
    return Path(git(folder, "rev-parse", "--show-toplevel", problem=problem))


def git_folder(folder: Path) -> Path:
    """The folder in which git keeps HEAD and the index of ``folder``. Raises `OptionError`."""
    problem = f"{printable(folder)} is not in a git repository"
    return Path(git(folder, "rev-parse", "--absolute-git-dir", problem=problem))


def resolve(repo: Path, revision: str) -> str:
    """The full hash of a revision. Raises `OptionError` if git knows no such commit."""
    problem = f"git knows no commit {revision!r} here; fetch it, or name a commit that it knows"
    if revision.startswith("-"):
        raise OptionError(problem)
    return git(repo, "rev-parse", "--verify", "--quiet", revision + "^{commit}", problem=problem)


def printable(path: Path | str) -> str:
    """A path as text for any terminal and file, even if its bytes are not UTF-8."""
    return os.fsencode(path).decode("utf8", "backslashreplace")
