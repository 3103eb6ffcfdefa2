"""What a target of the fuzzing is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

from studies.fuzzing.mutations import Texts, Trees, as_json


class Target:
    """A parser or a command. `case` raises one of `errors` where it refuses the input."""

    errors: tuple[type[Exception], ...]

    def case(self, dice: Random) -> None:
        """One input: make it and use it."""
        raise NotImplementedError

    def last(self) -> bytes:
        """The last input, to be kept."""
        raise NotImplementedError


class FileTarget(Target):
    """A parser of a file. `make` gives the content; `parse` reads the file."""

    def __init__(
        self,
        path: Path,
        make: Callable[[Random], bytes],
        parse: Callable[[Path], object],
        *errors: type[Exception],
    ):
        self._path, self._make, self._parse, self.errors = path, make, parse, errors

    def case(self, dice: Random) -> None:
        self._path.write_bytes(self._make(dice))
        self._parse(self._path)

    def last(self) -> bytes:
        return self._path.read_bytes()


def json_maker(trees: Trees) -> Callable[[Random], bytes]:
    """Contents of JSON files."""

    def make(dice: Random) -> bytes:
        with trees.changed(dice) as value:
            return as_json(dice, value)

    return make


def lines_maker(trees: Trees) -> Callable[[Random], bytes]:
    """Contents of files with a JSON value in each line; the trees are lists of lines."""

    def make(dice: Random) -> bytes:
        with trees.changed(dice) as value:
            lines = value if isinstance(value, list) else [value]
            return b"".join(as_json(dice, line) + b"\n" for line in lines)

    return make


def text_maker(*valid: bytes) -> Callable[[Random], bytes]:
    """Contents of text files."""
    texts = Texts(valid)
    return texts.changed
