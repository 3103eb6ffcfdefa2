"""A sweep's results folder: one JSON file per finished task, and the trained models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from tsbench.data import cache
from tsbench.errors import TsbenchError
from tsbench.sweep import records
from tsbench.sweep.task import Done, Task

MODELS = "models"


class _Files(Protocol):
    """A folder of any kind, with atomic writes."""

    def names(self) -> list[str]: ...
    def has(self, name: str) -> bool: ...
    def read(self, name: str) -> bytes: ...
    def write(self, name: str, content: bytes) -> None: ...


class _Local:
    def __init__(self, folder: Path):
        self._folder = folder
        for each in (folder, folder / MODELS):
            cache.delete_parts(each)

    def names(self) -> list[str]:
        return sorted(path.name for path in self._folder.glob("*.json"))

    def has(self, name: str) -> bool:
        return (self._folder / name).is_file()

    def read(self, name: str) -> bytes:
        return (self._folder / name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        cache.write_atomically(self._folder / name, content)


class _Remote:
    """Any URL that fsspec knows. Object stores write objects atomically."""

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

    def names(self) -> list[str]:
        if not self._system.exists(self._root):
            return []
        found = (path.rpartition("/")[2] for path in self._system.ls(self._root, detail=False))
        return sorted(name for name in found if name.endswith(".json"))

    def has(self, name: str) -> bool:
        return bool(self._system.exists(f"{self._root}/{name}"))

    def read(self, name: str) -> bytes:
        return bytes(self._system.cat_file(f"{self._root}/{name}"))

    def write(self, name: str, content: bytes) -> None:
        path = f"{self._root}/{name}"
        self._system.makedirs(path.rpartition("/")[0], exist_ok=True)
        self._system.pipe_file(path, content)


class Results:
    """Finished tasks, found by their keys."""

    def __init__(self, where: str):
        self.where = where
        self._files: _Files = _Remote(where) if "://" in where else _Local(Path(where))

    def __contains__(self, task: Task) -> bool:
        return self._files.has(_record(task)) and (
            task.kind != "train" or self._files.has(_weights(task))
        )

    def save(self, done: Done) -> None:
        """Writes the model, then the record: if there is a record, there is a model."""
        if done.weights:
            self._files.write(_weights(done.task), done.weights)
        self._files.write(_record(done.task), (json.dumps(done.record, indent=1) + "\n").encode())

    def weights(self, training: Task) -> bytes:
        """The trained model's checkpoint file."""
        return self._files.read(_weights(training))

    def records(self) -> Iterator[dict[str, Any]]:
        """The record of every finished task. Raises TsbenchError for any other file."""
        for name in self._files.names():
            where = f"{self.where}/{name}"
            try:
                record = json.loads(self._files.read(name))
            except (ValueError, RecursionError) as error:
                raise TsbenchError(
                    f"{where}: invalid JSON: {error}; delete it and run the sweep again"
                ) from None
            try:
                yield records.checked(record)
            except ValueError as error:
                raise TsbenchError(f"{where}: {error}") from None


def _record(task: Task) -> str:
    return f"{task.key}.json"


def _weights(task: Task) -> str:
    return f"{MODELS}/{task.key}.safetensors"
