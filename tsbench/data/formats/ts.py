"""The `.ts` format of aeon and sktime.

Comments (`#` or `%`), `@` declarations, `@data`, then one case per line: commas separate the
values of a channel, colons the channels, and the class label is last.
"""

from __future__ import annotations

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

_DECLARATIONS = {  # in lower case; whether several words may follow
    "@problemname": True,
    "@timestamps": False,
    "@missing": False,
    "@univariate": False,
    "@dimension": False,
    "@dimensions": False,
    "@equallength": False,
    "@serieslength": False,
    "@classlabel": True,
    "@targetlabel": False,
}


@dataclass
class _Header:
    """What the `@` lines declare; None for what they do not."""

    classes: tuple[str, ...] = ()
    channels: int | None = None
    timepoints: int | None = None
    equal_length: bool = False

    def declare(self, line: str) -> None:
        if not line.startswith("@"):
            raise ValueError(f"expected a comment, a declaration or @data, got {short(line)}")
        key, *words = line.split()
        lowered = key.lower()
        if lowered not in _DECLARATIONS:
            raise ValueError(
                f"unknown declaration {short(key)}; known: "
                f"{', '.join(sorted(_DECLARATIONS))}, @data"
            )
        if not words or (len(words) > 1 and not _DECLARATIONS[lowered]):
            raise ValueError(f"{key} must have one value, got {len(words)}")
        if lowered == "@timestamps" and _truth(key, words[0]):
            raise ValueError(
                "@timeStamps true is not supported: only equally spaced values without times are"
            )
        if lowered == "@targetlabel" and _truth(key, words[0]):
            raise ValueError(f"@targetLabel true: {REGRESSION}")
        if lowered == "@univariate" and _truth(key, words[0]):
            self.channels = 1
        elif lowered in ("@dimension", "@dimensions"):
            self.channels = _count(key, words[0])
        elif lowered == "@equallength":
            self.equal_length = _truth(key, words[0])
        elif lowered == "@serieslength":
            self.timepoints = _count(key, words[0])
        elif lowered == "@classlabel":
            if not _truth(key, words[0]):
                raise ValueError(f"@classLabel false: no classes; it may be {REGRESSION}")
            if len(words) < 3:
                raise ValueError(
                    f"@classLabel true must name at least two classes, got {words[1:]}"
                )
            if len(set(words[1:])) < len(words[1:]):
                raise ValueError("@classLabel names a class twice")
            self.classes = tuple(words[1:])

    def check_complete(self) -> None:
        if not self.classes:
            raise ValueError("@data comes before a @classLabel that names the classes")

    def case(self, number: int, line: str) -> Case:
        *channels, label = (part.strip() for part in line.split(":"))
        if not channels:
            raise ValueError("no colon, so no class label: is the line cut short?")
        if label not in self.classes:
            raise ValueError(f"class {short(label)} is not one of {', '.join(self.classes)}")
        if self.channels is not None and len(channels) != self.channels:
            raise ValueError(f"{len(channels)} channels, but the header declares {self.channels}")
        values = stack([parse_values(channel.split(",")) for channel in channels])
        if self.equal_length:
            timepoints = values.shape[1]
            if self.timepoints is None:
                self.timepoints = timepoints  # the first case decides for the others
            if timepoints != self.timepoints:
                raise ValueError(f"{timepoints} timepoints where every case has {self.timepoints}")
        if self.channels is None:
            self.channels = len(values)
        return Case(number, values, label)


def parse(path: Path, lines: list[tuple[int, str]]) -> Table:
    """The table in these lines. Raises DataFormatError."""
    return parse_after_header(path, lines, _Header(), "a .ts file")


def _truth(key: str, word: str) -> bool:
    if word.lower() not in ("true", "false"):
        raise ValueError(f"{key} must be true or false, got {short(word)}")
    return word.lower() == "true"


def _count(key: str, word: str) -> int:
    if not (word.isascii() and word.isdigit()) or int(word) == 0:
        raise ValueError(f"{key} must be a positive whole number, got {short(word)}")
    return int(word)
