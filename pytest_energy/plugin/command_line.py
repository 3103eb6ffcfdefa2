"""This plugin's options of pytest: how they are registered, read and checked."""

from __future__ import annotations

import copy
from importlib.util import find_spec
from typing import Any

import pytest

from pytest_energy.errors import OptionError
from pytest_energy.options import OPTIONS, Options
from pytest_energy.plugin.stash import OPTIONS_KEY, WORKER

COMPARE = "--energy-compare"
AGAINST = "--energy-against"
# Options without an ini key: each belongs to one run. (flag, metavar, help)
OF_ONE_RUN = (
    (
        COMPARE,
        "RUN",
        "Compare this run with a saved one: the newest, or --energy-compare=RUN, a file or folder.",
    ),
    (AGAINST, "REV", "Compare this tree with a commit, live, test by test; repeat it for others."),
    (
        "--energy-against-python",
        "PYTHON",
        "Run REV's tests with this interpreter, if they need another environment.",
    ),
    ("--energy-markdown", "FILE", "Write a pull request's comment about this run."),
    ("--energy-report", "FILE", "Write this run as a page that opens anywhere."),
)
MARKERS = (
    (
        "energy(max_joules, max_watts, max_seconds, max_instructions, tolerance): limits per call, "
        "all optional."
    ),
    "gps_up(speedup, greenup, work): ratios that energy.versus must reach, all optional.",
)
COUNT = "--energy-count"
REQUIRE_ENERGY = (COMPARE, AGAINST, "--energy-markdown", "--energy-report")


def measures(config: pytest.Config) -> bool:
    """Whether this run measures, or only counts work."""
    return bool(config.getoption("--energy")) or counts_only(config)


def counts_only(config: pytest.Config) -> bool:
    """Whether the command line has ``--energy-count`` and no ``--energy``."""
    return bool(config.getoption(COUNT)) and not config.getoption("--energy")


def register(parser: pytest.Parser) -> None:
    """Add the options to pytest's command line and ini file."""
    group = parser.getgroup("energy", "energy: joules, watts and seconds")
    group.addoption(
        "--energy", action="store_true", default=False, help="Measure energy, and gate it."
    )
    for flag, metavar, text in OF_ONE_RUN:
        # pytest parses once before `complete_bare_compare` runs: the value is optional until then.
        how: dict[str, Any] = {"nargs": "?", "const": ""} if flag == COMPARE else {}
        if flag == AGAINST:
            how["action"] = "append"
        group.addoption(flag, metavar=metavar, default=None, help=text, **how)
    for option in OPTIONS:
        # argparse reads a single % as a format.
        text = option.help.replace("%", "%%")
        if option.parse is None:
            group.addoption(option.flag, action="store_true", default=None, help=text)
            parser.addini(option.ini, option.help, type="bool", default=False)
        else:
            group.addoption(option.flag, metavar=option.metavar, default=None, help=text)
            parser.addini(option.ini, option.help, default="")


def complete_bare_compare(
    config: pytest.Config, parser: pytest.Parser, arguments: list[str]
) -> None:
    """Rewrite ``--energy-compare`` to ``--energy-compare=``, so that it never takes the argument
    after it.

    pytest parses ``arguments`` after its hook pytest_load_initial_conftests. It has parsed them
    once before, to find the initial conftest files: those paths are corrected here.
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    if COMPARE not in arguments[:end]:
        return
    arguments[:end] = [f"{COMPARE}=" if each == COMPARE else each for each in arguments[:end]]
    known = parser.parse_known_args(arguments, namespace=copy.copy(config.option))
    config.known_args_namespace.file_or_dir = known.file_or_dir


def given_texts(config: pytest.Config) -> dict[str, Any]:
    """The text of each option: the command line's, or else the ini file's."""
    given = {}
    for option in OPTIONS:
        value = config.getoption(option.flag)
        try:
            given[option.name] = config.getini(option.ini) if value is None else value
        except (ValueError, pytest.UsageError) as error:
            raise pytest.UsageError(f"{option.ini} in the ini file: {error}") from None
    return given


def options_of(config: pytest.Config) -> Options:
    """The options of this run, parsed on first use."""
    if OPTIONS_KEY not in config.stash:
        try:
            config.stash[OPTIONS_KEY] = Options.of(given_texts(config))
        except OptionError as error:
            raise pytest.UsageError(str(error)) from None
    return config.stash[OPTIONS_KEY]


def check(config: pytest.Config) -> None:
    """Refuse wrong options before anything is measured. Raises `pytest.UsageError`."""
    if any(given_texts(config).values()):
        options_of(config)  # a wrong value is refused without --energy too
    if WORKER in config.stash:
        return
    if not measures(config):
        for flag in REQUIRE_ENERGY:
            if config.getoption(flag) is not None:
                raise pytest.UsageError(
                    f"{flag} requires --energy or {COUNT}: without them, nothing is measured"
                )
        return
    if (
        hasattr(config, "workerinput")
        or config.getoption("dist", "no") != "no"
        or config.getoption("numprocesses", None)
    ):
        if counts_only(config):
            raise pytest.UsageError(
                f"{COUNT} cannot run with xdist's workers: each would count the tests again; use "
                "-n 0"
            )
        raise pytest.UsageError(
            "--energy cannot run with xdist's workers side by side: the counters belong to the "
            "whole machine, and each worker's joules would contain the others'; use -n 0"
        )
    if config.getoption("--energy-report") and find_spec("vl_convert") is None:
        raise pytest.UsageError(
            '--energy-report needs vl-convert-python: pip install "pytest-energy[report]"'
        )
