"""Reading the files of the UCR/UEA archive: `.ts`, `.tsv`, `.txt`, `.arff`.

    read(path) -> Table        cases as they stand in the file, gaps as NaN

The readers are our own, because sktime's take seconds to import and their errors do not name
the line. They are strict: what they do not understand is an error with file and line.
"""

from __future__ import annotations

from pathlib import Path

from tsbench.data.formats import arff, columns, ts
from tsbench.data.formats.table import Table as Table
from tsbench.data.formats.table import lines_of
from tsbench.errors import DataFormatError

# In order of preference where a folder holds several: the first says the most about its data.
# The UCR archive of 2015 wrote its files without an ending.
_READERS = {
    ".ts": ts.parse,
    ".arff": arff.parse,
    ".tsv": columns.parse,
    ".txt": columns.parse,
    "": columns.parse,
}
SUFFIXES = tuple(_READERS)


def read(path: Path) -> Table:
    """Everything that the file holds. Raises DataFormatError, which names file and line."""
    table = _READERS[path.suffix.lower()](path, lines_of(path))
    if not table.cases:
        raise DataFormatError(path, None, "has no cases: cut short?")
    return table
