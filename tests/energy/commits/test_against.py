"""``--energy-against``: two commits of a small repo, live."""

import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from pytest_energy.commits.channel import Channel, ChannelClosed, ChannelTimeout
from pytest_energy.commits.checkout import check_out
from pytest_energy.commits.git import find_repo, resolve
from pytest_energy.errors import OptionError

# A verdict after one second on a busy machine: two processes of the same code can differ by more
# than the default 3 %. The slower code here takes twice as long.
AGAINST = (
    "--energy",
    "--energy-meter=estimate",
    "--energy-max-time=1",
    "--energy-tolerance=30%",
    "--energy-against",
)

LIBRARY = "def work():\n    return sum(range(20_000))\n"
SLOWER = "def work():\n    return sum(range(40_000))\n"
TESTS = """
import pytest
from library import work

def test_fixture(energy):
    energy(work)

def test_benchmark(benchmark):
    benchmark(work)
"""


def git(folder, *arguments):
    identity = ("-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    return subprocess.run(
        ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture
def repo(pytester, monkeypatch):
    """A git repo with one commit, tagged ``then``."""
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:hypothesispytest")
    monkeypatch.setenv("TMPDIR", str(pytester.mkdir("temporary")))
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    folder = pytester.mkdir("repo")
    (folder / "library.py").write_text(LIBRARY)
    (folder / "test_it.py").write_text(TESTS)
    (folder / ".gitignore").write_text("__pycache__/\n.pytest_cache/\n.benchmarks/\n")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "then")
    git(folder, "tag", "then")
    monkeypatch.chdir(folder)
    return folder


def nothing_left(repo):
    """The user's git as it was, and no folder of ours."""
    assert git(repo, "worktree", "list").count("\n") == 1
    assert git(repo, "branch", "--list").split() == ["*", "main"]
    assert not (repo / ".git" / "worktrees").exists() or not list(
        (repo / ".git" / "worktrees").iterdir()
    )
    deadline = time.monotonic() + 10
    while list((repo.parent / "temporary").glob("pytest-energy-*")):
        assert time.monotonic() < deadline, "the worktree is still there"
        time.sleep(0.05)


def run(pytester, *arguments):
    return pytester.runpytest_subprocess(*arguments, timeout=100)


@pytest.mark.slow
def test_slower_code_that_is_not_even_committed_is_found(pytester, repo):
    (repo / "library.py").write_text(SLOWER)
    before = git(repo, "status", "--porcelain")
    # A verdict needs 11 starts, for which a busy machine takes longer.
    result = run(pytester, *AGAINST, "then", "--energy-max-time", "20")
    result.assert_outcomes(failed=2)
    result.stdout.re_match_lines(
        [
            (
                r"energy gate: time \+\d+ % \[.*\], limit \+30 %: speedup regressed "
                r"\(baseline then \([0-9a-f]{12}\), \d+ blocks of \d+ starts.*"
            )
        ]
    )
    assert git(repo, "status", "--porcelain") == before
    nothing_left(repo)


@pytest.mark.slow
def test_the_same_code_is_no_regression(pytester, repo):
    result = run(pytester, *AGAINST, "HEAD")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["compared with HEAD (*): 2 tests are in both"])
    nothing_left(repo)


@pytest.mark.slow
def test_tests_without_a_partner_are_named_and_not_gated(pytester, repo):
    (repo / "test_it.py").write_text(
        TESTS.replace("test_fixture", "test_fixture_too")
        + "\ndef test_quite_other(energy): energy(work)\n"
    )
    result = run(pytester, *AGAINST, "then")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(
        [
            "NOT GATED (2x): new since then *: there is nothing to compare with",
            "NOT GATED: new, and not in then (*): *test_it.py::test_fixture_too",
            "NOT GATED: new, and not in then (*): *test_it.py::test_quite_other",
            "NOT GATED: vanished since then (*): *test_it.py::test_fixture",
            "renamed, perhaps: *::test_fixture is now *::test_fixture_too*",
        ]
    )


@pytest.mark.slow
def test_a_test_file_that_the_commit_does_not_have_is_new(pytester, repo):
    (repo / "test_new.py").write_text(TESTS)
    result = run(pytester, *AGAINST, "then", "test_new.py")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["NOT GATED: new*test_new.py::test_fixture"])


@pytest.mark.slow
def test_a_test_that_fails_at_the_commit_is_not_gated_and_says_why(pytester, repo):
    (repo / "library.py").write_text("def work():\n    raise ValueError('broken then')\n")
    git(repo, "commit", "-qam", "broken")
    (repo / "library.py").write_text(LIBRARY)
    result = run(pytester, *AGAINST, "HEAD", "-k", "fixture")
    result.assert_outcomes(passed=1, deselected=1)
    result.stdout.fnmatch_lines(
        ["NOT GATED (1x): HEAD (*): *test_fixture: ValueError: broken then"]
    )
    nothing_left(repo)


@pytest.mark.slow
def test_code_that_does_not_import_at_the_commit_is_a_usage_error(pytester, repo):
    (repo / "library.py").write_text("import nowhere_to_be_found\n")
    git(repo, "commit", "-qam", "broken")
    (repo / "library.py").write_text(LIBRARY)
    result = run(pytester, *AGAINST, "HEAD")
    assert result.ret == 4
    result.stderr.fnmatch_lines(
        ["ERROR: --energy-against HEAD would gate nothing: HEAD (*): tests cannot be collected: *"]
    )
    nothing_left(repo)


@pytest.mark.slow
def test_code_that_is_not_the_commits_is_a_usage_error(pytester, repo):
    """An installation that points into the user's tree compares the tree with itself."""
    (repo / "elsewhere").mkdir()
    (repo / "elsewhere" / "installed.py").write_text("")
    (repo / "conftest.py").write_text(
        f"import sys\nsys.path.append({str(repo / 'elsewhere')!r})\nimport installed\n"
    )
    git(repo, "add", "conftest.py")
    git(repo, "commit", "-qm", "one")
    result = run(pytester, *AGAINST, "HEAD")
    assert result.ret == 4
    result.stderr.fnmatch_lines(
        ["ERROR: *code came from your own tree instead: installed (*--energy-against-python;*"]
    )
    nothing_left(repo)


@pytest.mark.parametrize("revision", ["nowhere", "--upload-pack=x", "then:library.py"])
def test_a_revision_that_is_none_is_a_usage_error(pytester, repo, revision):
    result = run(pytester, *AGAINST[:-1], f"--energy-against={revision}")
    assert result.ret == 4
    result.stderr.fnmatch_lines(
        [f"ERROR: --energy-against *: git knows no commit {revision!r} here*"]
    )
    nothing_left(repo)


def test_outside_of_git_it_is_a_usage_error(pytester, repo, monkeypatch):
    folder = pytester.mkdir("bare")
    (folder / "test_it.py").write_text("def test_it(energy): energy(int)")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(folder.parent))
    result = run(pytester, *AGAINST, "HEAD")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: *is not in a git repository*"])


def test_without_the_energy_option_it_is_a_usage_error(pytester, repo):
    result = run(pytester, "--energy-against", "HEAD")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: --energy-against requires --energy*"])


def test_hooks_of_the_users_repo_do_not_run(repo, tmp_path):
    hook = repo / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {repo.parent / 'hook-ran'}\n")
    hook.chmod(0o755)
    checkout = check_out(find_repo(repo), "then", tmp_path / "tree")
    assert (checkout.path / "library.py").read_text() == LIBRARY
    assert not (repo.parent / "hook-ran").exists()
    nothing_left(repo)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_the_worktree_goes_away_however_the_run_ends(pytester, repo, how):
    (repo / "test_it.py").write_text("def test_it(energy):\n    energy(sum, range(1000))\n")
    git(repo, "commit", "-qam", "plain")
    # A shell's background job ignores Ctrl-C, and so would what it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "pytest",
            *AGAINST,
            "HEAD",
            "--energy-max-time",
            "60",
            "--energy-tolerance",
            "0.0001",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ},
    )
    deadline = time.monotonic() + 60
    while not list((repo.parent / "temporary").glob("pytest-energy-*/A*/test_it.py")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    time.sleep(2)  # into the measuring
    process.send_signal(how)
    process.wait(60)
    deadline = time.monotonic() + 30
    while git(repo, "worktree", "list").count("\n") > 1 or list(
        (repo.parent / "temporary").glob("pytest-energy-*")
    ):
        assert time.monotonic() < deadline, "the worktree is still there"
        time.sleep(0.1)
    nothing_left(repo)


@pytest.mark.slow
def test_a_worker_that_dies_is_reported_and_the_run_goes_on(pytester, repo):
    (repo / "test_it.py").write_text(
        "import os, sys\nfrom library import work\n"
        "def dies():\n"
        "    if 'pytest_energy.plugin.worker' in sys.modules: os.kill(os.getpid(), 9)\n"
        "def test_dies(energy):\n    energy(dies)\n"
        "def test_lives(energy):\n    energy(work)\n"
    )
    git(repo, "commit", "-qam", "dies")
    result = run(pytester, *AGAINST, "HEAD")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["NOT GATED (1x): *the worker died with status 9*"])


def test_a_tag_and_a_short_hash_resolve_to_the_same_commit(repo):
    assert resolve(repo, "then") == resolve(repo, git(repo, "rev-parse", "--short", "HEAD").strip())
    with pytest.raises(OptionError, match="git knows no commit 'v9'"):
        resolve(repo, "v9")


@pytest.mark.slow
def test_a_side_that_fails_in_a_window_does_not_spoil_the_next_test(pytester, repo):
    """The other side's fork stands at its measurement, and is dismissed all the same."""
    (repo / "test_it.py").write_text(
        "import sys\nfrom library import work\n"
        "LIMIT = 10**9\ncalls = []\n"
        "def fails_late():\n    calls.append(None)\n    work()\n"
        "    in_worker = 'pytest_energy.plugin.worker' in sys.modules\n"
        "    if in_worker and len(calls) > LIMIT: raise ValueError('late')\n"
        "def test_fails(energy):\n    energy(fails_late)\n"
        "def test_next(energy):\n    energy(work)\n"
    )
    git(repo, "commit", "-qam", "then")
    (repo / "test_it.py").write_text((repo / "test_it.py").read_text().replace("10**9", "60"))
    result = run(pytester, *AGAINST, "HEAD")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["NOT GATED (1x): this tree: *test_fails: ValueError: late"])
    result.stdout.re_match_lines([r"[✓?✗] .* % \[.*"])  # test_next was compared


THEN = """
import pytest
from library import work

@pytest.fixture
def prepared():
    pytest.skip("nothing to prepare with yet")

def test_setup(energy, prepared):
    energy(work)

def test_nothing(energy):
    pass

@pytest.mark.gps_up(speedup=1.5)
def test_versus(energy):
    energy.quality("accuracy", 0.9)
    energy.versus(lambda: work() + work(), work)

def test_pedantic(benchmark):
    benchmark.pedantic(work, setup=lambda: ((), {}), rounds=2)
"""
NOW = THEN.replace('pytest.skip("nothing to prepare with yet")', "return 1").replace(
    "    pass\n", "    energy(work)\n"
)


@pytest.mark.slow
def test_all_that_a_test_measures_is_compared_and_the_rest_is_reported(pytester, repo):
    (repo / "test_it.py").write_text(THEN)
    git(repo, "commit", "-qam", "other tests")
    (repo / "test_it.py").write_text(NOW)
    # A verdict needs 11 starts, for which a busy machine takes longer.
    result = run(pytester, *AGAINST, "HEAD", "--energy-tolerance", "90%", "--energy-max-time", "20")
    result.assert_outcomes(passed=4)
    output = result.stdout.str()
    for line in (
        r"setup of test_it\.py::test_setup: Skipped: nothing to prepare with yet",
        r"test_it\.py::test_nothing measured nothing",
        r"--energy-against compares commits; run without it to gate the thresholds of gps_up",
    ):
        assert re.search(rf"NOT GATED \(1x\): .*{line}", output)
    # The test compares work with its double. The commits are compared instead: they are equal.
    assert re.search(r"^4 tests: 2 within 90 %", output, re.MULTILINE)
    nothing_left(repo)


def test_a_process_that_does_not_answer_in_time_raises():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel = Channel(ours)
        with pytest.raises(ChannelTimeout, match="did not answer within 0.01 s"):
            channel.receive(0.01)
        with pytest.raises(ChannelClosed, match="the worker has ended"):
            channel.receive(3600, lambda: False)  # a process that it forked has its end open
        for line in (b'{"type": "Nothing"}', b"[1]", b"[" * 100_000):
            with pytest.raises(ChannelClosed, match="sent no message but"):
                theirs.sendall(line + b"\n")
                channel.receive(1)
        Channel(theirs).close()
        with pytest.raises(ChannelClosed):
            channel.receive(0.01)
