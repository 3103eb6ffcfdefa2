"""What the two sides of ``--energy-against`` run, load, write and leave behind."""

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from pytest_energy.commits.janitor import kill_session
from pytest_energy.commits.loaded_files import LoadedFilesCheck, loaded_files
from pytest_energy.commits.worker_process import PACKAGE
from tests.energy.commits.test_against import AGAINST, git, nothing_left, repo, run  # noqa: F401 - a fixture

WRITING_CONFTEST = """
import pathlib, sys
def pytest_sessionfinish(session):
    with open("summary.txt", "a") as file:
        file.write("one run\\n")
def pytest_unconfigure(config):
    with open("summary.txt", "a") as file:
        file.write("end\\n")
"""
OWN_PLUGIN = """
def pytest_addoption(parser, pluginmanager):
    group = parser.getgroup("sizes")
    group.addoption("--size", default="small", choices=["small", "big"])
"""
SIZED_TESTS = """
from library import work
def test_sized(energy, request, tmp_path, cache):
    cache.set("sized/key", 1)
    assert request.config.getoption("--size") == "big"
    (tmp_path / "file").write_text("x")
    energy(work)
def test_other(energy):
    energy(work)
"""


@pytest.mark.slow
def test_workers_write_none_of_the_runs_files(pytester, repo, monkeypatch):  # noqa: F811
    """Whether the command line, the environment or the project asks for the file."""
    (repo / "conftest.py").write_text(WRITING_CONFTEST)
    (repo / "sized.py").write_text(OWN_PLUGIN)
    (repo / "test_it.py").write_text(SIZED_TESTS)
    (repo / "pytest.ini").write_text(
        "[pytest]\naddopts = --junitxml=report.xml --log-file-level=DEBUG\nlog_file = test.log\n"
    )
    monkeypatch.setenv(
        "PYTEST_ADDOPTS", "-p no:hypothesispytest -p sized --size big --junitxml=other.xml"
    )
    git(repo, "add", ".")
    git(repo, "commit", "-qm", "writes")
    result = run(
        pytester, *AGAINST, "HEAD", "--benchmark-json=runs.json", "-k", "sized", "--maxfail", "1"
    )
    result.assert_outcomes(passed=1, deselected=1)
    result.stdout.fnmatch_lines(["compared with HEAD (*): 1 test is in both"])
    assert not (repo / "report.xml").exists(), "PYTEST_ADDOPTS overrides the ini file"
    assert (repo / "summary.txt").read_text() == "one run\nend\n"
    assert 'tests="1"' in (repo / "other.xml").read_text()
    assert (repo / "test.log").read_text() == ""
    assert not list(repo.rglob("*TMPDIR*"))
    assert list((repo.parent / "temporary").glob("*/pytest-*")) == [], "workers' tmp_path"
    nothing_left(repo)


@pytest.mark.slow
def test_an_argument_that_the_commit_lacks_is_new_and_changes_nothing_else(pytester, repo):  # noqa: F811
    (repo / "work").mkdir()  # a value that is also a folder's name
    (repo / "test_new.py").write_text((repo / "test_it.py").read_text())
    text = (repo / "test_it.py").read_text()
    (repo / "test_it.py").write_text(text + "\ndef test_work(energy): energy(work)\n")
    result = run(
        pytester, *AGAINST, "then", "test_new.py::test_fixture", "test_it.py::test_fixture",
        str(repo / "test_it.py") + "::test_work", "-k", "work or fixture",
    )  # fmt: skip
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["compared with then (*): 1 test is in both"])
    assert result.stdout.str().count("NOT GATED: new") == 2
    result.stdout.no_fnmatch_line("*which git does not track*")
    result.stdout.no_fnmatch_line("*vanished*")


UNTRACKED = {
    "an ignored module": ("built.py", "built.py\n"),
    "a module that nobody added": ("built.py", ""),
    "a package's file": ("built/__init__.py", "built/\n"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("file", "ignored"), UNTRACKED.values(), ids=UNTRACKED)
def test_a_generated_file_that_only_this_tree_has_is_not_compared(pytester, repo, file, ignored):  # noqa: F811
    (repo / "library.py").write_text(
        "try:\n    from built import work\nexcept ImportError:\n    def work(): return 1\n"
    )
    (repo / ".gitignore").write_text((repo / ".gitignore").read_text() + ignored)
    git(repo, "commit", "-qam", "falls back")
    (repo / file).parent.mkdir(exist_ok=True)
    (repo / file).write_text("def work(): return sum(range(10**5))\n")
    result = run(pytester, *AGAINST, "HEAD", "-k", "fixture")
    result.assert_outcomes(passed=1, deselected=1)
    result.stdout.fnmatch_lines(
        [f"NOT GATED (1x): this tree loads {file}, which git does not track*against-python*"]
    )


def check(tmp_path, own_python=False):
    repo = tmp_path / "tree"  # noqa: F811
    (repo / "part").mkdir(parents=True)
    git(repo, "init", "-q")
    (repo / "part" / "here.py").write_text("")
    git(repo, "add", ".")
    return repo, LoadedFilesCheck(repo, tmp_path / "out", "v1", own_python)


def test_modules_are_compared_by_where_they_came_from(tmp_path):
    tree, sides = check(tmp_path)
    ours, theirs = str(tree / "part" / "here.py"), str(tmp_path / "out" / "part" / "here.py")
    assert sides.difference({"here": theirs}, {"here": ours}) is None
    assert sides.difference({}, {"here": ours}) is None
    assert "v1 loads here from your own tree" in sides.difference({"here": ours}, {"here": ours})
    installed = "/usr/lib/python3/site-packages/here.py"
    assert "not from its own commit" in sides.difference({"here": installed}, {"here": ours})
    inside = str(tree / ".venv" / "lib" / "site-packages" / "numpy.so")
    assert sides.difference({"numpy": inside}, {"numpy": inside}) is None
    nested = LoadedFilesCheck(tree, tree / "tmp" / "A", "v1", False)
    theirs = str(tree / "tmp" / "A" / "part" / "here.py")
    assert nested.difference({"here": theirs}, {"here": ours}) is None
    mapped = str(tree / "lib" / "libfast.so.3")
    assert "this tree loads lib/libfast.so.3" in sides.difference({}, {mapped: mapped})


def test_an_interpreter_of_its_own_has_its_own_builds(tmp_path):
    tree, sides = check(tmp_path, own_python=True)
    built = str(tree / "part" / "fast.so")
    elsewhere = "/other/lib/site-packages/part/fast.so"
    assert sides.difference({"part.fast": elsewhere}, {"part.fast": built}) is None
    pure = "/other/lib/site-packages/part/fast.py"
    assert "part/fast.so" in sides.difference({"part.fast": pure}, {"part.fast": built})
    assert "part/fast.so" in sides.difference({}, {"part.fast": built})


def test_a_module_that_names_a_file_that_is_not_there_has_none(monkeypatch):
    """torch.ops has a __file__ of "_ops.py", which would lie in the current folder."""
    made = ModuleType("made")
    made.__file__ = "_ops.py"
    monkeypatch.setitem(sys.modules, "made", made)
    assert "made" not in loaded_files()


def test_mapped_libraries_and_modules_are_found():
    files = loaded_files()
    assert files["json"].endswith("json/__init__.py")
    assert not any(name.startswith("pytest_energy") for name in files)
    if sys.platform == "linux":
        assert any(".so" in name for name in files)


POOL_TESTS = """
import multiprocessing
from library import work
pools = []
def test_pool(energy):
    def in_pool():
        if not pools:
            pools.append(multiprocessing.get_context("fork").Pool(2))
        pools[0].apply(work)
    energy(in_pool)
def test_plain(energy):
    energy(work)
"""


@pytest.mark.slow
def test_processes_that_a_test_leaves_do_not_keep_the_run_from_ending(pytester, repo):  # noqa: F811
    (repo / "test_it.py").write_text(POOL_TESTS)
    git(repo, "commit", "-qam", "a pool that nobody closes")
    before = children_of_init()
    result = run(pytester, *AGAINST, "HEAD")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["compared with HEAD (*): 2 tests are in both"])
    assert result.duration < 60
    nothing_left(repo)
    assert children_of_init() - before == set(), "processes of the workers are left"


def children_of_init():
    """The workers of this tree without a parent, and their forks, by number."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = stat.read_text().rpartition(")")[2].split()[1]
            arguments = (stat.parent / "cmdline").read_text()
        except OSError:
            continue
        if parent == "1" and "plugin.worker" in arguments and str(PACKAGE) in arguments:
            found.add(stat.parent.name)
    return found


FORKING_TESTS = """
import ctypes, os
from library import work
library = ctypes.CDLL(None)
forked, kept = [], []
def test_forks_in_c(energy):
    def fork():
        if not forked:
            forked.append(library.fork())
            if not forked[0]:
                library.setsid()
                library.sleep(600)
        work()
    energy(fork)
def test_closes_all(energy, tmp_path):
    energy(work)
    os.closerange(3, 4096)
    kept.extend(os.open(tmp_path / str(n), os.O_RDWR | os.O_CREAT) for n in range(30))
def test_after(energy):
    energy(work)
    os.kill(forked[0], 9)
    assert {os.fstat(number).st_size for number in kept} == {0}
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
def test_copies_and_lost_descriptors_neither_hold_the_run_nor_write_elsewhere(pytester, repo):  # noqa: F811
    (repo / "test_it.py").write_text(FORKING_TESTS)
    git(repo, "commit", "-qam", "forks in C, and closes every descriptor")
    before = children_of_init()
    # Each of the pairs starts again for each test, and fewer are needed at 20 %.
    result = run(pytester, *AGAINST, "HEAD", "--capture=sys", "--energy-alpha=20%")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["compared with HEAD (*): 3 tests are in both"])
    result.stdout.no_fnmatch_line("*NOT GATED (*code under test has closed*")
    assert result.duration < 120  # the forks in C sleep for 600 s
    nothing_left(repo)
    assert children_of_init() - before == set(), "processes of the workers are left"


PATCHING_TESTS = """
import io, json, os, sys, time
from library import work
def test_patched(energy, monkeypatch):
    def refuse(*given, **named):
        raise ZeroDivisionError
    for module, name in ((json, "dumps"), (json, "loads"), (os, "open"), (os, "times"),
                         (time, "sleep"), (time, "perf_counter"), (time, "thread_time")):
        monkeypatch.setattr(module, name, refuse)
    energy(work)
def test_silent(energy, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    energy(work)
"""


@pytest.mark.slow
def test_what_a_test_patches_does_not_reach_the_worker(pytester, repo):  # noqa: F811
    (repo / "test_it.py").write_text(PATCHING_TESTS)
    git(repo, "commit", "-qam", "patches")
    result = run(pytester, *AGAINST, "HEAD", "-s")
    result.assert_outcomes(passed=2)
    result.stdout.no_fnmatch_line("*NOT GATED (1x): HEAD*")
    for test in ("test_patched", "test_silent"):
        result.stdout.re_match_lines([rf". {test} .* % \[.*"])


HANGING_TESTS = """
import sys, time
from library import work
def test_hangs(energy):
    if "pytest_energy.plugin.worker" in sys.modules:
        time.sleep(1000)
    energy(work)
def test_next(energy):
    energy(work)
"""


@pytest.mark.slow
def test_a_worker_that_hangs_costs_its_own_test_only(pytester, repo):  # noqa: F811
    (repo / "test_it.py").write_text(HANGING_TESTS)
    (repo / "limits.py").write_text(
        "import pytest_energy.commits.worker_process as w\nw.READY_LIMIT_S = 6\n"
    )
    git(repo, "add", ".")
    git(repo, "commit", "-qm", "hangs")
    result = run(pytester, "-p", "limits", *AGAINST, "HEAD")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["NOT GATED (1x): *the worker did not answer within 6 s*"])
    result.stdout.re_match_lines([r". test_next .* % \[.*"])
    nothing_left(repo)


def test_without_a_free_descriptor_the_sessions_leader_is_killed(monkeypatch):
    """A test may lower RLIMIT_NOFILE for the rest of the process."""
    process = subprocess.Popen(["sleep", "100"], start_new_session=True)

    def refuse(folder):
        raise OSError(24, "Too many open files", folder)

    monkeypatch.setattr(os, "listdir", refuse)
    kill_session(process.pid)
    assert process.wait(10) < 0


@pytest.mark.parametrize("leaves", ["os.setpgid(0, 0)", "os.setsid()"])
def test_a_session_is_killed_with_all_its_groups_and_descendants(leaves):
    if leaves == "os.setsid()" and sys.platform != "linux":
        pytest.skip("only Linux shows each process's parent in /proc")
    script = (
        "import os, time\n"
        f"if not os.fork():\n    {leaves}\n    print(os.getpid(), flush=True)\n"
        "time.sleep(100)"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE) as process:
        in_its_own_group = int(process.stdout.readline())
        kill_session(process.pid)
        assert process.wait(10) < 0
        assert process.stdout.read() == b""  # the child held the other end of the pipe
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    stat = Path(f"/proc/{in_its_own_group}/stat")
    assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] in "ZX"
