"""A sweep's results folder: one JSON file per finished task, trained models, built variants."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from tsbench.data import cache
from tsbench.errors import TsbenchError
from tsbench.sweep import records
from tsbench.sweep.task import Done, Task

# Where the outputs of trainings and builds are, and their suffix.
OUTPUTS_OF = {"train": ("models", ".safetensors"), "build": ("built", ".zip")}
OUTPUTS = tuple(folder for folder, _ in OUTPUTS_OF.values())


class _Files(Protocol):
    """A folder of any kind, with atomic writes. Names are relative, with slashes."""

    def names(self) -> list[str]: ...
    def read(self, names: Sequence[str]) -> list[bytes]: ...
    def write(self, name: str, content: bytes) -> None: ...


class _Local:
    def __init__(self, folder: Path):
        self._folder = folder
        for each in (folder, *(folder / kind for kind in OUTPUTS)):
            cache.delete_parts(each)

    def names(self) -> list[str]:
        found = (path.relative_to(self._folder) for path in self._folder.rglob("*"))
        return sorted(path.as_posix() for path in found)

    def read(self, names: Sequence[str]) -> list[bytes]:
        return [(self._folder / name).read_bytes() for name in names]

    def write(self, name: str, content: bytes) -> None:
        cache.write_atomically(self._folder / name, content)


class _Remote:
    """Any URL that fsspec knows. Object stores write objects atomically.

    A request to one takes tenths of a second: thousands of results are listed by one, and read
    many at a time.
    """

    def __init__(self, url: str):
        try:
            from fsspec.core import url_to_fs

            self._system, self._root = url_to_fs(url)
        except ImportError as error:
            raise TsbenchError(
                f"--out {url}: {error}; pip install fsspec, and its package for this kind of URL"
            ) from None
        except ValueError as error:
            raise TsbenchError(f"--out {url}: {error}") from None
        self._folders: set[str] = set()

    def names(self) -> list[str]:
        self._system.invalidate_cache()  # another driver may have written since
        try:
            found = self._system.find(self._root)
        except FileNotFoundError:
            return []
        return sorted(path[len(self._root) :].lstrip("/") for path in found)

    def read(self, names: Sequence[str]) -> list[bytes]:
        paths = [f"{self._root}/{name}" for name in names]
        found = self._system.cat(paths) if paths else {}
        return [bytes(found[path]) for path in paths]

    def write(self, name: str, content: bytes) -> None:
        path = f"{self._root}/{name}"
        parent = path.rpartition("/")[0]
        if parent not in self._folders:
            self._system.makedirs(parent, exist_ok=True)
            self._folders.add(parent)
        self._system.pipe_file(path, content)


class Results:
    """Finished tasks, found by their keys."""

    def __init__(self, where: str):
        self.where = where
        self._files: _Files = _Remote(where) if "://" in where else _Local(Path(where))

    def finished(self, tasks: Sequence[Task]) -> list[Task]:
        """Those of the tasks that have a record, and the output that other tasks take."""
        there = set(self._files.names())
        return [task for task in tasks if there.issuperset(_files_of(task))]

    def save(self, done: Done) -> None:
        """Writes the output, then the record: if there is a record, there is an output."""
        record, *output = _files_of(done.task)
        for name in output:
            self._files.write(name, done.output)
        self._files.write(record, (json.dumps(done.record, indent=1) + "\n").encode())

    def inputs(self, task: Task) -> tuple[bytes, ...]:
        """The outputs of `task.needs`."""
        return tuple(self._files.read([_files_of(need)[1] for need in task.needs]))

    def records(self) -> Iterator[dict[str, Any]]:
        """The record of every finished task. Raises TsbenchError for any other file."""
        names = [name for name in self._files.names() if name.endswith(".json") and "/" not in name]
        for name, content in zip(names, self._files.read(names), strict=True):
            where = f"{self.where}/{name}"
            try:
                record = json.loads(content)
            except (ValueError, RecursionError) as error:
                raise TsbenchError(
                    f"{where}: invalid JSON: {error}; delete it and run the sweep again"
                ) from None
            try:
                yield records.checked(record)
            except ValueError as error:
                raise TsbenchError(f"{where}: {error}") from None


def _files_of(task: Task) -> list[str]:
    """The record's name, and that of the output."""
    folder, suffix = OUTPUTS_OF.get(task.kind, ("", ""))
    return [f"{task.key}.json", *([f"{folder}/{task.key}{suffix}"] if folder else [])]
