"""Time-series classification datasets, from `.ts` files on this machine.

A name is looked for in two places, in this order:

1. the folder in the environment variable `TSBENCH_DATA`, laid out like the UCR/UEA archive:
   `<folder>/<Name>/<Name>_TRAIN.ts` and `<folder>/<Name>/<Name>_TEST.ts`;
2. the data that sktime's wheel carries (PLAID, ArrowHead, GunPoint, ...).

The reader is our own, because sktime's takes seconds to import and its errors do not name
the line. It is strict: what it does not understand is an error with file and line.
"""

from __future__ import annotations

import hashlib
import importlib.util
import math
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from tsbench.errors import DataFormatError, DatasetUnavailable

DATA_FOLDER_VARIABLE = "TSBENCH_DATA"
_DECLARATIONS = {  # lower case -> may hold several words
    "@problemname": False,
    "@timestamps": False,
    "@missing": False,
    "@univariate": False,
    "@dimension": False,
    "@dimensions": False,
    "@equallength": False,
    "@serieslength": False,
    "@classlabel": True,
}


@dataclass(frozen=True)
class Split:
    """One half of a dataset: its cases and what class each is.

    `cases[i]` is float64 (channels, timepoints), of its own length; `labels` is int64
    (cases,), an index into the dataset's `classes`.
    """

    cases: tuple[np.ndarray, ...]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.cases)

    def subset(self, indices: np.ndarray) -> Split:
        """The cases at `indices`, in that order."""
        return Split(tuple(self.cases[i] for i in indices), self.labels[indices])


@dataclass(frozen=True)
class Dataset:
    """A dataset in its default (published) split."""

    name: str
    classes: tuple[str, ...]
    train: Split
    test: Split
    source: Path = field(compare=False)

    @property
    def channels(self) -> int:
        return self.train.cases[0].shape[0]

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the values and labels of both splits, to key caches with."""
        digest = hashlib.sha256(repr((self.name, self.classes)).encode())
        for split in (self.train, self.test):
            digest.update(split.labels.tobytes())
            for case in split.cases:
                digest.update(repr(case.shape).encode())
                digest.update(case.tobytes())
        return digest.hexdigest()


@dataclass
class _Header:
    """What the `@` lines of a `.ts` file declare; None where they do not say."""

    classes: tuple[str, ...] | None = None
    channels: int | None = None
    timepoints: int | None = None
    equal_length: bool = False


def load(name: str, folder: Path | None = None) -> Dataset:
    """The dataset called `name` (upper and lower case do not matter).

    `folder` takes the place of `TSBENCH_DATA`. Raises DatasetUnavailable where no folder has
    it, DataFormatError where a file of it cannot be read.
    """
    for root in _roots(folder):
        found = _find(root, name)
        if found is not None:
            return _load_folder(found)
    raise DatasetUnavailable(name, _how_to_get(name, folder))


def available(folder: Path | None = None) -> tuple[str, ...]:
    """The names that `load` finds on this machine, sorted."""
    names = set()
    for root in _roots(folder):
        names.update(d.name for d in _subfolders(root) if _pair(d) is not None)
    return tuple(sorted(names))


def read_ts(path: Path) -> tuple[tuple[str, ...], Split]:
    """The classes and cases of one `.ts` file.

    The format: `#` comments, `@` declarations, `@data`, then one case a line, the values of
    a channel separated by commas, channels by colons, the class label last. Raises
    DataFormatError, naming file and line, for anything else, missing values (`?`) and values
    that are not finite included.
    """
    try:
        # Comments of the archive's older files are Latin-1; a damaged byte in the data still
        # fails below, because what replaces it is no number and no class.
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise DataFormatError(path, None, f"cannot be read: {error.strerror}") from error
    header, in_data = _Header(), False
    cases: list[np.ndarray] = []
    labels: list[int] = []
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        try:
            if in_data:
                case, label = _parse_case(line, header)
                cases.append(case)
                labels.append(label)
            elif line.lower() == "@data":
                if header.classes is None:
                    raise ValueError("@data comes before a @classLabel that names the classes")
                in_data = True
            elif line.startswith("@"):
                _declare(line, header)
            else:
                raise ValueError(f"expected a comment, a declaration or @data, got {_short(line)}")
        except ValueError as error:
            raise DataFormatError(path, number, str(error)) from None
    if not in_data:
        raise DataFormatError(path, None, "has no @data line: not a .ts file, or cut short")
    if not cases:
        raise DataFormatError(path, None, "has no cases after @data: cut short?")
    return header.classes, Split(tuple(cases), np.array(labels, dtype=np.int64))


def _declare(line: str, header: _Header) -> None:
    key, *words = line.split()
    lowered = key.lower()
    if lowered not in _DECLARATIONS:
        raise ValueError(
            f"unknown declaration {_short(key)}; known: {', '.join(sorted(_DECLARATIONS))}, @data"
        )
    if not words or (len(words) > 1 and not _DECLARATIONS[lowered] and lowered != "@problemname"):
        raise ValueError(f"{key} should have one value, got {len(words)}")
    if lowered == "@timestamps" and _truth(key, words[0]):
        raise ValueError("@timeStamps true is not supported: values only, equally spaced")
    elif lowered == "@univariate" and _truth(key, words[0]):
        header.channels = 1
    elif lowered in ("@dimension", "@dimensions"):
        header.channels = _count(key, words[0])
    elif lowered == "@equallength":
        header.equal_length = _truth(key, words[0])
    elif lowered == "@serieslength":
        header.timepoints = _count(key, words[0])
    elif lowered == "@classlabel":
        if not _truth(key, words[0]) or len(words) < 3:
            raise ValueError(f"@classLabel must be true and name two classes or more, got {words}")
        if len(set(words[1:])) < len(words[1:]):
            raise ValueError("@classLabel names a class twice")
        header.classes = tuple(words[1:])


def _parse_case(line: str, header: _Header) -> tuple[np.ndarray, int]:
    *channels, label = (part.strip() for part in line.split(":"))
    if not channels:
        raise ValueError("no colon, so no class label: is the line cut short?")
    if label not in header.classes:
        raise ValueError(f"class {_short(label)} is not one of {', '.join(header.classes)}")
    if header.channels is not None and len(channels) != header.channels:
        raise ValueError(f"{len(channels)} channels, but the header declares {header.channels}")
    rows = [_parse_values(channel) for channel in channels]
    lengths = {len(row) for row in rows}
    if len(lengths) > 1:
        raise ValueError(f"channels of one case differ in length: {sorted(lengths)} timepoints")
    timepoints = lengths.pop()
    if header.equal_length:
        if header.timepoints is None:
            header.timepoints = timepoints  # the first case sets what the others must have
        if timepoints != header.timepoints:
            raise ValueError(f"{timepoints} timepoints where every case has {header.timepoints}")
    if header.channels is None:
        header.channels = len(rows)
    return np.array(rows, dtype=np.float64), header.classes.index(label)


def _parse_values(text: str) -> list[float]:
    values = []
    for position, word in enumerate(text.split(","), start=1):
        word = word.strip()
        if word == "?":
            raise ValueError(f"value {position} is missing (?): fill gaps before loading")
        try:
            value = float(word)
        except ValueError:
            raise ValueError(f"value {position} is {_short(word)}, not a number") from None
        if not math.isfinite(value):
            raise ValueError(f"value {position} is {word}, not a finite number")
        values.append(value)
    return values


def _truth(key: str, word: str) -> bool:
    if word.lower() not in ("true", "false"):
        raise ValueError(f"{key} must be true or false, got {_short(word)}")
    return word.lower() == "true"


def _count(key: str, word: str) -> int:
    if not (word.isascii() and word.isdigit()) or int(word) == 0:
        raise ValueError(f"{key} must be a positive whole number, got {_short(word)}")
    return int(word)


def _short(text: str, most: int = 40) -> str:
    return repr(text if len(text) <= most else text[:most] + "…")


def _roots(folder: Path | None) -> list[Path]:
    """Where to look, in order; only folders that exist."""
    roots = []
    if folder is None and os.environ.get(DATA_FOLDER_VARIABLE):
        folder = Path(os.environ[DATA_FOLDER_VARIABLE])
    if folder is not None:
        roots.append(folder)
    # find_spec finds the package without running it: importing sktime takes seconds.
    spec = importlib.util.find_spec("sktime")
    if spec is not None and spec.origin is not None:
        roots.append(Path(spec.origin).parent / "datasets" / "data")
    return [root for root in roots if root.is_dir()]


def _subfolders(root: Path) -> list[Path]:
    return sorted(d for d in root.iterdir() if d.is_dir())


def _find(root: Path, name: str) -> Path | None:
    """The subfolder of `root` that holds both splits of `name`."""
    for folder in _subfolders(root):
        if folder.name.lower() == name.lower() and _pair(folder) is not None:
            return folder
    return None


def _pair(folder: Path) -> tuple[Path, Path] | None:
    pair = folder / f"{folder.name}_TRAIN.ts", folder / f"{folder.name}_TEST.ts"
    return pair if all(path.is_file() for path in pair) else None


def _load_folder(folder: Path) -> Dataset:
    train_path, test_path = _pair(folder)
    classes, train = read_ts(train_path)
    test_classes, test = read_ts(test_path)
    if test_classes != classes:
        raise DataFormatError(
            test_path, None, f"classes {test_classes} differ from {classes} of {train_path.name}"
        )
    if train.cases[0].shape[0] != test.cases[0].shape[0]:
        raise DataFormatError(test_path, None, f"other channels than {train_path.name}")
    return Dataset(folder.name, classes, train, test, folder)


def _how_to_get(name: str, folder: Path | None) -> str:
    root = folder or os.environ.get(DATA_FOLDER_VARIABLE)
    if root:
        where = f"{root} has no {name}/{name}_TRAIN.ts and _TEST.ts"
    else:
        where = f"set {DATA_FOLDER_VARIABLE} to a folder with {name}/{name}_TRAIN.ts and _TEST.ts"
    if importlib.util.find_spec("sktime") is None:
        return f"{where}; PLAID comes with `pip install 'pytest-energy[tsbench]'` (sktime)"
    return f"{where} (UCR archive: https://www.timeseriesclassification.com)"
