"""What the parsers of the commands share: their help, and the options of the plugin's table."""

from __future__ import annotations

import argparse
import math
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from pytest_energy.cli.exit_codes import ExitCode
from pytest_energy.cli.project_settings import as_switch, read_project_settings
from pytest_energy.errors import OptionError
from pytest_energy.options import BY_NAME, Option, Options

Commands = argparse._SubParsersAction
Format = Literal["text", "json", "markdown", "csv", "prometheus", "openmetrics", "parquet"]

HELP_WIDTH = 80
NOT_DONE = {ExitCode.UNUSABLE: "not done; one line gives the reason"}


class CommandHelp(NamedTuple):
    """The help of one command."""

    summary: str
    """One line, for the list of commands."""
    description: str
    example: str
    exit_codes: Mapping[ExitCode, str]
    """What each code means here; the one for faults is the same everywhere."""


def new_command(
    commands: Commands[argparse.ArgumentParser], name: str, about: CommandHelp
) -> argparse.ArgumentParser:
    """The parser of a command, with an example and the exit codes in its help."""
    codes = sorted({**NOT_DONE, **about.exit_codes}.items())
    shown = "\n".join(f"  {int(code)}  {meaning}" for code, meaning in codes)
    return commands.add_parser(
        name,
        help=about.summary,
        description=textwrap.fill(about.description, HELP_WIDTH),
        epilog=f"example:\n  {about.example}\n\nexit codes:\n{shown}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_format(command: argparse.ArgumentParser, *formats: Format) -> None:
    """Add ``--format``; the first format is the default."""
    command.add_argument(
        "--format",
        choices=formats,
        default=formats[0],
        help=f"Print {', '.join(formats[:-1])} or {formats[-1]} (default: {formats[0]}).",
    )


def add_options(command: argparse.ArgumentParser, *names: str) -> None:
    """Add options of the plugin's table to a command: ``tolerance`` as ``--tolerance``."""
    for name in names:
        option = BY_NAME[name]
        # argparse reads a single % as a format.
        help_text = f"{option.help.replace('%', '%%')} Project setting: {option.ini}."
        if option.parse is None:
            command.add_argument(_flag(option), action="store_true", default=None, help=help_text)
        else:
            command.add_argument(_flag(option), metavar=option.metavar, help=help_text)


def read_options(arguments: argparse.Namespace, *names: str) -> Options:
    """These options: the command line's, else the project's. Raises `OptionError`."""
    project = read_project_settings(current_folder())
    given, sources = {}, {}
    for name in names:
        option = BY_NAME[name]
        text = getattr(arguments, name, None)
        sources[name] = _flag(option)
        if text is None and option.ini in project.values:
            sources[name] = f"{option.ini} of {project.file}"
            text = project.values[option.ini]
            if option.parse is None:
                try:
                    text = as_switch(text)
                except ValueError as error:
                    raise OptionError(f"{sources[name]} takes {error}, not {text!r}") from None
        given[name] = text if text is None or isinstance(text, bool) else str(text)
    return Options.of(given, sources)


def current_folder() -> Path:
    """The current folder. Raises `OptionError` if it no longer exists."""
    try:
        return Path.cwd()
    except OSError as error:
        raise OptionError(
            f"the current folder is unavailable: {error.strerror}; change to another folder"
        ) from None


def _flag(option: Option) -> str:
    return "--" + option.name.replace("_", "-")


def parse_seconds(text: str) -> float:
    """A ``--seconds`` above 0. Raises `OptionError`."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise OptionError(f"--seconds takes a number above 0, not {text!r}")
    return seconds
