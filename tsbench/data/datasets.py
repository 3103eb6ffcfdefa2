"""Time-series classification datasets, from wherever this machine can get them.

A name is looked up in this order:

1. `synthetic`: generated, see `tsbench.data.synthetic`;
2. the given folder, or the one in the environment variable `TSBENCH_DATA`, laid out like the
   UCR/UEA archive: `<folder>/<Name>/<Name>_TRAIN.ts` and `<Name>_TEST.ts` (or `.arff`, `.tsv`,
   `.txt`, or no suffix, as in the archive of 2015);
3. the data in sktime's wheel (PLAID, ArrowHead, GunPoint, ...);
4. earlier downloads, in the cache;
5. a download, see `tsbench.data.download`; `TSBENCH_OFFLINE=1` forbids it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from tsbench.data import download, preprocess, synthetic
from tsbench.data.formats import SUFFIXES, Table, read
from tsbench.data.formats.table import REGRESSION
from tsbench.errors import DataFormatError, DatasetUnavailable, DownloadError

DATA_FOLDER_VARIABLE = "TSBENCH_DATA"


@dataclass(frozen=True)
class Split:
    """The cases of one split and their classes.

    `cases[i]` is float64 (channels, timepoints) of its own length. `labels` is int64 (cases,),
    indices into the dataset's `classes`.
    """

    cases: tuple[np.ndarray, ...]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.cases)


@dataclass(frozen=True)
class Dataset:
    """A dataset in its published split. `notes` are sentences on what reading changed."""

    name: str
    classes: tuple[str, ...]
    train: Split
    test: Split
    source: Path | None = field(compare=False)
    notes: tuple[str, ...] = ()

    @property
    def channels(self) -> int:
        return self.train.cases[0].shape[0]

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the values and labels of both splits, for cache keys."""
        digest = hashlib.sha256(repr((self.name, self.classes)).encode())
        for split in (self.train, self.test):
            digest.update(split.labels.tobytes())
            for case in split.cases:
                digest.update(repr(case.shape).encode())
                digest.update(case.tobytes())
        return digest.hexdigest()


def load(
    name: str, folder: Path | None = None, on_bytes: Callable[[int, int | None], None] | None = None
) -> Dataset:
    """The dataset of this name; case matters only for a download.

    `folder` replaces `TSBENCH_DATA`. `on_bytes(done, total)` is called during a download. Raises
    DatasetUnavailable if it is nowhere, DataFormatError if a file is invalid, DownloadError if a
    download began and failed.

    >>> data = load("synthetic:classes=3,timepoints=64,cases=9")
    >>> data.classes, len(data.train), data.train.cases[0].shape
    (('generated-1', 'generated-2', 'generated-3'), 9, (1, 64))
    """
    if synthetic.is_name(name):
        return _generated(name)
    for root in _roots(folder):
        found = _find(root, name)
        if found is not None:
            return read_folder(found)
    if os.environ.get(download.OFFLINE_VARIABLE):
        raise DatasetUnavailable(
            name, f"{_layout(name, folder)}; {download.OFFLINE_VARIABLE} forbids a download"
        )
    try:
        return read_folder(download.fetch(name, _check_download, on_bytes))
    except DownloadError as error:
        if error.began:
            raise
        raise DatasetUnavailable(name, f"{_layout(name, folder)}; no download: {error}") from error


def read_folder(folder: Path) -> Dataset:
    """The dataset in `folder`, with the folder's name. The training split defines the classes.

    Gaps are interpolated and padding is removed, and the notes report both. Raises
    DataFormatError.
    """
    pair = _pair(folder)
    if pair is None:
        raise DataFormatError(
            folder, None, f"has no {folder.name}_TRAIN and {folder.name}_TEST of one format"
        )
    train, test = (read(path) for path in pair)
    classes = _classes(train, test)
    channels = train.cases[0].values.shape[0]
    notes: list[str] = []
    return Dataset(
        folder.name,
        classes,
        _split(train, classes, channels, notes),
        _split(test, classes, channels, notes),
        source=folder,
        notes=tuple(notes),
    )


def _classes(train: Table, test: Table) -> tuple[str, ...]:
    if train.classes is None:
        names = {case.label for case in train.cases}
        if len(names) < 2:
            raise DataFormatError(
                train.path, None, f"has one class only, {names.pop()!r}; at least two are required"
            )
        if sum(map(_is_fraction, names)) > len(names) / 2:
            shown = ", ".join(sorted(names)[:3])
            raise DataFormatError(
                train.path, None, f"labels are {shown} ...: it seems to be {REGRESSION}"
            )
        return tuple(sorted(names, key=_in_order))
    if set(test.classes or ()) != set(train.classes):
        raise DataFormatError(
            test.path,
            None,
            f"classes {test.classes} differ from {train.classes} of {train.path.name}",
        )
    return train.classes


def _is_fraction(name: str) -> bool:
    """Whether the label is a number with decimals, which names no class."""
    try:
        return not float(name).is_integer()
    except ValueError:
        return False


def _in_order(name: str) -> tuple[bool, float, str]:
    """Numbers by value and before words, so that 10 follows 9."""
    try:
        return False, float(name), name
    except ValueError:
        return True, 0.0, name


def _split(table: Table, classes: tuple[str, ...], channels: int, notes: list[str]) -> Split:
    cases, labels, n_gaps, n_gappy, n_padded = [], [], 0, 0, 0
    for case in table.cases:
        if case.label not in classes:
            raise DataFormatError(
                table.path,
                case.line,
                f"class {case.label!r} has no training case; classes are {', '.join(classes)}",
            )
        if len(case.values) != channels:
            raise DataFormatError(
                table.path,
                case.line,
                f"{len(case.values)} channels where the first case has {channels}",
            )
        missing = np.isnan(case.values)
        if missing.all(axis=1).any():
            raise DataFormatError(
                table.path, case.line, "a channel of this case has no known value"
            )
        n_gaps += int(missing.sum())
        n_gappy += bool(missing.any())
        n_padded += case.padding > 0
        cases.append(preprocess.fill_gaps(case.values))
        labels.append(classes.index(case.label))
    if n_gaps:
        notes.append(f"{table.path.name}: {n_gaps} missing values in {n_gappy} cases interpolated")
    if n_padded:
        notes.append(
            f"{table.path.name}: {n_padded} cases end in missing values, which are removed"
        )
    return Split(tuple(cases), np.array(labels, dtype=np.int64))


def _generated(name: str) -> Dataset:
    spec = synthetic.parse_name(name)
    train, test = (
        Split(*synthetic.generate(spec, half)) for half in (synthetic.TRAIN, synthetic.TEST)
    )
    return Dataset(
        spec.name,
        spec.classes,
        train,
        test,
        source=None,
        notes=("generated, not measured on any appliance: accuracies mean nothing",),
    )


def _check_download(folder: Path) -> None:
    """Raises DataFormatError if a downloaded dataset is invalid or not the published one."""
    found = read_folder(folder).fingerprint
    published = download.KNOWN_FINGERPRINTS.get(folder.name)
    if published is not None and found != published:
        raise DataFormatError(
            folder, None, f"checksum of its values is {found}, expected {published}"
        )


def _roots(folder: Path | None) -> list[Path]:
    """The existing folders to look in, in order."""
    roots = []
    if folder is None and os.environ.get(DATA_FOLDER_VARIABLE):
        folder = Path(os.environ[DATA_FOLDER_VARIABLE])
    if folder is not None:
        roots.append(folder)
    # find_spec does not import sktime, which would take seconds.
    spec = importlib.util.find_spec("sktime")
    if spec is not None and spec.origin is not None:
        roots.append(Path(spec.origin).parent / "datasets" / "data")
    roots.append(download.folder())
    return [root for root in roots if root.is_dir()]


def _subfolders(root: Path) -> list[Path]:
    return sorted(d for d in root.iterdir() if d.is_dir())


def _find(root: Path, name: str) -> Path | None:
    """The subfolder of `root` with both splits of `name`."""
    for folder in _subfolders(root):
        if folder.name.lower() == name.lower() and _pair(folder) is not None:
            return folder
    return None


def _pair(folder: Path) -> tuple[Path, Path] | None:
    for suffix in SUFFIXES:
        pair = folder / f"{folder.name}_TRAIN{suffix}", folder / f"{folder.name}_TEST{suffix}"
        if all(path.is_file() for path in pair):
            return pair
    return None


def _layout(name: str, folder: Path | None) -> str:
    """Where `load` looks for the dataset's files."""
    files = f"{name}/{name}_TRAIN.ts and {name}/{name}_TEST.ts (or .arff, .tsv, .txt)"
    root = folder or os.environ.get(DATA_FOLDER_VARIABLE)
    if root:
        return f"{root} has no {files}"
    return f"set {DATA_FOLDER_VARIABLE} to a folder with {files} from {download.ARCHIVE_SITE}"
