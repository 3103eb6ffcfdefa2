"""Untrusted input runs no code, and saved files name no user or host. See docs/security.md."""

from __future__ import annotations

import ast
import getpass
import json
import os
import platform
import stat
from pathlib import Path

import pytest

import pytest_energy
import tsbench
from pytest_energy import cli
from tsbench.data import cache

SOURCES = sorted(
    path
    for package in (pytest_energy, tsbench)
    for path in Path(package.__file__).parent.rglob("*.py")
)
# Modules that unpickle, and calls that run a text as code or in a shell.
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal", "cloudpickle"}
FORBIDDEN_CALLS = {
    "eval",
    "exec",
    "torch.load",
    "os.system",
    "os.popen",
    "numpy.load",
    "np.load",
    "subprocess.getoutput",
}


def forbidden_in(text: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [
                alias.name
                for alias in node.names
                if alias.name.partition(".")[0] in FORBIDDEN_MODULES
            ]
        elif (
            isinstance(node, ast.ImportFrom)
            and (node.module or "").partition(".")[0] in FORBIDDEN_MODULES
        ):
            found.append(str(node.module))
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            shell = [
                key
                for key in node.keywords
                if key.arg == "shell"
                and not (isinstance(key.value, ast.Constant) and not key.value.value)
            ]
            safe = name == "np.load" and any(
                key.arg == "allow_pickle" and ast.unparse(key.value) == "False"
                for key in node.keywords
            )
            found += [name] * (name in FORBIDDEN_CALLS and not safe)
            found += [f"{name}(shell=...)"] * bool(shell)
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: "/".join(path.parts[-3:]))
def test_no_module_unpickles_evaluates_or_starts_a_shell(path):
    expected = ["exec", "exec"] if path.name == "notebook.py" else []  # the user's line and cell
    assert forbidden_in(path.read_text(encoding="utf8")) == expected


@pytest.mark.parametrize(
    "text",
    ["import pickle", "from joblib.x import y", "torch.load(f)", "run(x, shell=True)", "eval('1')"],
)
def test_the_search_finds_each_forbidden_use(text):
    assert forbidden_in(text)


@pytest.mark.parametrize(
    "revision",
    [
        "--upload-pack=touch pwned",
        "-h",
        "--output=pwned",
        "$(touch pwned)",
        "; touch pwned",
        "`touch pwned`",
    ],
)
@pytest.mark.parametrize("how", ["against", "bisect"])
def test_a_revision_never_becomes_an_option_or_a_command(suite, revision, how, monkeypatch, capsys):
    suite.makepyfile("def test_it(energy):\n    energy(sum, range(10))\n")
    suite.run("git", "init", "-q")
    suite.run(
        "git",
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@b.c",
        "commit",
        "-q",
        "--allow-empty",
        "-m",
        "one",
    )
    if how == "against":
        done = suite.runpytest("--energy", "--energy-meter=clock", f"--energy-against={revision}")
        assert done.ret == pytest.ExitCode.USAGE_ERROR
        done.stderr.fnmatch_lines(["*git knows no commit*"])
    else:
        monkeypatch.chdir(suite.path)
        code = cli.main(["bisect", "--", revision, "HEAD", "test_it.py"])
        assert code == 2 and capsys.readouterr().err.strip()
    assert not (suite.path / "pwned").exists()


def test_a_saved_run_contains_no_host_user_or_secret(suite, monkeypatch):
    monkeypatch.setattr(platform, "node", lambda: "hiddenhost")
    monkeypatch.setenv("USER", "hiddenuser")
    monkeypatch.setenv("LOGNAME", "hiddenuser")
    monkeypatch.setenv("API_TOKEN", "hiddentoken")
    assert getpass.getuser() == "hiddenuser"
    suite.run("git", "init", "-q")
    suite.run(
        "git",
        "remote",
        "add",
        "origin",
        "https://hiddenuser:hiddentoken@git.example/some/project.git",
    )
    suite.run(
        "git",
        "-c",
        "user.name=hiddenuser",
        "-c",
        "user.email=a@hiddenhost",
        "commit",
        "-q",
        "--allow-empty",
        "-m",
        "one",
    )
    suite.makepyfile("def test_it(energy):\n    energy(sum, range(10))\n")
    assert (
        suite.runpytest_inprocess(
            "--energy", "--energy-meter=clock", "--benchmark-json=run.json"
        ).ret
        == 0
    )
    text = (suite.path / "run.json").read_text()
    # The project's name comes from the remote, so the run read the remote.
    assert json.loads(text)["commit_info"]["project"] == "project"
    assert "hidden" not in text and str(suite.path) not in text


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX only")
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_files_follow_the_users_umask(suite, tmp_path, umask):
    before = os.umask(umask)
    try:
        cache.write_atomically(tmp_path / "checkpoint", b"x")
        suite.makepyfile("def test_it(energy):\n    energy(sum, range(10))\n")
        done = suite.runpytest(
            "--energy",
            "--energy-meter=clock",
            "--benchmark-autosave",
            "--energy-markdown=comment.md",
        )
    finally:
        os.umask(before)
    assert done.ret == 0
    made = [
        tmp_path / "checkpoint",
        *suite.path.glob(".benchmarks/*/*.json"),
        suite.path / "comment.md",
    ]
    assert len(made) == 3
    assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o666 & ~umask}
