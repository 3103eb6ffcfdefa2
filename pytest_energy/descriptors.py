"""File descriptors that code under test may close.

A test that closes all descriptors (``os.closerange``) closes those of this package too. The next
file that it opens gets one of the numbers, and reading, writing or closing that number would use
the user's file. So each descriptor is kept together with the file that it was opened for.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from functools import partial

CLOSED = "code under test has closed it, as os.closerange does"
# A test may replace it in the module.
fstat = partial(os.fstat)


class OwnDescriptor:
    """A number, and the file that it stands for."""

    __slots__ = ("_file", "number")

    def __init__(self, number: int):
        self.number = number
        self._file = _file_of(number)

    def is_ours(self) -> bool:
        """Whether the number still stands for the file that it was opened for."""
        try:
            return _file_of(self.number) == self._file
        except OSError:
            return False

    def check(self) -> None:
        """Raises `OSError` if code under test has closed the descriptor."""
        if not self.is_ours():
            raise OSError(errno.EBADF, CLOSED)

    def close(self) -> None:
        """Close it, unless code under test has done so already."""
        if self.is_ours():
            with suppress(OSError):
                os.close(self.number)


def _file_of(number: int) -> tuple[int, int]:
    status = fstat(number)
    return status.st_dev, status.st_ino
