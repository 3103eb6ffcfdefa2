"""``pytest-energy pull-request``: what the workflow does for a pull request, to be run anywhere.

It runs the tests with ``--energy-against`` the merge base, and leaves ``comment.md`` and ``run.json`` in a folder,
and the page where this version makes one. There is always a comment, also where nothing could be compared.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from pytest_energy.cli.exit_codes import ExitCode
from pytest_energy.commits.git import find_repo, git, resolve
from pytest_energy.errors import OptionError
from pytest_energy.report.markdown import trouble_markdown

# Of what pytest may end with, only these two are about the code: the others mean that nothing was compared.
TOLD_BY_PYTEST = {0: ExitCode.OK, 1: ExitCode.REGRESSED}
LAST_LINES = 12


def add_pull_request_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add it to the parser of ``pytest-energy``."""
    command = commands.add_parser(
        "pull-request",
        help="this tree against where it branched off, live, with a comment to leave; exit 1: regressed or failed, 2: not compared",
    )
    command.add_argument(
        "--base",
        metavar="REV",
        required=True,
        help="what it is to be merged into, such as origin/main",
    )
    command.add_argument(
        "--output", metavar="DIR", default="energy", help="where the files go (default: energy)"
    )
    command.add_argument(
        "tests", metavar="TESTS", nargs="*", help="as for pytest; options of pytest's after --"
    )
    command.set_defaults(run=_pull_request)


def merge_base(repo: Path, base: str) -> str:
    """The commit at which this tree branched off. Raises `OptionError` where there is none here."""
    commit = resolve(repo, base)
    problem = f"no common ancestor of {base} and HEAD is here: fetch the whole history (fetch-depth: 0 of actions/checkout)"
    return git(repo, "merge-base", commit, "HEAD", problem=problem)


def command_line(commit: str, output: Path, tests: Sequence[str]) -> list[str]:
    """How pytest is run."""
    line = [sys.executable, "-m", "pytest", "--energy", "--energy-against", commit]
    line += [
        f"--energy-markdown={output / 'comment.md'}",
        f"--benchmark-json={output / 'run.json'}",
    ]
    if _has_option("--energy-report"):
        line.append(f"--energy-report={output / 'report.html'}")
    return [*line, *tests]


def _has_option(flag: str) -> bool:
    """Whether the plugin that is installed has an option that not every version has."""
    helped = subprocess.run(
        [sys.executable, "-m", "pytest", "--help"],
        capture_output=True,
        encoding="utf8",
        check=False,
    )
    return flag in helped.stdout.split()


def _pull_request(options: argparse.Namespace) -> int:
    output = Path(options.output).absolute()
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OptionError(
            f"--output {options.output}: cannot be made: {error.strerror}; name another folder"
        ) from None
    comment = output / "comment.md"
    comment.unlink(missing_ok=True)  # an older one must not be taken for this run's
    try:
        commit = merge_base(find_repo(Path.cwd()), options.base)
    except OptionError as error:
        comment.write_text(trouble_markdown(str(error)) + "\n", encoding="utf8")
        raise
    print(f"against {commit}, where this tree branched off {options.base}", flush=True)
    ended, said = _run(command_line(commit, output, options.tests))
    if ended in TOLD_BY_PYTEST and comment.exists():
        return TOLD_BY_PYTEST[ended]
    problem = f"pytest ended with {ended}: {' '.join(said[-LAST_LINES:])}"
    comment.write_text(trouble_markdown(problem) + "\n", encoding="utf8", errors="backslashreplace")
    return ExitCode.UNUSABLE


def _run(command: Sequence[str]) -> tuple[int, list[str]]:
    """Run it, passing on what it says; gives its exit code, and the lines."""
    said = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf8", errors="replace"
    ) as process:
        assert process.stdout is not None  # for the type checker: PIPE was asked for
        for line in process.stdout:
            print(line, end="", flush=True)
            said.append(line.strip())
    return process.returncode, [line for line in said if line]
