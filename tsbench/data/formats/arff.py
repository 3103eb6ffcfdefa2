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
    REGRESSION,
    Case,
    Table,
    parse_after_header,
    parse_values,
    stack,
)
from tsbench.errors import short

_ATTRIBUTE = re.compile(r"@attribute\s+('[^']*'|\"[^\"]*\"|\S+)\s+(.+)", re.IGNORECASE)
_RELATIONAL_CASE = re.compile(r"(['\"])(.*)\1\s*,\s*(.+)")


@dataclass
class _Header:
    """The attributes so far. The class is the only nominal one, and the last."""

    classes: tuple[str, ...] = ()
    timepoints: int = 0
    relational: bool = False

    def declare(self, line: str) -> None:
        lowered = line.lower()
        if lowered.startswith("@relation"):
            return
        if lowered.startswith("@end"):
            return
        found = _ATTRIBUTE.fullmatch(line)
        if found is None:
            raise ValueError(
                f"expected a comment, @relation, @attribute or @data, got {short(line)}"
            )
        kind = found[2].strip()
        if self.classes:
            raise ValueError("an attribute after the class: the class must be the last one")
        if kind.startswith("{"):
            if not kind.endswith("}"):
                raise ValueError(f"the class's values must end in }}, got {short(kind)}")
            names = tuple(name.strip().strip("'\"") for name in kind[1:-1].split(","))
            if len(set(names)) < max(len(names), 2) or "" in names:
                raise ValueError(
                    f"the class must have at least two different values, got {short(kind)}"
                )
            self.classes = names
        elif kind.lower() == "relational":
            self.relational = True
        elif kind.lower() in ("numeric", "real", "integer"):
            self.timepoints += 1
        else:
            raise ValueError(
                f"attributes must be numeric, relational or a class, got {short(kind)}"
            )

    def check_complete(self) -> None:
        if self.timepoints and not self.classes:
            raise ValueError(f"no attribute is a class; if the last one is numeric, {REGRESSION}")
        if not self.timepoints:
            raise ValueError("@data comes before the attributes of a series and its class")

    def case(self, number: int, line: str) -> Case:
        if self.relational:
            found = _RELATIONAL_CASE.fullmatch(line)
            if found is None:
                raise ValueError(
                    "expected a quoted series and a class label: is the line cut short?"
                )
            rows, label = found[2].split("\\n"), found[3]
        else:
            values, comma, label = line.rpartition(",")
            if not comma:
                raise ValueError("no comma, so no class label: is the line cut short?")
            rows = [values]
        label = label.strip().strip("'\"")
        parsed = [parse_values(row.split(",")) for row in rows]
        for row in parsed:
            if len(row) != self.timepoints:
                raise ValueError(
                    f"{len(row)} values where the header has {self.timepoints} attributes"
                )
        if label not in self.classes:
            raise ValueError(f"class {short(label)} is not one of {', '.join(self.classes)}")
        return Case(number, stack(parsed), label)


def parse(path: Path, lines: list[tuple[int, str]]) -> Table:
    """The table in these lines. Raises DataFormatError."""
    return parse_after_header(path, lines, _Header(), "an .arff file")
