"""Generated files that state a version, copied into a checkout.

setuptools-scm, hatch-vcs and their like write a ``_version.py`` that git ignores, and the package
imports it. A checkout has no such file, so without a copy no test of such a package could be
compared. A file with any other content is left out: it may make the code faster or slower.
"""

from __future__ import annotations

import ast
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from pytest_energy.commits.git import git_bytes

LARGEST_BYTES = 64 * 1024
# The words of the names in such files: __version_tuple__, COMMIT_ID, last_release.
STATING = frozenset({"version", "revision", "commit", "release"})
WORDS = STATING | frozenset((
    "all", "branch", "build", "date", "describe", "dirty", "distance", "full", "git", "hash", "id",
    "info", "last", "long", "major", "micro", "minor", "node", "patch", "rev", "scm", "sha",
    "short", "str", "string", "tag", "timestamp", "tuple", "type", "checking", "vcs",
))  # fmt: skip
VALUES = (
    *(ast.Constant, ast.Tuple, ast.List, ast.Dict, ast.Name, ast.Attribute, ast.Subscript),
    *(ast.BinOp, ast.UnaryOp, ast.JoinedStr, ast.FormattedValue),
    *(ast.operator, ast.unaryop, ast.expr_context),
)
TYPE_MODULES = ("__future__", "typing", "typing_extensions")


def version_files(repo: Path) -> tuple[str, ...]:
    """The Python files in the user's tree that git ignores and that state a version only."""
    listed = git_bytes(
        repo,
        *("ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--directory"),
        problem="git lists no ignored files",
    )
    paths = [os.fsdecode(path) for path in listed.split(b"\0") if path.endswith(b".py")]
    return tuple(sorted(path for path in paths if _states_a_version(repo / path)))


def copy_missing(paths: Sequence[str], repo: Path, checkout: Path) -> tuple[str, ...]:
    """Copy these files to the same places in a checkout that has their folders, and not them.

    Returns the paths that were copied.
    """
    copied = []
    for path in paths:
        target = checkout / path
        inside = target.parent.resolve() == checkout.resolve() / Path(path).parent
        if inside and target.parent.is_dir() and not os.path.lexists(target):
            shutil.copyfile(repo / path, target)
            copied.append(path)
    return tuple(copied)


def _states_a_version(file: Path) -> bool:
    try:
        if file.is_symlink() or not file.is_file() or file.stat().st_size > LARGEST_BYTES:
            return False
        tree = ast.parse(file.read_bytes())
    except (OSError, ValueError, SyntaxError, RecursionError):
        return False
    names = list(_assigned(tree.body))
    return None not in names and any(STATING & _words(name) for name in names if name)


def _assigned(statements: Sequence[ast.stmt]) -> Iterator[str | None]:
    """The names that the statements assign; None for any other statement."""
    for statement in statements:
        if isinstance(statement, ast.ImportFrom):
            if statement.module not in TYPE_MODULES:
                yield None
        elif isinstance(statement, ast.If) and isinstance(statement.test, (ast.Name, ast.UnaryOp)):
            yield from _assigned([*statement.body, *statement.orelse])
        elif isinstance(statement, ast.Assign) and _is_plain(statement.value):
            yield from map(_name, statement.targets)
        elif isinstance(statement, ast.AnnAssign):
            plain = statement.value is None or _is_plain(statement.value)
            yield _name(statement.target) if plain else None
        elif not isinstance(statement, ast.Pass) and not (
            isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        ):
            yield None


def _name(target: ast.expr) -> str | None:
    return target.id if isinstance(target, ast.Name) and _words(target.id) <= WORDS else None


def _words(name: str) -> frozenset[str]:
    return frozenset(name.lower().strip("_").split("_"))


def _is_plain(value: ast.expr) -> bool:
    return all(isinstance(node, VALUES) for node in ast.walk(value))
