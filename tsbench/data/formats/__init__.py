"""Readers of the UCR/UEA archive's files: `.ts`, `.tsv`, `.txt`, `.arff`.

    read(path) -> Table        the cases of the file, with gaps as NaN

sktime's readers are not used: they take seconds to import, and their errors do not name the line.
They are strict: anything unknown is an error with file and line.
"""

from __future__ import annotations

from pathlib import Path

from tsbench.data.formats import arff, columns, ts
from tsbench.data.formats.table import Table as Table
from tsbench.data.formats.table import lines_of, without_padding
from tsbench.errors import DataFormatError

# In order of preference if a folder holds several: the first describes its data best. The UCR
# archive of 2015 has files without a suffix.
_READERS = {
    ".ts": ts.parse,
    ".arff": arff.parse,
    ".tsv": columns.parse,
    ".txt": columns.parse,
    "": columns.parse,
}
SUFFIXES = tuple(_READERS)


def read(path: Path) -> Table:
    """The cases of the file, without their padding. Raises DataFormatError with file and line."""
    table = _READERS[path.suffix.lower()](path, lines_of(path))
    if not table.cases:
        raise DataFormatError(path, None, "has no cases: cut short?")
    table.cases = [without_padding(case) for case in table.cases]
    return table
