"""What can go wrong, as one tree.

    TsbenchError
    ├── UnknownName            a dataset, config or variant that does not exist
    ├── DatasetUnavailable     the dataset exists, but not on this machine
    ├── DataFormatError        a data file that cannot be read: file and line
    ├── DownloadError          a download that was refused, broke off, or is damaged
    ├── BadSetting             a variant's setting that it does not have, or of no meaning
    ├── CheckpointError        a checkpoint that is missing, corrupt or of another shape
    ├── TeacherUnavailable     a teacher from outside needs a library that is not here
    └── VariantUnavailable     the variant needs something that is not here

Each message says what happened, and what to do next where there is something to do.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


class TsbenchError(Exception):
    """Base of every error that a user of tsbench can cause or cure."""


class UnknownName(TsbenchError):
    """A name that is not one of the known ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str]):
        self.kind, self.name, self.known = kind, name, tuple(known)
        super().__init__(f"unknown {kind} {name!r}; known: {', '.join(self.known)}")


class DatasetUnavailable(TsbenchError):
    """The dataset is not on this machine; `remedy` says how to get it."""

    def __init__(self, name: str, remedy: str):
        self.name, self.remedy = name, remedy
        super().__init__(f"dataset {name} is not on this machine: {remedy}")


class DataFormatError(TsbenchError):
    """A data file that does not hold what it should; `line` counts from 1."""

    def __init__(self, path: Path, line: int | None, problem: str):
        self.path, self.line, self.problem = path, line, problem
        where = f"{path}" if line is None else f"{path}:{line}"
        super().__init__(f"{where}: {problem}")


class DownloadError(TsbenchError):
    """A download that did not end in a dataset; `began` where data had come already."""

    def __init__(self, what: str, problem: str, began: bool = False):
        self.what, self.problem, self.began = what, problem, began
        remedy = "; run it again" if began else ""
        super().__init__(f"{what}: {problem}{remedy}")


class CheckpointError(TsbenchError):
    """A checkpoint file that cannot be used."""

    def __init__(self, path: Path, problem: str):
        self.path, self.problem = path, problem
        super().__init__(f"{path}: {problem}")


class BadSetting(TsbenchError):
    """A setting of a variant that cannot be used."""

    def __init__(self, variant: str, problem: str):
        self.variant, self.problem = variant, problem
        super().__init__(f"variant {variant}: {problem}")


class TeacherUnavailable(TsbenchError):
    """A teacher that cannot be had here; `remedy` says what would let it."""

    def __init__(self, teacher: str, reason: str, remedy: str):
        self.teacher, self.reason, self.remedy = teacher, reason, remedy
        super().__init__(f"teacher {teacher} is not available: {reason}; {remedy}")


class VariantUnavailable(TsbenchError):
    """A variant that cannot run here; `remedy` says what would let it."""

    def __init__(self, variant: str, reason: str, remedy: str):
        self.variant, self.reason, self.remedy = variant, reason, remedy
        super().__init__(f"variant {variant} is not available: {reason}; {remedy}")
