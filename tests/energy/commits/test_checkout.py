"""A commit's files beside the user's repository, of which nothing changes."""

import hashlib
import os
import subprocess

import pytest

from pytest_energy.commits.checkout import check_out
from pytest_energy.commits.git import find_repo, git_folder, resolve
from pytest_energy.errors import OptionError
from tests.energy.commits.test_against import git

ATTACKS = {
    "hooks": ("core.hooksPath", "hooks"),
    "split index": ("core.splitIndex", "true"),
    "file system monitor": ("core.fsmonitor", ".git/hooks/post-checkout"),
    "untracked cache": ("core.untrackedCache", "true"),
    "maintenance": ("gc.auto", "1"),
    "pruning": ("gc.worktreePruneExpire", "now"),
}


@pytest.fixture
def repo(tmp_path, monkeypatch):
    """Two commits, a stash, staged and changed files, and a worktree that is out of sight."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    folder = tmp_path / "repo"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "trunk")
    for number in (1, 2):
        (folder / "one.py").write_text(f"number = {number}\n")
        git(folder, "add", ".")
        git(folder, "commit", "-qm", str(number))
        git(folder, "tag", f"v{number}")
    (folder / "one.py").write_text("number = 3\n")
    git(folder, "stash")
    git(folder, "worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))
    (tmp_path / "side" / "two.py").write_text("staged")
    git(tmp_path / "side", "add", "two.py")
    (tmp_path / "side").rename(tmp_path / "unmounted")
    (folder / "one.py").write_text("number = 4\n")
    git(folder, "add", "one.py")
    (folder / "one.py").write_text("number = 5\n")
    for hook in ("post-checkout", "post-index-change", "reference-transaction"):
        for place in (folder / ".git" / "hooks", folder / "hooks"):
            place.mkdir(exist_ok=True)
            (place / hook).write_text(f"#!/bin/sh\ntouch {tmp_path / 'ran'}\n")
            (place / hook).chmod(0o755)
    return folder


def everything_in(folder):
    """Each file's path, time of change and content."""
    return {
        path: (path.lstat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("setting", ATTACKS.values(), ids=ATTACKS)
def test_no_byte_of_the_users_repository_changes(repo, tmp_path, setting):
    git(repo, "config", *setting)
    before = everything_in(repo)
    checkout = check_out(find_repo(repo), "v1", tmp_path / "out")
    assert (checkout.path / "one.py").read_text() == "number = 1\n"
    assert everything_in(repo) == before
    assert not (tmp_path / "ran").exists()
    (tmp_path / "unmounted").rename(tmp_path / "side")
    assert git(tmp_path / "side", "status", "--porcelain") == "A  two.py\n"


def test_what_a_test_does_with_git_stays_in_the_checkout(repo, tmp_path):
    before = everything_in(repo)
    checkout = check_out(repo, "v2", tmp_path / "out").path
    assert git(checkout, "status", "--porcelain") == ""
    assert git(checkout, "describe", "--tags").strip() == "v2"
    (checkout / "one.py").write_text("changed by a test")
    git(checkout, "stash")
    git(checkout, "commit", "-q", "--allow-empty", "-m", "by a test")
    git(checkout, "tag", "by-a-test")
    git(checkout, "gc", "-q", "--prune=now")
    assert everything_in(repo) == before


@pytest.mark.parametrize(
    "name", ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_NAMESPACE",
             "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_SHALLOW_FILE"]
)  # fmt: skip
def test_gits_own_variables_do_not_lead_elsewhere(repo, tmp_path, monkeypatch, name):
    monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
    checkout = check_out(find_repo(repo), "v1", tmp_path / "out")
    monkeypatch.delenv(name)
    assert git(checkout.path, "status", "--porcelain") == ""
    assert not (tmp_path / "elsewhere").exists()


def test_a_linked_worktree_and_a_shallow_clone_are_repositories_too(repo, tmp_path):
    git(repo, "worktree", "add", "-q", "--detach", str(tmp_path / "linked"), "v2")
    linked = check_out(find_repo(tmp_path / "linked"), "v1", tmp_path / "of-linked")
    assert (linked.path / "one.py").read_text() == "number = 1\n"
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{repo}", "shallow")
    shallow = check_out(find_repo(tmp_path / "shallow"), "HEAD", tmp_path / "of-shallow")
    assert git(shallow.path, "log", "--format=%s").split() == ["2"]


def test_sha256_repositories_are_checked_out(tmp_path):
    repo = tmp_path / "repo"
    repo.mkdir()
    git(repo, "init", "-q", "--object-format=sha256")
    (repo / "a").write_text("a")
    git(repo, "add", ".")
    git(repo, "commit", "-qm", "a")
    checkout = check_out(repo, "HEAD", tmp_path / "out")
    assert git(checkout.path, "status", "--porcelain") == ""


@pytest.mark.parametrize("name", [b"caf\xe9", b"ends in a space ", b'quo"te\\', b"two\nlines"])
def test_folders_of_any_bytes(tmp_path, name):
    repo = tmp_path / os.fsdecode(name)
    repo.mkdir()
    git(repo, "init", "-q")
    (repo / os.fsdecode(b"\xff.py")).write_text("x = 1")
    git(repo, "add", ".")
    git(repo, "commit", "-qm", "a")
    assert find_repo(repo) == repo
    checkout = check_out(find_repo(repo), "HEAD", tmp_path / os.fsdecode(b"out " + name))
    assert (checkout.path / os.fsdecode(b"\xff.py")).read_text() == "x = 1"
    assert git(checkout.path, "status", "--porcelain") == ""


def add_submodule(repo, library, place):
    git(repo, "-c", "protocol.file.allow=always", "submodule", "-q", "add", str(library), place)
    git(repo, "commit", "-qam", f"add {place}")


@pytest.fixture
def library(tmp_path):
    folder = tmp_path / "library"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "core.py").write_text("core = 1\n")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "core")
    return folder


def test_submodules_come_from_the_users_copies(repo, library, tmp_path):
    """The user's copy serves, also where the place is gone from this tree, and without a remote."""
    outer = tmp_path / "outer"
    subprocess.run(["cp", "-r", library, outer], check=True)
    add_submodule(outer, library, "deep")
    git(repo, "reset", "-q", "--hard")
    add_submodule(repo, outer, "parts/outer")
    git(
        repo, "-c", "protocol.file.allow=always", "submodule", "-q", "update", "--init",
        "--recursive",
    )  # fmt: skip
    subprocess.run(["rm", "-rf", library, outer], check=True)
    with_submodule = git(repo, "rev-parse", "HEAD").strip()
    first = check_out(repo, with_submodule, tmp_path / "first").path
    assert (first / "parts" / "outer" / "deep" / "core.py").read_text() == "core = 1\n"
    git(repo, "rm", "-q", "parts/outer")
    git(repo, "commit", "-qm", "no submodule")
    before = everything_in(repo)
    second = check_out(repo, with_submodule, tmp_path / "second").path
    assert (second / "parts" / "outer" / "core.py").read_text() == "core = 1\n"
    assert everything_in(repo) == before


def test_a_submodule_that_this_tree_has_not_filled_stays_empty(repo, library, tmp_path):
    add_submodule(repo, library, "part")
    git(repo, "submodule", "-q", "deinit", "-f", "part")
    assert not list((check_out(repo, "HEAD", tmp_path / "out").path / "part").iterdir())


def test_a_submodules_commit_that_is_nowhere_is_refused(repo, library, tmp_path):
    add_submodule(repo, library, "part")
    git(repo, "update-index", "--cacheinfo", "160000", "1" * 40, "part")
    git(repo, "commit", "-qm", "a commit that was never fetched")
    with pytest.raises(OptionError, match=r"submodule part of .*: its commit 1{12} is not on"):
        check_out(repo, "HEAD", tmp_path / "out")


def test_the_users_filters_apply(repo, tmp_path):
    git(repo, "config", "filter.shout.smudge", "tr a-z A-Z")
    git(repo, "config", "filter.shout.clean", "tr A-Z a-z")
    (repo / ".gitattributes").write_text("*.txt filter=shout\n")
    (repo / "a.txt").write_text("LOUD")
    git(repo, "add", ".gitattributes", "a.txt")
    git(repo, "commit", "-qm", "filtered")
    assert (check_out(repo, "HEAD", tmp_path / "out").path / "a.txt").read_text() == "LOUD"


def test_a_folder_outside_of_git_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    for find in (find_repo, git_folder):
        with pytest.raises(OptionError, match="is not in a git repository"):
            find(tmp_path)
    with pytest.raises(OptionError, match="git knows no commit"):
        resolve(tmp_path, "HEAD")
