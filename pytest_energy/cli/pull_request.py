"""``pytest-energy pull-request``: what the workflow runs for a pull request, on any machine.

It runs the tests with ``--energy-against`` the merge base, and writes ``comment.md`` and
``run.json`` into a folder. It writes a comment even if nothing could be compared.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from pytest_energy.cli.arguments import CommandHelp, Commands, current_folder, new_command
from pytest_energy.cli.exit_codes import ExitCode
from pytest_energy.commits.git import find_repo, git, resolve
from pytest_energy.errors import OptionError
from pytest_energy.report.markdown import MARKER, trouble_markdown

# Of pytest's exit codes, only these come with a comparison.
CODE_OF = {0: ExitCode.OK, 1: ExitCode.REGRESSED}
LAST_LINES = 12
DEFAULT_NAME = "energy"
NAME_PATTERN = r"[A-Za-z0-9._-]+"

HELP = CommandHelp(
    summary="Compare this tree with the commit where it branched off, and write a comment.",
    description=(
        "Compare this tree with the commit where it branched off, live. Write comment.md for the "
        "pull request and run.json, a saved run. No page: pytest-energy report makes one of "
        "run.json."
    ),
    example="pytest-energy pull-request --base origin/main -- benchmarks -k int8",
    exit_codes={
        ExitCode.OK: "nothing regressed",
        ExitCode.REGRESSED: "something regressed, or a test failed",
        ExitCode.UNUSABLE: "not compared; comment.md gives the reason",
    },
)


def add_command(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the command to the parser of ``pytest-energy``."""
    command = new_command(commands, "pull-request", HELP)
    command.add_argument(
        "--base",
        metavar="REV",
        required=True,
        help="The branch to merge into, such as origin/main.",
    )
    command.add_argument(
        "--output", metavar="DIR", default="energy", help="Write here (default: energy)."
    )
    command.add_argument(
        "--name",
        metavar="NAME",
        default=DEFAULT_NAME,
        help=f"Tell several comments on one pull request apart (default: {DEFAULT_NAME}).",
    )
    command.add_argument(
        "tests", metavar="TESTS", nargs="*", help="Tests as for pytest; its options come after --."
    )
    command.set_defaults(run=run)


def merge_base(repo: Path, base: str) -> str:
    """The commit where this tree branched off. Raises `OptionError` if the clone has none."""
    commit = resolve(repo, base)
    problem = (
        f"this clone has no common ancestor of {base} and HEAD: fetch the whole history "
        "(fetch-depth: 0 of actions/checkout)"
    )
    return git(repo, "merge-base", commit, "HEAD", problem=problem)


def command_line(commit: str, output: Path, tests: Sequence[str]) -> list[str]:
    """The command that runs pytest."""
    return [
        *(sys.executable, "-m", "pytest", "--energy", "--energy-against", commit),
        f"--energy-markdown={output / 'comment.md'}",
        f"--benchmark-json={output / 'run.json'}",
        *tests,
    ]


def run(arguments: argparse.Namespace) -> ExitCode:
    """Run pytest, print its output, and write a comment if it wrote none."""
    if not re.fullmatch(NAME_PATTERN, arguments.name):
        raise OptionError(
            f"--name takes letters, digits, dots, dashes and underscores, not {arguments.name!r}"
        )
    output = Path(arguments.output).absolute()
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OptionError(
            f"--output {arguments.output}: cannot be created: {error.strerror}; name another folder"
        ) from None
    comment = output / "comment.md"
    comment.unlink(missing_ok=True)  # an older one would look like this run's
    try:
        commit = merge_base(find_repo(current_folder()), arguments.base)
    except OptionError as error:
        _write(comment, trouble_markdown(str(error)), arguments.name)
        raise
    print(f"against {commit}, where this tree branched off {arguments.base}", flush=True)
    code, lines = _run_pytest(command_line(commit, output, arguments.tests))
    if code in CODE_OF and comment.exists():
        _write(comment, comment.read_text(encoding="utf8").rstrip("\n"), arguments.name)
        return CODE_OF[code]
    problem = f"pytest ended with {code}: {' '.join(lines[-LAST_LINES:])}"
    _write(comment, trouble_markdown(problem), arguments.name)
    return ExitCode.UNUSABLE


def _write(comment: Path, text: str, name: str) -> None:
    """Write the comment; a name of its own goes into its marker and its title."""
    if name != DEFAULT_NAME:
        text = text.replace(MARKER, MARKER.replace(" -->", f": {name} -->"), 1)
        text = text.replace(" Energy: ", f" Energy, {name}: ", 1)
    comment.write_text(text + "\n", encoding="utf8", errors="backslashreplace")


def _run_pytest(command: Sequence[str]) -> tuple[int, list[str]]:
    """Run it and print its output; returns its exit code and its lines."""
    lines = []
    # The workflow adds the comment to the job's summary, even if nothing could be compared.
    environment = {
        name: value for name, value in os.environ.items() if name != "GITHUB_STEP_SUMMARY"
    }
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf8",
        errors="replace",
        env=environment,
    ) as process:
        assert process.stdout is not None  # for the type checker: PIPE was asked for
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line.strip())
    return process.returncode, [line for line in lines if line]
