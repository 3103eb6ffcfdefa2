"""Flags of the commands that are options of the plugin too: one table, one meaning."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from pytest_energy.cli.project_settings import as_switch, read_project_settings
from pytest_energy.errors import OptionError
from pytest_energy.options import BY_NAME, Option, Options


def add_options(command: argparse.ArgumentParser, *names: str) -> None:
    """Add options of the plugin's table to a command: ``tolerance`` as ``--tolerance``."""
    for name in names:
        option = BY_NAME[name]
        # argparse takes a single % for a format.
        help_text = f"{option.help.replace('%', '%%')} Default: {option.ini} of the project."
        if option.parse is None:
            command.add_argument(_flag(option), action="store_true", default=None, help=help_text)
        else:
            command.add_argument(_flag(option), metavar=option.metavar, help=help_text)


def read_options(arguments: argparse.Namespace, *names: str) -> Options:
    """These options: the command line's, else the project's. Raises `OptionError`."""
    project = read_project_settings(Path.cwd())
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
