"""Find saved runs in files and folders, and load their summaries."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from pytest_energy.errors import RunError, RunUnreadable, RunWithoutJoules
from pytest_energy.runs.json_format import read_run
from pytest_energy.runs.summary import RunSummary, summarize_run

# Older runs describe the machine as it was, not as it is.
DEFAULT_LAST = 10


def load_runs(
    path: str | Path,
    last: int = DEFAULT_LAST,
    on_skip: Callable[[str], object] = lambda line: None,
) -> tuple[RunSummary, ...]:
    """The run in a file, or the newest ``last`` runs in a folder, oldest first.

    A folder has the layout of pytest-benchmark: runs are in it or one level further down. In a
    folder, runs that were saved without ``--energy`` are skipped, and so are broken files:
    ``on_skip`` gets a line for each of these. Raises `RunUnreadable` for a file that is not a run,
    and for a folder without runs.
    """
    path = Path(path)
    if not path.is_dir():
        return (summarize_run(read_run(path)),)
    files = _files_in(path)
    broken: list[str] = []
    runs = _newest(files, last, broken)
    for line in broken:
        on_skip(line)
    if not runs:
        raise RunUnreadable(
            f"{path}: {_no_runs(files, broken)}; save one with pytest --energy --benchmark-autosave"
        )
    return tuple(runs)


def _no_runs(files: list[Path], broken: list[str]) -> str:
    if broken:
        return f"none of {len(files)} files is a run with joules"
    return (
        f"all {len(files)} runs were saved without --energy" if files else "no saved runs (*.json)"
    )


def run_files(paths: Iterable[str | Path]) -> list[tuple[Path, bool]]:
    """Each file once, with whether the user named it; the files of a folder are not named.

    Raises `RunUnreadable` for a path that does not exist.
    """
    files: dict[Path, bool] = {}
    for path in map(Path, paths):
        if path.is_dir():
            for file in _files_in(path):
                files.setdefault(file, False)
        elif path.exists():
            files[path] = True
        else:
            raise RunUnreadable(f"{path}: no such file or folder")
    return list(files.items())


def _files_in(folder: Path) -> list[Path]:
    return sorted([*folder.glob("*.json"), *folder.glob("*/*.json")])


def _newest(files: list[Path], last: int, broken: list[str]) -> list[RunSummary]:
    """The newest ``last`` runs with joules, oldest first. Adds a line to ``broken`` per file."""
    numbers = [_number(file) for file in files]
    if None not in numbers and len({file.parent for file in files}) == 1:
        # pytest-benchmark numbers the runs of one folder: the newest ones are enough to read.
        newest_first: list[RunSummary] = []
        for _, file in sorted(zip(numbers, files, strict=True), reverse=True):
            newest_first += _with_joules(file, broken)
            if len(newest_first) == last:
                break
        return newest_first[::-1]
    runs = [run for file in files for run in _with_joules(file, broken)]
    return sorted(runs, key=lambda run: (run.at, run.path))[-last:]


def _with_joules(file: Path, broken: list[str]) -> list[RunSummary]:
    try:
        return [summarize_run(read_run(file))]
    except RunWithoutJoules:
        return []
    except RunError as error:
        broken.append(str(error))
        return []


def _number(file: Path) -> int | None:
    number = re.match(r"(\d{4,})_", file.name)
    return int(number[1]) if number else None
