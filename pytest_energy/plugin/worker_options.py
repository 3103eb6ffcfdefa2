"""This run's tree and command line for worker processes, from pytest's own parser."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_energy.commits.loaded_files import OWN_PACKAGE, in_tree
from pytest_energy.commits.worker_arguments import (
    PASSED_ON,
    CommandLine,
    Side,
    Values,
    split_command_line,
    worker_arguments,
)
from pytest_energy.plugin.command_line import COMPARE

if TYPE_CHECKING:
    import pytest


def worker_command_line(config: pytest.Config) -> CommandLine:
    """The command line for workers, parsed from ``addopts``, PYTEST_ADDOPTS and pytest's arguments.

    It keeps the options in `PASSED_ON` and those that the project itself defines.
    """
    values_of = option_values(config)
    allowed = PASSED_ON.keys() | project_defined_options(config)
    options: list[tuple[str, tuple[str, ...]]] = []
    # In pytest's order: a later option overrides an earlier one.
    for arguments in (
        config.getini("addopts"),
        shlex.split(os.environ.get("PYTEST_ADDOPTS", "")),
        config.invocation_params.args,
    ):
        given = split_command_line(map(os.fspath, arguments), values_of)
        options += [option for option in given.options if option[0] in allowed]
    return CommandLine(tuple(options), given.paths)


def this_tree(config: pytest.Config) -> Side:
    """This run's own tree and arguments, which need no git repository."""
    folder, root = config.invocation_params.dir, config.rootpath
    options, paths = worker_arguments(worker_command_line(config), root, folder)
    imports = _import_paths(root)
    return Side("this tree", sys.executable, folder, options, paths, imports, root, root=root)


def _import_paths(root: Path) -> tuple[str, ...]:
    """This process's sys.path inside the project: ``python -m pytest`` has the current folder."""
    paths = [Path(entry or ".").resolve() for entry in sys.path]
    inside = [path for path in paths if path.is_relative_to(root)]
    return tuple(str(path) for path in inside if "site-packages" not in path.parts)


def option_values(config: pytest.Config) -> dict[str, Values]:
    """How many values each option of this run takes. pytest has no public way to ask for it."""
    values: dict[str, Values] = {
        name: action.nargs for action in config._parser.optparser._actions
        for name in action.option_strings
    }  # fmt: skip
    return values | {COMPARE: 0}  # see `complete_bare_compare`


def project_defined_options(config: pytest.Config) -> set[str]:
    """The options that the project's conftest files and own plugins define: its tests depend on
    them."""
    recorder = _OptionRecorder()
    for plugin in config.pluginmanager.get_plugins():
        hook = getattr(plugin, "pytest_addoption", None)
        file = getattr(plugin, "__file__", None) or ""
        own = getattr(plugin, "__name__", "").startswith(OWN_PACKAGE)
        if hook is not None and not own and in_tree(file, config.rootpath):
            _call_with(hook, {"parser": recorder, "pluginmanager": config.pluginmanager})
    return recorder.names


def _call_with(hook: Any, known: Mapping[str, object]) -> None:
    """Call a hook with the arguments that it declares."""
    count = hook.__code__.co_argcount
    hook(*(known[name] for name in hook.__code__.co_varnames[:count]))


class _OptionRecorder:
    """Takes the place of `pytest.Parser` and keeps the names of options."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def addoption(self, *names: str, **attributes: object) -> None:
        self.names |= {name for name in names if name.startswith("-")}

    def getgroup(self, *given: object, **named: object) -> _OptionRecorder:
        return self

    def addini(self, *given: object, **named: object) -> None:
        """Ini settings are read by the worker itself."""
