"""The workflow's files, and `pytest-energy pull-request` in a repository of two commits."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_energy import cli
from pytest_energy.report.markdown import MARKER
from tests.energy.commits.test_against import SLOWER, git, repo  # noqa: F401 - a fixture

ROOT = Path(__file__).parents[3]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ACTION = ROOT / "action.yml"
GITLAB = ROOT / "templates" / "gitlab.yml"
ENERGY = ROOT / ".github" / "workflows" / "energy.yml"


def installed(name):
    path = Path(sys.executable).with_name(name)
    if not path.exists():
        pytest.skip(f"{name} is not installed: make lint-workflows installs it")
    return path


def pull_request(folder, seconds="1"):
    """Run the command of the workflow's step, with options of pytest that make it short."""
    arguments = ["pull-request", "--base", "main", "--output", "out", "--", "-k", "fixture"]
    arguments += ["--energy-meter", "estimate", "--energy-max-time", seconds]
    command = [sys.executable, "-m", "pytest_energy", *arguments]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    return done, (folder / "out" / "comment.md").read_text(encoding="utf8")


@pytest.fixture
def branch(repo):  # noqa: F811
    """A branch of main; main gets commits later."""
    git(repo, "checkout", "-q", "-b", "change")
    (repo / ".gitignore").write_text("__pycache__/\n.pytest_cache/\n.benchmarks/\nout/\n")
    git(repo, "commit", "-qam", "ignore")
    return repo


@pytest.mark.slow
def test_a_regression_exits_1_and_is_in_the_comment(branch):
    (branch / "library.py").write_text(SLOWER)
    git(branch, "commit", "-qam", "slower")
    # The verdict needs 11 blocks, which can take long on a busy machine.
    done, comment = pull_request(branch, "20")
    assert done.returncode == 1, done.stdout + done.stderr
    assert comment.startswith(f"{MARKER}\n### 🔴 Energy: 1 slower, against ")
    assert re.search(
        r"\| 🔴 \| <code>test&#95;fixture</code> \| .* \| slower; (time: )?limit \+",
        comment,
    )
    assert (branch / "out" / "run.json").exists()


@pytest.mark.slow
def test_later_commits_of_the_base_do_not_count(branch):
    """Main gets faster after the branch left it. Against main, the branch would regress."""
    git(branch, "checkout", "-q", "main")
    (branch / "library.py").write_text("def work():\n    return 0\n")
    git(branch, "commit", "-qam", "faster")
    git(branch, "checkout", "-q", "change")
    done, comment = pull_request(branch)
    assert done.returncode == 0, done.stdout + done.stderr
    assert comment.startswith(f"{MARKER}\n### ") and "🔴" not in comment


def test_tests_that_cannot_be_compared_exit_2_with_the_reason(branch):
    (branch / "test_it.py").write_text("import nowhere_to_be_found\n")
    done, comment = pull_request(branch)
    assert done.returncode == 2
    assert (
        comment.startswith(f"{MARKER}\n### ⚠️ Energy: could not be compared\n")
        and "nowhere" in comment
    )


def test_an_unknown_base_is_one_line(branch, capsys, monkeypatch):
    monkeypatch.chdir(branch)
    assert cli.main(["pull-request", "--base", "nowhere"]) == 2
    error = capsys.readouterr().err
    assert (
        error.startswith("pytest-energy: git knows no commit 'nowhere' here")
        and error.count("\n") == 1
    )
    assert "could not be compared" in (branch / "energy" / "comment.md").read_text()


def test_a_name_of_its_own_is_in_the_marker_and_the_title(branch):
    (branch / "test_it.py").write_text("import nowhere_to_be_found\n")
    command = [sys.executable, "-m", "pytest_energy", "pull-request", "--base", "main"]
    named = [*command, "--output", "out", "--name", "gpu"]
    subprocess.run(named, cwd=branch, capture_output=True, timeout=120, check=False)
    comment = (branch / "out" / "comment.md").read_text(encoding="utf8")
    assert comment.startswith("<!-- pytest-energy: gpu -->\n### ⚠️ Energy, gpu: could not be")


def test_a_name_with_markup_is_refused(branch, capsys, monkeypatch):
    monkeypatch.chdir(branch)
    assert cli.main(["pull-request", "--base", "main", "--name=a -->"]) == 2
    assert "--name takes letters" in capsys.readouterr().err


def script_of(step, path=ENERGY):
    """The shell script of a step."""
    text = path.read_text()
    block = text[text.index(f"- name: {step}") :].split("run: |\n", 1)[1]
    indent = len(block) - len(block.lstrip())
    lines = []
    for line in block.splitlines():
        if line.strip() and not line.startswith(" " * indent):
            break
        lines.append(line[indent:])
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("step", "path"), [("Require a commit", ENERGY), ("Measure\n", ACTION)], ids=["flow", "action"]
)
def test_an_event_without_a_base_is_an_error_that_says_so(step, path):
    environment = {**os.environ, "BASE": "", "EVENT": "push", "TESTS": "", "OUTPUT": "energy"}
    command = ["bash", "-euo", "pipefail", "-c", script_of(step, path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout.startswith("::error::the event push has no base to compare with")


def test_the_action_writes_the_summary_and_keeps_the_exit_code(branch, tmp_path):
    (branch / "test_it.py").write_text("import nowhere_to_be_found\n")
    summary = tmp_path / "summary.md"
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "GITHUB_STEP_SUMMARY": str(summary),
        "BASE": "main",
        "EVENT": "push",
        "TESTS": "-k 'a b'",
        "OUTPUT": "out",
    }
    command = ["bash", "-euo", "pipefail", "-c", script_of("Measure\n", ACTION)]
    done = subprocess.run(command, cwd=branch, env=environment, capture_output=True, check=False)
    assert done.returncode == 2
    assert summary.read_text(encoding="utf8").startswith(MARKER)


def test_a_failed_installation_skips_the_comment_job():
    text = ENERGY.read_text()
    assert "comment: ${{ steps.show.outputs.comment }}" in text
    assert "needs.measure.outputs.comment == 'written'" in text


def test_two_uses_in_one_run_have_names_of_their_own():
    text = ENERGY.read_text()
    assert text.count("name: ${{ inputs.name }}") == 2  # the artifact, uploaded and downloaded
    assert text.count("pytest-energy-${{ inputs.name }}") == 1
    assert text.count("pytest-energy-comment-${{ inputs.name }}") == 1


# Answers as gh does with --jq, and writes its arguments to a file.
FAKE_GH = """#!/bin/sh
case "$*" in *--paginate*) cat known;; *) echo "$*" >> asked;; esac
"""


@pytest.mark.parametrize(
    ("known", "asked"),
    [("", "POST repos/o/r/issues/7/comments"), ("12\n34\n", "PATCH repos/o/r/issues/comments/12")],
)
def test_the_one_comment_is_updated_or_created(tmp_path, known, asked):
    (tmp_path / "gh").write_text(FAKE_GH)
    (tmp_path / "gh").chmod(0o755)
    (tmp_path / "known").write_text(known)
    (tmp_path / "energy").mkdir()
    (tmp_path / "energy" / "comment.md").write_text(f"{MARKER}\n### Energy\n")
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "REPOSITORY": "o/r",
        "NUMBER": "7",
    }
    script = script_of("Update the one comment")
    subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, env=environment, check=True
    )
    assert (
        tmp_path / "asked"
    ).read_text() == f"api --silent --method {asked} --field body=@energy/comment.md\n"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_and_forks_get_no_rights(path):
    text = path.read_text()
    for used in re.findall(r"^\s+- uses: (\S+)(.*)", text, re.MULTILINE):
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", used[0]) and re.fullmatch(
            r" # v[\d.]+", used[1]
        )
    assert not re.search(r"pull_request_target|secrets:|write-all|contents: write", text)


def test_workflows_fit_githubs_schema():
    command = [
        installed("check-jsonschema"),
        "--builtin-schema",
        "vendor.github-workflows",
        *WORKFLOWS,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("schema", "path"),
    [("vendor.github-actions", ACTION), ("vendor.gitlab-ci", GITLAB)],
    ids=["action", "gitlab"],
)
def test_the_action_and_the_template_fit_their_schemas(schema, path):
    command = [installed("check-jsonschema"), "--builtin-schema", schema, path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_zizmor_finds_nothing_in_the_workflows():
    command = [installed("zizmor"), "--offline", "--no-progress", ROOT / ".github", ACTION]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
