"""Where each side of ``--energy-against`` runs its tests, and with which arguments: what was asked of this tree, asked of another."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_energy.commits.worktree import Worktree
from pytest_energy.errors import OptionError

# Options that must not reach a worker: they would recurse, save, stop or ask.
OPTIONS_WITH_VALUE = (
    "--energy-against", "--energy-against-python", "--energy-compare", "--benchmark-save", "--benchmark-json", "--benchmark-compare",
    "--benchmark-compare-fail", "--benchmark-histogram", "--junitxml", "--junit-xml", "--maxfail", "--pdbcls", "--durations",
    "--energy-markdown", "--energy-report",
)  # fmt: skip
SWITCHES = (
    "--benchmark-autosave",
    "--benchmark-only",
    "-x",
    "--exitfirst",
    "--pdb",
    "--trace",
    "--lf",
    "--ff",
    "--last-failed",
)
OPTIONAL_VALUE = ("--energy-compare", "--benchmark-compare", "--benchmark-histogram")
WORKER_ARGUMENTS = (
    "--energy", "--benchmark-disable", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning",
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Where a side's tests are run, and with what."""

    label: str
    python: str
    folder: Path
    arguments: tuple[str, ...]
    paths: tuple[str, ...]
    """For the front of sys.path."""
    outside: str = ""
    """A folder that no module may come from: the user's tree, for the other commit's worker."""


def place_here(repo: Path, folder: Path, arguments: Sequence[str]) -> Place:
    """The user's own tree, as it is, with what is not committed."""
    return Place(
        "this tree",
        sys.executable,
        folder,
        (*worker_arguments(arguments), *WORKER_ARGUMENTS),
        tuple(_paths(repo, repo)),
    )


def place_there(
    worktree: Worktree, label: str, folder: Path, arguments: Sequence[str], python: str | None
) -> Place:
    """The same folder and arguments in the worktree. Raises `OptionError` where the commit has no such folder."""
    inside = worktree.path / folder.relative_to(worktree.repo)
    if not inside.is_dir():
        raise OptionError(
            f"{label} has no folder {folder.relative_to(worktree.repo)}: run from one that it has"
        )
    moved = [_moved(argument, worktree, folder, inside) for argument in worker_arguments(arguments)]
    return Place(
        label,
        python or sys.executable,
        inside,
        (*(argument for argument in moved if argument is not None), *WORKER_ARGUMENTS),
        tuple(_paths(worktree.repo, worktree.path)),
        str(worktree.repo) if python is None else "",
    )


def worker_arguments(arguments: Sequence[str]) -> list[str]:
    """The command line less the options that must not reach a worker.

    >>> worker_arguments(["tests", "--energy-against", "main", "-k", "x", "--pdb", "--benchmark-json=o.json"])
    ['tests', '-k', 'x']
    """
    kept: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument in SWITCHES or argument.split("=")[0] in OPTIONS_WITH_VALUE:
            if argument in OPTIONS_WITH_VALUE and argument not in OPTIONAL_VALUE:
                next(rest, None)
            continue
        kept.append(argument)
    return kept


def _moved(argument: str, worktree: Worktree, folder: Path, inside: Path) -> str | None:
    """An argument that names a place in the user's tree, as one in the worktree; None where that has no such place."""
    path, separator, test = argument.partition("::")
    if argument.startswith("-") or not (folder / path).exists():
        return argument
    absolute = (folder / path).resolve()
    if not absolute.is_relative_to(worktree.repo):
        return argument
    there = worktree.path / absolute.relative_to(worktree.repo)
    return f"{there}{separator}{test}" if there.exists() else None


def _paths(repo: Path, root: Path) -> list[str]:
    """Our sys.path as far as it lies in the repo, from ``root`` instead; a project's usual two places first."""
    inside = [Path(entry or os.curdir).resolve() for entry in sys.path]
    wanted = [repo / "src", repo, *inside]
    relative = [
        path.relative_to(repo)
        for path in wanted
        if path.is_relative_to(repo) and "site-packages" not in path.parts
    ]
    return list(dict.fromkeys(str(root / path) for path in relative))
