"""The content of a data file, and what all formats share."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from tsbench.errors import DataFormatError, short

MISSING_WORDS = ("?", "nan")  # .ts and .arff write ?, the others NaN
COMMENT_MARKS = ("#", "%")
REGRESSION = (
    "a regression set: its labels are numbers to predict, and tsbench reads classification sets"
)


@dataclass(frozen=True)
class Case:
    """float64 values (channels, timepoints) with NaN in gaps, and the line in the file."""

    line: int
    values: np.ndarray
    label: str
    padding: int = 0  # timepoints removed at the end, where no channel had a value


@dataclass
class Table:
    """The cases of one file. `classes` are those its header declares; None without a header."""

    path: Path
    classes: tuple[str, ...] | None = None
    cases: list[Case] = field(default_factory=list)


def lines_of(path: Path) -> list[tuple[int, str]]:
    """The file's non-empty lines, stripped, with their numbers."""
    try:
        # Comments of the archive's older files are Latin-1. A damaged byte in the data still
        # fails in the reader: its replacement is neither a number nor a class.
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise DataFormatError(path, None, f"cannot be read: {error.strerror}") from error
    # splitlines() would also split at form feeds and the like, and editors do not.
    stripped = ((number, raw.strip()) for number, raw in enumerate(text.split("\n"), start=1))
    return [(number, line) for number, line in stripped if line]


class Header(Protocol):
    """The header of a format: its lines declare it, and it parses the cases after ``@data``."""

    classes: tuple[str, ...]

    def declare(self, line: str) -> None:
        """Read one line. ValueError if it is none of the header's."""

    def check_complete(self) -> None:
        """ValueError if cases cannot be parsed yet."""

    def case(self, number: int, line: str) -> Case:
        """The case in a line after the header. ValueError if it is none."""


def parse_after_header(
    path: Path, lines: list[tuple[int, str]], header: Header, kind: str
) -> Table:
    """The table of a file whose header ends with ``@data``. Raises DataFormatError."""
    table, in_data = Table(path), False
    for number, line in lines:
        if line.startswith(COMMENT_MARKS):
            continue
        try:
            if in_data:
                table.cases.append(header.case(number, line))
            elif line.lower() == "@data":
                header.check_complete()
                in_data = True
            else:
                header.declare(line)
        except ValueError as error:
            raise DataFormatError(path, number, str(error)) from None
    if not in_data:
        raise DataFormatError(path, None, f"has no @data line: not {kind}, or cut short")
    table.classes = header.classes
    return table


def parse_values(words: Iterable[str]) -> list[float]:
    """The numbers, NaN where one is missing. ValueError names the position, counted from 1."""
    values = []
    for position, word in enumerate(words, start=1):
        word = word.strip()
        if word.lower() in MISSING_WORDS:
            values.append(math.nan)
            continue
        try:
            value = float(word)
        except ValueError:
            raise ValueError(f"value {position} is {short(word)}, not a number") from None
        if not math.isfinite(value):
            raise ValueError(f"value {position} is {word}, not a finite number")
        values.append(value)
    return values


def stack(rows: list[list[float]]) -> np.ndarray:
    """The channels of one case as an array. ValueError if their lengths differ."""
    lengths = {len(row) for row in rows}
    if len(lengths) > 1:
        raise ValueError(f"channels of one case differ in length: {sorted(lengths)} timepoints")
    return np.array(rows, dtype=np.float64)


def without_padding(case: Case) -> Case:
    """The case up to its last known timepoint; a case without any known value unchanged.

    The archive pads cases of unequal length with NaN at the end where a format has columns.
    """
    known = np.flatnonzero(~np.isnan(case.values).all(axis=0))
    length = case.values.shape[1]
    if not len(known) or known[-1] + 1 == length:
        return case
    kept = int(known[-1]) + 1
    return replace(case, values=case.values[:, :kept], padding=length - kept)
