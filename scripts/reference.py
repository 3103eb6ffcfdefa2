"""Write docs/reference.md from the code: ``python -m scripts.reference``. A test keeps it current.

Its entries come from the parsers, the option table, the docstrings and the schema, so that no
option can be missing. Exit codes and environment variables have no text in the code: it stands
here, and a test checks the names against the code.
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import pytest_energy
import tsbench
from pytest_energy import cli, plugin
from pytest_energy.cli.exit_codes import ExitCode
from pytest_energy.gate import Budget, Thresholds
from pytest_energy.plugin import command_line, hookspecs
from pytest_energy.plugin.benchmark_bridge import MeasuredBenchmark
from pytest_energy.plugin.fixtures import EnergyFixture
from scripts import api_page
from tsbench import cli as tsbench_cli

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference.md"
PACKAGES = (Path(pytest_energy.__file__).parent, Path(tsbench.__file__).parent)

VARIABLES = {
    "PYTEST_ENERGY_CALIBRATION": "the file with this machine's calibrated watts, which "
    "`pytest-energy calibrate` writes",
    "PYTEST_ENERGY_LOCK": "a file or folder to lock in place of the root folder, such as one on a "
    "volume that containers share; all runs of a machine need the same",
    "PYTEST_ENERGY_LOCK_HOLDER": "set by a measuring run for the processes that it starts: they do "
    "not wait for it",
    "PYTEST_ENERGY_SYSFS": "the folder with the trees of powercap and hwmon (default: /sys/class)",
    "PYTEST_ENERGY_TRACEBACK": "set: a fault of `pytest-energy` shows its traceback",
    "TSBENCH_ARCHIVE_URL": "a mirror of the datasets' archive",
    "TSBENCH_CACHE": "where downloads and trained models are kept",
    "TSBENCH_DATA": "where datasets of yours are",
    "TSBENCH_OFFLINE": "set: nothing is downloaded",
    "TSBENCH_TRACEBACK": "set: a fault of `tsbench` shows its traceback",
}
EXIT_CODES = (
    ("`pytest`", pytest.ExitCode.OK, "no verdict was missed or regressed"),
    (
        "`pytest`",
        pytest.ExitCode.TESTS_FAILED,
        (
            "a test failed: a threshold missed, a budget not kept, a floor not met, a regression; "
            "with `--energy-strict` also an inconclusive verdict"
        ),
    ),
    (
        "`pytest`",
        pytest.ExitCode.USAGE_ERROR,
        "a wrong option or marker, no such meter, or a gate that gates nothing",
    ),
    ("`pytest-energy`", ExitCode.OK, "done; of `compare` and `pull-request`: nothing regressed"),
    ("`pytest-energy compare`", ExitCode.REGRESSED, "something regressed"),
    ("`pytest-energy pull-request`", ExitCode.REGRESSED, "something regressed, or a test failed"),
    (
        "`pytest-energy`",
        ExitCode.UNUSABLE,
        (
            "not done; one line gives the reason: invalid options, an absent meter, files that are "
            "not comparable, a fault of pytest-energy itself"
        ),
    ),
    (
        "`pytest-energy compare`",
        ExitCode.UNUSABLE,
        "also if no benchmark was gated; the reasons are printed",
    ),
    ("`pytest-energy record -- COMMAND`", "COMMAND's", "the recorded command's own exit code"),
    ("`pytest-energy compare --strict`", ExitCode.INCONCLUSIVE, "something stayed inconclusive"),
    ("`pytest-energy`", ExitCode.INTERRUPTED, "interrupted by Ctrl-C"),
    ("`pytest-energy`", ExitCode.CLOSED_PIPE, "the reader of the output closed it, as `head` does"),
    ("`tsbench`", 0, "done"),
    ("`tsbench`", tsbench_cli.NOT_DONE, "could not be done; one line gives the reason"),
    (
        "`tsbench sweep`",
        tsbench_cli.NOT_DONE,
        "also if some tasks failed, or a dataset could not be read; the same command retries them",
    ),
    (
        "`tsbench`",
        tsbench_cli.INTERRUPTED,
        "interrupted by Ctrl-C; the same command resumes",
    ),
    ("`tsbench`", tsbench_cli.CLOSED_PIPE, "the reader of the output closed it, as `head` does"),
)


class OptionRecorder:
    """Stands in for pytest's parser and its groups, and records what they get."""

    def __init__(self) -> None:
        self.options: list[tuple[str, dict[str, Any]]] = []
        self.ini: dict[str, str] = {}

    def getgroup(self, *_: object) -> OptionRecorder:
        return self

    def addoption(self, flag: str, **about: Any) -> None:
        self.options.append((flag, about))

    def addini(self, name: str, text: str, **_: object) -> None:
        self.ini[name] = text


def pytest_options() -> OptionRecorder:
    """What the plugin adds to pytest."""
    recorder = OptionRecorder()
    plugin.pytest_addoption(recorder)  # type: ignore[arg-type]
    return recorder


def suite_options() -> OptionRecorder:
    """What the suite in benchmarks/ adds to pytest."""
    from benchmarks import conftest

    recorder = OptionRecorder()
    conftest.pytest_addoption(recorder)  # type: ignore[arg-type]
    return recorder


def programs() -> dict[str, argparse.ArgumentParser]:
    """The parser of each program."""
    return {parser.prog: parser for parser in (cli.parser(), tsbench_cli.parser())}


def commands() -> Iterator[tuple[str, str, argparse.ArgumentParser]]:
    """How each command is called, its line, and its parser."""
    for program, parser in programs().items():
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for choice in action._choices_actions:
                    yield f"{program} {choice.dest}", choice.help or "", action.choices[choice.dest]


def variables_in_code() -> set[str]:
    """The environment variables of the two packages."""
    sources = (
        path.read_text(encoding="utf8") for package in PACKAGES for path in package.rglob("*.py")
    )
    return {
        name
        for source in sources
        for name in re.findall(r'"((?:PYTEST_ENERGY|TSBENCH)_[A-Z_]+)"', source)
    }


def json_keys(schema: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Path, type and description of every key of the saved run."""

    def walk(node: dict[str, Any], path: str) -> Iterator[tuple[str, str, str]]:
        about = node.get("description", "")
        nodes = [node]
        while reference := nodes[-1].get("$ref"):
            nodes.append(schema["$defs"][reference.rsplit("/", 1)[1]])
            about = about or nodes[-1].get("description", "")
        node = nodes[-1]
        if path:
            yield path, json_type(node), about
        for choice in (node, *node.get("anyOf", ())):
            while "$ref" in choice:
                choice = schema["$defs"][choice["$ref"].rsplit("/", 1)[1]]
            for name, below in choice.get("properties", {}).items():
                yield from walk(below, f"{path}.{name}" if path else name)
            for key, step in (("items", "[]"), ("additionalProperties", ".NAME")):
                if isinstance(choice.get(key), dict):
                    yield from walk(choice[key], path + step)
            for number, below in enumerate(choice.get("prefixItems", ())):
                yield from walk(below, f"{path}[{number}]")

    def json_type(node: dict[str, Any]) -> str:
        if "const" in node:
            return str(node["const"])
        if "enum" in node:
            return ", ".join(str(each) for each in node["enum"])
        if "anyOf" in node:
            kinds = (
                json_type(
                    schema["$defs"][each["$ref"].rsplit("/", 1)[1]] if "$ref" in each else each
                )
                for each in node["anyOf"]
            )
            return " or ".join(kinds)
        kind = node.get("type", "")
        return kind if isinstance(kind, str) else " or ".join(kind)

    return walk(schema, "")


def cell(text: object) -> str:
    """A text as it may stand in a cell of a table."""
    return " ".join(str(text).replace("%%", "%").replace("|", "\\|").split())


def table(headings: tuple[str, ...], rows: list[tuple[object, ...]]) -> str:
    lines = [headings, ("---",) * len(headings), *rows]
    return "\n".join(f"| {' | '.join(cell(each) for each in line)} |" for line in lines)


def option_rows(recorder: OptionRecorder) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for flag, about in recorder.options:
        ini = flag.removeprefix("--").replace("-", "_")
        spelled = f"{flag} {about['metavar']}" if about.get("metavar") else flag
        rows.append((f"`{spelled}`", f"`{ini}`" if ini in recorder.ini else "", about["help"]))
    return rows


def argument_rows(parser: argparse.ArgumentParser) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        name = ", ".join(action.option_strings) or str(action.metavar or action.dest)
        takes = (
            f" {action.metavar or action.dest.upper()}"
            if action.option_strings and action.nargs != 0
            else ""
        )
        rows.append((f"`{name}{takes}`", action.help or ""))
    return rows


def first_line(thing: object) -> str:
    return (inspect.getdoc(thing) or "").split("\n\n")[0].replace("``", "`")


def page() -> str:
    """The whole page."""
    options, schema = (
        pytest_options(),
        json.loads((PACKAGES[0] / "runs" / "run.schema.json").read_text(encoding="utf8")),
    )
    of_energy = ", ".join(
        f"`{name}`" for name in [*(field.name for field in fields(Budget)), "tolerance"]
    )
    of_gps_up = ", ".join(f"`{field.name}`" for field in fields(Thresholds))
    texts = dict(marker.split(": ", 1) for marker in command_line.MARKERS)
    meant = {name.split("(")[0]: text for name, text in texts.items()}
    parts = [
        "# Reference",
        (
            "Made from the code by `python -m scripts.reference`. A test checks that nothing is "
            "missing."
        ),
        "## Options of pytest",
        (
            "Give an option on the command line, or by its ini key in the ini file. The command "
            "line overrides the ini file."
        ),
        table(("option", "ini key", ""), option_rows(options)),
        (
            "Shares are written `3%` or `0.03`. pytest-benchmark's own options "
            "(`--benchmark-autosave`, `--benchmark-json`, `--benchmark-disable`) work as always."
        ),
        "The suite in `benchmarks/` adds:",
        table(("option", "ini key", ""), option_rows(suite_options())),
        "## Markers",
        table(
            ("marker", "keywords, each a number above 0", ""),
            [("`energy`", of_energy, meant["energy"]), ("`gps_up`", of_gps_up, meant["gps_up"])],
        ),
        "## Fixtures",
        table(
            ("fixture", ""),
            [
                ("`energy`", first_line(EnergyFixture)),
                ("`energy(function, *args, **kwargs)`", first_line(EnergyFixture.__call__)),
                *(
                    (
                        f"`energy.{name}`"
                        if isinstance(value, property)
                        else f"`energy.{name}(...)`",
                        first_line(value),
                    )
                    for name, value in vars(EnergyFixture).items()
                    if not name.startswith("_")
                ),
                ("`benchmark`", first_line(MeasuredBenchmark)),
            ],
        ),
        "## Hooks",
        table(
            ("hook of a conftest", ""),
            [("`pytest_energy_synchronize()`", first_line(hookspecs.pytest_energy_synchronize))],
        ),
        "## Exit codes",
        table(
            ("of", "code", "means"),
            [
                (of, code if isinstance(code, str) else int(code), text)
                for of, code, text in EXIT_CODES
            ],
        ),
        "## Commands",
    ]
    for name, about, parser in commands():
        parts += [f"### `{name}`", cell(about[:1].upper() + about[1:]).rstrip(".") + "."]
        if rows := argument_rows(parser):
            parts.append(table(("argument", ""), rows))
    parts += [
        "## Environment variables",
        table(("variable", ""), [(f"`{name}`", text) for name, text in sorted(VARIABLES.items())]),
        "## JSON keys of a saved run",
        (
            "pytest-benchmark's file, with this plugin's keys under `energy`. The schema is "
            "`pytest_energy/runs/run.schema.json` in the package."
        ),
        table(
            ("key", "type", ""),
            [(f"`{path}`", kind, about) for path, kind, about in json_keys(schema)],
        ),
    ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf8")
    api_page.PAGE.write_text(api_page.page(), encoding="utf8")
