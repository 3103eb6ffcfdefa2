"""The `.arff` format of Weka, as the archive uses it.

Univariate: one attribute per timepoint, the class last, values separated by commas, `?` for a
missing one; shorter cases end in `?`. Multivariate: one relational attribute, a quoted string
whose channels are separated by a literal `\\n`, then the class.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tsbench.data.formats.table import (
    COMMENT_MARKS,
    REGRESSION,
    Case,
    Table,
    parse_values,
    short,
    stack,
)
from tsbench.errors import DataFormatError

_ATTRIBUTE = re.compile(r"@attribute\s+('[^']*'|\"[^\"]*\"|\S+)\s+(.+)", re.IGNORECASE)
_RELATIONAL_CASE = re.compile(r"(['\"])(.*)\1\s*,\s*(.+)")


@dataclass
class _Header:
    """The attributes so far. The class is the only nominal one, and the last."""

    classes: tuple[str, ...] = ()
    timepoints: int = 0
    relational: bool = False


def parse(path: Path, lines: list[tuple[int, str]]) -> Table:
    """The table in these lines. Raises DataFormatError."""
    header, table, in_data = _Header(), Table(path), False
    for number, line in lines:
        if line.startswith(COMMENT_MARKS):
            continue
        try:
            if in_data:
                table.cases.append(_parse_case(number, line, header))
            elif line.lower() == "@data":
                if header.timepoints and not header.classes:
                    raise ValueError(
                        f"no attribute is a class; if the last one is numeric, {REGRESSION}"
                    )
                if not header.timepoints:
                    raise ValueError("@data comes before the attributes of a series and its class")
                in_data = True
            else:
                _declare(line, header)
        except ValueError as error:
            raise DataFormatError(path, number, str(error)) from None
    if not in_data:
        raise DataFormatError(path, None, "has no @data line: not an .arff file, or cut short")
    table.classes = header.classes
    return table


def _declare(line: str, header: _Header) -> None:
    lowered = line.lower()
    if lowered.startswith("@relation"):
        return
    if lowered.startswith("@end"):
        return
    found = _ATTRIBUTE.fullmatch(line)
    if found is None:
        raise ValueError(f"expected a comment, @relation, @attribute or @data, got {short(line)}")
    kind = found[2].strip()
    if header.classes:
        raise ValueError("an attribute after the class: the class must be the last one")
    if kind.startswith("{"):
        if not kind.endswith("}"):
            raise ValueError(f"the class's values must end in }}, got {short(kind)}")
        names = tuple(name.strip().strip("'\"") for name in kind[1:-1].split(","))
        if len(set(names)) < max(len(names), 2) or "" in names:
            raise ValueError(
                f"the class must have at least two different values, got {short(kind)}"
            )
        header.classes = names
    elif kind.lower() == "relational":
        header.relational = True
    elif kind.lower() in ("numeric", "real", "integer"):
        header.timepoints += 1
    else:
        raise ValueError(f"attributes must be numeric, relational or a class, got {short(kind)}")


def _parse_case(number: int, line: str, header: _Header) -> Case:
    if header.relational:
        found = _RELATIONAL_CASE.fullmatch(line)
        if found is None:
            raise ValueError("expected a quoted series and a class label: is the line cut short?")
        rows, label = found[2].split("\\n"), found[3]
    else:
        values, comma, label = line.rpartition(",")
        if not comma:
            raise ValueError("no comma, so no class label: is the line cut short?")
        rows = [values]
    label = label.strip().strip("'\"")
    parsed = [parse_values(row.split(",")) for row in rows]
    for row in parsed:
        if len(row) != header.timepoints:
            raise ValueError(
                f"{len(row)} values where the header has {header.timepoints} attributes"
            )
    if label not in header.classes:
        raise ValueError(f"class {short(label)} is not one of {', '.join(header.classes)}")
    return Case(number, stack(parsed), label)
