"""A commit's files in a folder of their own, with nothing written to the user's repository.

The folder is a small repository that borrows the user's objects. ``git worktree`` would share the
user's refs and stash with the code under test, and leave an entry in the user's repository.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pytest_energy.commits.git import git, git_bytes, git_folder, printable, resolve
from pytest_energy.errors import OptionError

SUBMODULE_MODE = b"160000"
SHA256_DIGITS = 64


@dataclass(frozen=True)
class Checkout:
    """A commit's files."""

    path: Path
    commit: str
    """The full hash."""
    repo: Path
    """The top of the user's tree."""


def check_out(repo: Path, revision: str, path: Path) -> Checkout:
    """Write the files of ``revision`` and of its submodules to the new folder ``path``.

    Raises `OptionError` if git knows no such commit, or lacks a submodule's commit.
    """
    commit = resolve(repo, revision)
    source = git_folder(repo)
    _write_files(source, commit, path)
    _check_out_submodules(repo, source, commit, path)
    return Checkout(path, commit, repo)


def _write_files(source: Path, commit: str, path: Path) -> None:
    """Make ``path`` a repository that stands at ``commit`` of the git folder ``source``."""
    problem = f"{commit[:12]} cannot be checked out"
    path.mkdir(parents=True, exist_ok=True)
    format_ = ["--object-format=sha256"] if len(commit) == SHA256_DIGITS else []
    git(path, "init", "--quiet", "--template=", *format_, problem=problem)
    _borrow_objects(source, path / ".git", problem)
    # The user's git folder has the filters and line endings; index and files are the new ones.
    git_bytes(
        path,
        f"--git-dir={source}",
        f"--work-tree={path}",
        "read-tree",
        "--reset",
        "-u",
        commit,
        problem=problem,
        variables={"GIT_INDEX_FILE": str(path / ".git" / "index")},
    )
    (path / ".git" / "HEAD").write_text(commit + "\n", encoding="ascii")


def _borrow_objects(source: Path, git_dir: Path, problem: str) -> None:
    """Let ``git_dir`` read the objects, the tags and the shallow boundary of ``source``."""

    def inside(name: str) -> Path:
        given = git(source, *_only(source), "rev-parse", "--git-path", name, problem=problem)
        return source / given

    quoted = bytes(inside("objects").resolve())
    for plain, escaped in ((b"\\", b"\\\\"), (b'"', b'\\"'), (b"\n", b"\\n")):
        quoted = quoted.replace(plain, escaped)
    (git_dir / "objects" / "info").mkdir(exist_ok=True)
    (git_dir / "objects" / "info" / "alternates").write_bytes(b'"' + quoted + b'"\n')
    if inside("shallow").exists():
        (git_dir / "shallow").write_bytes(inside("shallow").read_bytes())
    # Packages that derive their version from `git describe` need the tags.
    tags = git_bytes(
        source,
        *_only(source),
        "for-each-ref",
        "--format=%(objectname) %(refname)",
        "refs/tags",
        problem=problem,
    )
    (git_dir / "packed-refs").write_bytes(tags)


def _only(source: Path) -> tuple[str, str]:
    """Options that point git at a git folder, even if its own work tree is gone."""
    return f"--git-dir={source}", f"--work-tree={source}"


def _check_out_submodules(tree: Path, source: Path, commit: str, path: Path) -> None:
    """Fill the submodules in ``path`` from the user's own copies of them.

    ``tree`` and ``source`` are the user's tree and its git folder.
    """
    if not (path / ".gitmodules").is_file():
        return
    names = _submodule_names(path)
    for submodule_commit, place in _submodules(path, commit):
        copy = _users_copy(tree, source, place, names.get(place))
        target = path / place
        if copy is None or target.resolve() != path.resolve() / place:
            continue
        git(
            copy,
            *_only(copy),
            *("cat-file", "-e", submodule_commit + "^{commit}"),
            problem=f"submodule {printable(place)} of {commit[:12]}: its commit "
            f"{submodule_commit[:12]} is not on this machine; fetch it in your submodule",
        )
        _write_files(copy, submodule_commit, target)
        _check_out_submodules(tree / place, copy, submodule_commit, target)


def _submodules(path: Path, commit: str) -> list[tuple[str, str]]:
    """(commit, path) of each submodule of a commit."""
    listed = git_bytes(path, "ls-tree", "-r", "-z", "--full-tree", commit, problem="no files")
    found = []
    for entry in listed.split(b"\0"):
        head, _, name = entry.partition(b"\t")
        if head.startswith(SUBMODULE_MODE):
            found.append((head.split()[2].decode(), _decoded(name)))
    return found


def _submodule_names(path: Path) -> dict[str, str]:
    """The name of each submodule by its path, as .gitmodules has it."""
    try:
        listed = git_bytes(
            path,
            *("config", "-z", "--file", ".gitmodules"),
            *("--get-regexp", r"^submodule\..*\.path$"),
            problem="no submodule",
        )
    except OptionError:  # a .gitmodules without a path, or one that git cannot parse
        return {}
    names = {}
    for entry in listed.split(b"\0"):
        key, _, place = entry.partition(b"\n")
        names[_decoded(place)] = _decoded(key).removeprefix("submodule.").removesuffix(".path")
    return names


def _users_copy(tree: Path, source: Path, place: str, name: str | None) -> Path | None:
    """The git folder of a submodule; None if the submodule is empty in the user's tree."""
    here = tree / place
    if (here / ".git").exists():
        return git_folder(here)
    if here.exists() or name is None or ".." in PurePosixPath(name).parts:
        return None
    kept = source / "modules" / name  # of a submodule that this tree no longer has
    return kept if (kept / "HEAD").exists() else None


def _decoded(name: bytes) -> str:
    return os.fsdecode(name)
