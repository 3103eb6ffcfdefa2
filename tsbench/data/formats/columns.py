"""One case per line, the class label first: `.tsv` (UCR 2018), `.txt`, and UCR 2015's files.

Tabs, commas or spaces separate the values. All lines have equally many columns; shorter cases
end in NaN.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from tsbench.data.formats.table import (
    COMMENT_MARKS,
    MISSING_WORDS,
    Case,
    Table,
    parse_values,
)
from tsbench.errors import DataFormatError

# A tab or a comma is one separator, so two in a row enclose an empty value, which is an error.
# Spaces may pad them, as a sign column does, and any number of spaces alone is one separator.
_SEPARATOR = re.compile(r" *\t *|\s*,\s*| +")


def parse(path: Path, lines: list[tuple[int, str]]) -> Table:
    """The table in these lines. Raises DataFormatError."""
    table, n_columns = Table(path), None
    for number, line in lines:
        if line.startswith(COMMENT_MARKS):
            continue
        label, *words = _SEPARATOR.split(line)
        try:
            if n_columns is None:
                n_columns = len(words) + 1
            if not words:
                raise ValueError("one column: expected a class label and values")
            if len(words) + 1 != n_columns:
                raise ValueError(
                    f"{len(words) + 1} columns where the first case has {n_columns}: cut short?"
                )
            values = np.array([parse_values(words)])
            table.cases.append(Case(number, values, class_name(label)))
        except ValueError as error:
            raise DataFormatError(path, number, str(error)) from None
    return table


def class_name(label: str) -> str:
    """The label as a name: whole numbers lose the decimals that `.txt` files give them.

    >>> class_name("1.0000000e+00"), class_name("-1"), class_name("fridge")
    ('1', '-1', 'fridge')
    """
    if not label or label.lower() in MISSING_WORDS:
        raise ValueError("no class label in the first column")
    try:
        number = float(label)
    except ValueError:
        return label
    return str(int(number)) if number.is_integer() else label
