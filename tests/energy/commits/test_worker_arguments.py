"""Which part of a command line reaches the workers of ``--energy-against``."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_energy.commits.bisect import worker_command_line
from pytest_energy.commits.worker_arguments import (
    ARGUMENTS_OF_PLUGINS,
    PASSED_ON,
    WORKER_ARGUMENTS,
    CommandLine,
    split_command_line,
    worker_arguments,
)
from pytest_energy.errors import OptionError

REPO = Path("/repo")
VALUES = PASSED_ON | {"-x": 0, "-v": 0, "--html": None, "--maybe": "?", "--several": "*"}


@pytest.mark.parametrize(
    ("arguments", "options", "paths"),
    [
        (["-k", "tests"], [("-k", ("tests",))], []),
        (["-xvktests", "t.py"], [("-x", ()), ("-v", ()), ("-k", ("tests",))], ["t.py"]),
        (["-k=-m"], [("-k", ("-m",))], []),
        (["--html", "o.html", "t.py"], [("--html", ("o.html",))], ["t.py"]),
        (["--maybe", "a", "b"], [("--maybe", ("a",))], ["b"]),
        (["--maybe=", "b"], [("--maybe", ("",))], ["b"]),
        (["--maybe", "-x"], [("--maybe", ()), ("-x", ())], []),
        (["--several", "a", "b", "-x"], [("--several", ("a", "b")), ("-x", ())], []),
        (["--", "-k", "t.py"], [], ["-k", "t.py"]),
        (["--unknown", "t.py", "-"], [("--unknown", ())], ["t.py", "-"]),
        (["-k"], [("-k", ())], []),
    ],
)
def test_a_command_line_is_taken_apart_as_argparse_does(arguments, options, paths):
    assert split_command_line(arguments, VALUES) == CommandLine(tuple(options), tuple(paths))


@given(st.lists(st.text()))
def test_any_command_line_is_taken_apart(arguments):
    split_command_line(arguments, VALUES)


def test_paths_are_the_same_for_both_sides():
    """Only what is a path becomes relative: a value may have the name of a folder by chance."""
    command_line = split_command_line(
        [
            "/repo/tests/test_a.py::test[/x]", "sub/test_b.py", "/elsewhere/test_c.py",
            "-k", "/repo/tests", "--ignore=/repo/tests/slow", "-c", "/repo/other.ini",
        ],
        PASSED_ON,
    )  # fmt: skip
    options, paths = worker_arguments(command_line, REPO, REPO / "tests")
    assert paths == ("test_a.py::test[/x]", "sub/test_b.py", "/elsewhere/test_c.py")
    assert options[:5] == ("-k", "/repo/tests", "--ignore=slow", "-c", "../other.ini")


def test_settings_that_write_or_bring_options_back_are_left_out():
    command_line = split_command_line(
        ["-o", "log_file=x.log", "--override-ini=addopts=--junitxml=x", "-o", "a=b", "-o"],
        PASSED_ON,
    )
    options, _ = worker_arguments(command_line, REPO, REPO)
    assert options[: 3 + len(WORKER_ARGUMENTS)] == ("-o", "a=b", "-o", *WORKER_ARGUMENTS)
    assert "x.log" not in " ".join(options)


@pytest.mark.parametrize("plugin", ARGUMENTS_OF_PLUGINS)
def test_options_of_a_plugin_that_is_off_are_left_out(plugin):
    options, _ = worker_arguments(split_command_line([f"-pno:{plugin}"], PASSED_ON), REPO, REPO)
    assert ARGUMENTS_OF_PLUGINS[plugin][-1] not in options
    options, _ = worker_arguments(CommandLine((), ()), REPO, REPO)
    assert ARGUMENTS_OF_PLUGINS[plugin][-1] in options


def test_bisect_refuses_options_that_workers_do_not_take(monkeypatch):
    monkeypatch.setenv("PYTEST_ADDOPTS", "--junitxml=o.xml -m 'not slow'")
    addopts = ["--import-mode=importlib", "--html", "o.html"]
    assert worker_command_line(["-k", "a", "t.py"], addopts) == CommandLine(
        (("--import-mode", ("importlib",)), ("-m", ("not slow",)), ("-k", ("a",))), ("t.py",)
    )
    with pytest.raises(OptionError, match="bisect does not pass --junitxml on to pytest"):
        worker_command_line(["--junitxml=o.xml"], [])
