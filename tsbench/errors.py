"""All errors, in one tree.

    TsbenchError
    ├── UnknownName            an unknown dataset, config or variant
    ├── DatasetUnavailable     the dataset exists, but not on this machine
    ├── DataFormatError        a data file is invalid: file and line
    ├── DownloadError          a download was refused, ended early, or is damaged
    ├── BadSetting             an unknown or invalid setting of a variant
    ├── CheckpointError        a checkpoint is missing, corrupt or of another shape
    ├── TeacherUnavailable     a teacher requires a missing library
    └── VariantUnavailable     a variant requires something that is missing

Each message says what happened, and what to do next if anything helps.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

SHOWN_CHARACTERS = 40  # in an error: a line of a file may hold thousands of values


def printable(text: str) -> str:
    """The text with escape sequences, line breaks and the like as backslash escapes.

    A terminal would obey them, and anybody may have written them into a file.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def short(text: str) -> str:
    """The text in quotes, without its end if it is long."""
    return repr(text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…")


class TsbenchError(Exception):
    """Base of all errors that a user of tsbench can cause or fix."""


class UnknownName(TsbenchError):
    """An unknown name; `known` lists the known ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str]):
        self.kind, self.name, self.known = kind, name, tuple(known)
        super().__init__(f"unknown {kind} {name!r}; known: {', '.join(self.known)}")


class DatasetUnavailable(TsbenchError):
    """The dataset is not on this machine; `remedy` says how to get it."""

    def __init__(self, name: str, remedy: str):
        self.name, self.remedy = name, remedy
        super().__init__(f"dataset {name} is not on this machine: {remedy}")


class DataFormatError(TsbenchError):
    """A data file with invalid content; `line` counts from 1."""

    def __init__(self, path: Path, line: int | None, problem: str):
        self.path, self.line, self.problem = path, line, problem
        where = f"{path}" if line is None else f"{path}:{line}"
        super().__init__(f"{where}: {problem}")


class DownloadError(TsbenchError):
    """A download that gave no dataset; `began` if data had already arrived."""

    def __init__(self, what: str, problem: str, began: bool = False):
        self.what, self.problem, self.began = what, problem, began
        remedy = "; run it again" if began else ""
        super().__init__(f"{what}: {problem}{remedy}")


class CheckpointError(TsbenchError):
    """An unusable checkpoint file."""

    def __init__(self, path: Path, problem: str):
        self.path, self.problem = path, problem
        super().__init__(f"{path}: {problem}")


class BadSetting(TsbenchError):
    """An unknown or invalid setting of a variant."""

    def __init__(self, variant: str, problem: str):
        self.variant, self.problem = variant, problem
        super().__init__(f"variant {variant}: {problem}")


class TeacherUnavailable(TsbenchError):
    """A teacher that is unavailable here; `remedy` says how to get it."""

    def __init__(self, teacher: str, reason: str, remedy: str):
        self.teacher, self.reason, self.remedy = teacher, reason, remedy
        super().__init__(f"teacher {teacher} is not available: {reason}; {remedy}")


class VariantUnavailable(TsbenchError):
    """A variant that cannot run here; `remedy` says what to do."""

    def __init__(self, variant: str, reason: str, remedy: str):
        self.variant, self.reason, self.remedy = variant, reason, remedy
        super().__init__(f"variant {variant} is not available: {reason}; {remedy}")
