"""Where each side of ``--energy-against`` runs its tests, and with which arguments of pytest.

Workers never get the user's command line as text. `split_command_line` parses it, and only options
that select tests or change how they run are passed on. Any other option could make a worker write
the user's files (docs/security.md).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from pytest_energy.commits.checkout import Checkout
from pytest_energy.commits.git import printable
from pytest_energy.commits.protocol import Collect
from pytest_energy.errors import OptionError

# How many values an option takes: argparse's nargs, and 0 for a switch.
Values = int | str | None
# Options of pytest that select tests or change how they are imported and run.
SELECTING: dict[str, Values] = dict.fromkeys((
    "-k", "-m", "-p", "-W", "--pythonwarnings", "-o", "--override-ini", "-c", "--config-file",
    "--rootdir", "--confcutdir", "--import-mode", "--assert", "--deselect", "--ignore",
    "--ignore-glob", "--doctest-glob",
)) | dict.fromkeys((
    "--pyargs", "--noconftest", "--keep-duplicates", "--collect-in-virtualenv",
    "--doctest-modules", "--doctest-ignore-import-errors", "--runxfail",
    "--strict", "--strict-markers", "--strict-config",
), 0)  # fmt: skip
# Options of other plugins that decide whether and how a project's tests run.
OF_PLUGINS: dict[str, Values] = dict.fromkeys((
    "--asyncio-mode", "--ds", "--dc", "--hypothesis-profile", "--hypothesis-seed",
)) | dict.fromkeys(("--nomigrations", "--no-migrations"), 0)  # fmt: skip
# This plugin's options that change how windows are taken.
OF_ENERGY: dict[str, Values] = dict.fromkeys((
    "--energy-meter", "--energy-watts", "--energy-quantisation",
))  # fmt: skip
PASSED_ON = SELECTING | OF_PLUGINS | OF_ENERGY
# In the values of these, a path in the user's tree becomes the same path in the commit's tree.
PATH_OPTIONS = frozenset({
    "-c", "--config-file", "--rootdir", "--confcutdir", "--ignore", "--ignore-glob",
})  # fmt: skip
# Ini settings that write files, or that add the options that were left out.
REFUSED_INI = ("addopts", "log_file", "cache_dir")
WORKER_ARGUMENTS = (
    *("--energy", "-o", "addopts=", "-p", "no:pastebin"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),
)
# Added to a worker's arguments, unless the plugin that has the option is switched off.
ARGUMENTS_OF_PLUGINS = {
    "benchmark": ("--benchmark-disable",),
    "logging": ("-o", "log_file="),
    "cacheprovider": ("-o", "cache_dir=$TMPDIR/pytest-cache"),  # pytest expands the variable
}


@dataclass(frozen=True)
class CommandLine:
    """A parsed command line of pytest."""

    options: tuple[tuple[str, tuple[str, ...]], ...]
    """(name, values) in order."""
    paths: tuple[str, ...]
    """Files, folders and node ids."""


@dataclass(frozen=True)
class Side:
    """Where the tests of one side run, and with which arguments."""

    label: str
    python: str
    folder: Path
    options: tuple[str, ...]
    paths: tuple[str, ...]
    import_paths: tuple[str, ...]
    """Goes to the front of sys.path."""
    tree: Path
    """The top of this side's tree."""
    forbidden_tree: str = ""
    """No module may come from this tree: the user's, for the other commit's worker."""
    root: Path | None = None
    """pytest's rootdir, from which node ids start; None if it is unknown."""

    def of_test(self, test: str) -> Side:
        """This side with the file of one test only: its process starts sooner."""
        if self.root is None:
            return self
        file = os.path.relpath(self.root / test.partition("::")[0], self.folder)
        return replace(self, paths=(file,), options=(*self.options, f"--rootdir={self.root}"))

    def collect(self) -> Collect:
        """The first message to a worker of this side."""
        return Collect(
            str(self.folder),
            self.options,
            self.paths,
            self.import_paths,
            str(self.tree),
            self.forbidden_tree,
        )


def this_tree_side(
    repo: Path, folder: Path, command_line: CommandLine, root: Path | None = None
) -> Side:
    """The user's own tree as it is, with what is not committed. ``root``: pytest's rootdir."""
    options, paths = worker_arguments(command_line, repo, folder)
    return Side(
        "this tree",
        sys.executable,
        folder,
        options,
        paths,
        _import_paths(repo, repo),
        repo,
        root=root,
    )


def commit_side(
    checkout: Checkout,
    label: str,
    folder: Path,
    command_line: CommandLine,
    python: str | None,
    root: Path | None = None,
) -> Side:
    """The same folder and arguments in the checkout. `OptionError` if it lacks the folder."""
    relative = folder.relative_to(checkout.repo)
    if not (checkout.path / relative).is_dir():
        raise OptionError(f"{label} has no folder {printable(relative)}: run from one that it has")
    options, paths = worker_arguments(command_line, checkout.repo, folder)
    return Side(
        label,
        python or sys.executable,
        checkout.path / relative,
        options,
        paths,
        _import_paths(checkout.repo, checkout.path),
        checkout.path,
        str(checkout.repo),
        _moved(root, checkout),
    )


def _moved(root: Path | None, checkout: Checkout) -> Path | None:
    """pytest's rootdir in the checkout; None if it is outside of the repository."""
    if root is None or not root.is_relative_to(checkout.repo):
        return None
    return checkout.path / root.relative_to(checkout.repo)


def split_command_line(arguments: Iterable[str], values_of: Mapping[str, Values]) -> CommandLine:
    """Parse a command line, given how many values each option takes.

    >>> split_command_line(["tests", "-xk", "a or b", "--html=o"], {"-x": 0, "-k": None})
    CommandLine(options=(('-x', ()), ('-k', ('a or b',)), ('--html', ('o',))), paths=('tests',))
    """
    options: list[tuple[str, tuple[str, ...]]] = []
    paths: list[str] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == "--":
            paths += rest
            break
        if argument.startswith("--"):
            name, equals, value = argument.partition("=")
            taken = (value,) if equals else _take_values(values_of.get(name, 0), rest)
            options.append((name, taken))
        elif argument.startswith("-") and len(argument) > 1:
            options += _short_options(argument[1:], values_of, rest)
        else:
            paths.append(argument)
    return CommandLine(tuple(options), tuple(paths))


def _short_options(
    letters: str, values_of: Mapping[str, Values], rest: list[str]
) -> list[tuple[str, tuple[str, ...]]]:
    """The options of one argument such as ``-xvk``. The last may have its value in it."""
    found: list[tuple[str, tuple[str, ...]]] = []
    while letters:
        name, letters = "-" + letters[0], letters[1:]
        if values_of.get(name, 0) == 0:
            found.append((name, ()))
            continue
        inside = letters.removeprefix("=")
        found.append((name, (inside,) if letters else _take_values(values_of[name], rest)))
        break
    return found


def _take_values(values: Values, rest: list[str]) -> tuple[str, ...]:
    """Take an option's values off the front of ``rest``, as argparse does."""
    if isinstance(values, int) or values is None:
        number = 1 if values is None else values
        return tuple(rest.pop(0) for _ in range(min(number, len(rest))))
    taken: list[str] = []
    while rest and not rest[0].startswith("-") and not (values == "?" and taken):
        taken.append(rest.pop(0))
    return tuple(taken)


def worker_arguments(
    command_line: CommandLine, repo: Path, folder: Path
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The options and the paths for a worker, which are the same for both sides.

    ``command_line`` holds only options that may be passed on. Paths inside ``repo`` become
    relative, since each worker runs in its own side's ``folder``.
    """
    options: list[str] = []
    for name, values in command_line.options:
        if name in ("-o", "--override-ini") and "".join(values).partition("=")[0] in REFUSED_INI:
            continue
        moved = [_relative(v, repo, folder) if name in PATH_OPTIONS else v for v in values]
        options += [f"{name}={moved[0]}"] if name[:2] == "--" and moved else [name, *moved]
    options += WORKER_ARGUMENTS
    for plugin, added in ARGUMENTS_OF_PLUGINS.items():
        if ("-p", f"no:{plugin}") not in pairwise(options):
            options += added
    return tuple(options), tuple(_relative(path, repo, folder) for path in command_line.paths)


def _relative(argument: str, repo: Path, folder: Path) -> str:
    """An absolute path or node id inside the repository, relative to ``folder``."""
    path, separator, test = argument.partition("::")
    if not os.path.isabs(path):
        return argument
    resolved = Path(path).resolve()
    if not resolved.is_relative_to(repo):
        return argument
    return f"{os.path.relpath(resolved, folder)}{separator}{test}"


def _import_paths(repo: Path, root: Path) -> tuple[str, ...]:
    """sys.path inside the repository, moved to ``root``; ``src`` and the top come first."""
    inside = [Path(entry or os.curdir).resolve() for entry in sys.path]
    wanted = [repo / "src", repo, *inside]
    relative = [
        path.relative_to(repo)
        for path in wanted
        if path.is_relative_to(repo) and "site-packages" not in path.parts
    ]
    return tuple(dict.fromkeys(str(root / path) for path in relative))
