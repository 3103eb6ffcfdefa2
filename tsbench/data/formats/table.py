"""What a data file holds, and what all its formats have in common."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tsbench.errors import DataFormatError

MISSING_WORDS = ("?", "nan")  # .ts and .arff write ?, the others NaN
SHOWN_CHARACTERS = 40  # of what an error quotes: a line may hold thousands of values


@dataclass(frozen=True)
class Case:
    """One case: float64 (channels, timepoints) with NaN in its gaps, and the line it is on."""

    line: int
    values: np.ndarray
    label: str


@dataclass
class Table:
    """The cases of one file; `classes` are those that it declares, None where it has no header."""

    path: Path
    classes: tuple[str, ...] | None = None
    cases: list[Case] = field(default_factory=list)


def lines_of(path: Path) -> list[tuple[int, str]]:
    """The file's lines, stripped, with their numbers; empty ones left out."""
    try:
        # Comments of the archive's older files are Latin-1; a damaged byte in the data still
        # fails in the reader, because what replaces it is no number and no class.
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise DataFormatError(path, None, f"cannot be read: {error.strerror}") from error
    # Not splitlines(): it also splits at form feeds and the like, and editors do not.
    stripped = ((number, raw.strip()) for number, raw in enumerate(text.split("\n"), start=1))
    return [(number, line) for number, line in stripped if line]


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
    """The channels of one case as an array. ValueError where they differ in length."""
    lengths = {len(row) for row in rows}
    if len(lengths) > 1:
        raise ValueError(f"channels of one case differ in length: {sorted(lengths)} timepoints")
    return np.array(rows, dtype=np.float64)


def without_padding(values: np.ndarray) -> np.ndarray:
    """The case up to its last known timepoint.

    The archive pads cases of unequal length with NaN at the end, wherever a format wants
    columns. A case with no known value at all is left as it is.
    """
    known = np.flatnonzero(~np.isnan(values).all(axis=0))
    return values[:, : known[-1] + 1] if len(known) else values


def short(text: str) -> str:
    """The text quoted, its end left out where it is long."""
    return repr(text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…")
