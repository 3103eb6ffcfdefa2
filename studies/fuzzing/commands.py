"""Whole commands on broken files, in this process, with their output read."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from random import Random

from pytest_energy import cli
from studies.fuzzing import parsers, seeds
from studies.fuzzing.mutations import Texts, Trees
from studies.fuzzing.target import Target, json_maker, lines_maker, text_maker
from tsbench import cli as tsbench_cli

# What a terminal may get: printable characters, line breaks and tabs.
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
NOT_DONE = 2
FAULT = re.compile(r"a fault of|Traceback \(most recent")


class Refused(Exception):
    """The command ended with exit code 2 and one line."""


class Command(Target):
    """A command on the file of the case. `codes` are its documented exit codes."""

    errors = (Refused,)

    def __init__(
        self,
        path: Path,
        make: Callable[[Random], bytes],
        arguments: list[str],
        codes: tuple[int, ...] = (0, 2),
        main: Callable[[list[str]], int] = cli.main,
        written: Path | None = None,
    ):
        self._path, self._make, self._arguments = path, make, arguments
        self._codes, self._main, self._written = codes, main, written

    def case(self, dice: Random) -> None:
        self._path.write_bytes(self._make(dice))
        run(self._main, self.arguments(dice), self._codes)
        if self._written is not None and CONTROL.search(self._written.read_text(encoding="utf8")):
            raise AssertionError(f"control characters in {self._written}")

    def arguments(self, dice: Random) -> list[str]:
        """The command line."""
        return self._arguments

    def last(self) -> bytes:
        return self._path.read_bytes()


def run(main: Callable[[list[str]], int], arguments: list[str], codes: tuple[int, ...]) -> None:
    """Run a command. Raises `Refused`, or AssertionError for what no command may do."""
    # Encode as a terminal does.
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf8") for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(arguments)
        except SystemExit as ended:  # of argparse
            code = int(ended.code or 0)
    printed, message = (_text(stream) for stream in (out, err))
    if code not in codes:
        raise AssertionError(f"exit code {code}: {message}")
    if FAULT.search(printed + message):
        raise AssertionError(f"a fault: {message}")
    if found := CONTROL.search(printed + message):
        raise AssertionError(f"{found[0]!r} in {printed!r} {message!r}")
    if code == NOT_DONE:
        if not message.strip():
            raise AssertionError("exit code 2 without a line that says why")
        raise Refused(message.strip().splitlines()[-1])


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    return stream.buffer.getvalue().decode("utf8")  # type: ignore[attr-defined]


def of_run(*arguments: str, codes: tuple[int, ...] = (0, 2)) -> Callable[[Path], Target]:
    """A command on a changed run, CASE; VALID and FOLDER are a valid run and a folder with both."""

    def target(folder: Path) -> Target:
        runs = folder / "runs"
        runs.mkdir()
        documents = seeds.saved_runs(folder / "seeds")
        (runs / "valid.json").write_text(json.dumps(documents[1]), encoding="utf8")
        names = {
            "CASE": str(runs / "case.json"),
            "VALID": str(runs / "valid.json"),
            "FOLDER": str(runs),
            "OUTPUT": str(folder / "output"),
        }
        return Command(
            runs / "case.json",
            json_maker(Trees(documents)),
            [names.get(argument, argument) for argument in arguments],
            codes,
        )

    return target


def journal(folder: Path) -> Target:
    """`export` of the journal of a killed run."""
    make = lines_maker(Trees(parsers.journal_lines(folder / "seeds")))
    path = folder / "case.jsonl"
    return Command(path, make, ["export", str(path)])


def report(folder: Path) -> Target:
    """`report`, without the code of the charts: unpacking it takes 0.1 s each time."""
    parsers.leave_charts_out()
    return of_run("report", "CASE", "VALID", "--output", "OUTPUT")(folder)


class WithOptions(Command):
    """`compare` of two valid runs with any texts for its options."""

    names = ("tolerance", "alpha", "quality-tolerance", "count-tolerance", "carbon-intensity")

    def __init__(self, folder: Path):
        document = json.dumps(seeds.saved_runs(folder / "seeds")[1]).encode()
        super().__init__(folder / "case.json", lambda dice: document, [], (0, 1, 2, 3))
        self._texts = Texts(parsers.OPTION_TEXTS)
        self._last: list[str] = []

    def arguments(self, dice: Random) -> list[str]:
        """The command line."""
        texts = [self._texts.changed(dice).decode("utf8", "surrogateescape") for _ in range(2)]
        options = [f"--{name}={text}" for name, text in zip(dice.sample(self.names, 2), texts)]
        self._last = ["compare", str(self._path), str(self._path), *options]
        return self._last

    def last(self) -> bytes:
        return repr(self._last).encode()


class WithSettings(Command):
    """`compare` in a project whose settings are broken."""

    def __init__(self, folder: Path):
        path = folder / "run.json"
        path.write_text(json.dumps(seeds.saved_runs(folder / "seeds")[1]), encoding="utf8")
        arguments = ["compare", str(path), str(path)]
        super().__init__(
            folder / "pyproject.toml", text_maker(*parsers.PROJECT), arguments, (0, 1, 2, 3)
        )
        os.chdir(folder)


def sweep_table(*options: str) -> Callable[[Path], Target]:
    """`tsbench table` of a folder with a broken record."""

    def target(folder: Path) -> Target:
        make = json_maker(Trees([parsers.sweep_record(), parsers.training_record()]))
        results = folder / "results"
        results.mkdir()
        (results / "valid.json").write_text(json.dumps(parsers.sweep_record()), encoding="utf8")
        arguments = ["table", str(results), *options]
        return Command(results / "case.json", make, arguments, main=tsbench_cli.main)

    return target


def sweep_dry_run(folder: Path) -> Target:
    """`tsbench sweep --dry-run` of a broken spec."""
    offline(folder)
    path = folder / "spec.toml"
    arguments = ["sweep", str(path), "--dry-run", "--out", str(folder / "out")]
    return Command(path, text_maker(parsers.SWEEP), arguments, main=tsbench_cli.main)


def data(suffix: str) -> Callable[[Path], Target]:
    """`tsbench sweep --dry-run` of a dataset whose training file is broken."""

    def target(folder: Path) -> Target:
        offline(folder)
        dataset = folder / "A"
        dataset.mkdir()
        valid = seeds.DATA[suffix][0]
        (dataset / f"A_TEST{suffix}").write_bytes(valid)
        (folder / "spec.toml").write_text('datasets = ["A"]\nconfigs = ["student"]\n')
        arguments = ["sweep", str(folder / "spec.toml"), "--dry-run", "--out", str(folder / "out")]
        make = text_maker(valid)
        return Command(dataset / f"A_TRAIN{suffix}", make, arguments, main=tsbench_cli.main)

    return target


def offline(folder: Path) -> None:
    """Let datasets come from this folder alone."""
    variables = {"TSBENCH_DATA": str(folder), "TSBENCH_CACHE": str(folder / "cache")}
    os.environ.update(variables, TSBENCH_OFFLINE="1")


CODES = (0, 1, 2, 3)
COMMANDS: dict[str, Callable[[Path], Target]] = {
    "cmd:compare": of_run("compare", "VALID", "CASE", codes=CODES),
    "cmd:compare-json": of_run("compare", "CASE", "VALID", "--format", "json", codes=CODES),
    "cmd:compare-markdown": of_run(
        *("compare", "VALID", "CASE", "--strict", "--format", "markdown"), codes=CODES
    ),
    "cmd:compare-folder": of_run("compare", "FOLDER", "CASE", "VALID", codes=CODES),
    "cmd:export-csv": of_run("export", "CASE", "VALID"),
    "cmd:export-prometheus": of_run("export", "FOLDER", "--format", "prometheus"),
    "cmd:export-parquet": of_run("export", "CASE", "--format", "parquet", "--output", "OUTPUT"),
    "cmd:export-journal": journal,
    "cmd:history": of_run("history", "CASE", "VALID"),
    "cmd:history-json": of_run("history", "FOLDER", "--format", "json"),
    "cmd:report": report,
    "cmd:options": WithOptions,
    "cmd:settings": WithSettings,
    "cmd:tsbench-table": sweep_table(),
    "cmd:tsbench-table-markdown": sweep_table("--markdown"),
    "cmd:tsbench-sweep": sweep_dry_run,
    **{f"cmd:tsbench-data-{suffix[1:]}": data(suffix) for suffix in seeds.DATA},
}
