"""The exit codes of ``pytest-energy``."""

from __future__ import annotations

from enum import IntEnum
from typing import Literal


class ExitCode(IntEnum):
    """Promised to scripts: a new meaning gets a new number. A fault is never 1."""

    OK = 0
    REGRESSED = 1
    UNUSABLE = 2
    """Not done: invalid options, incomparable runs, nothing gated, or a fault of pytest-energy.

    One line on standard error gives the reason."""
    INCONCLUSIVE = 3
    """Only with ``--strict``."""
    INTERRUPTED = 130
    """Ctrl-C, as a shell reports it."""
    CLOSED_PIPE = 141
    """The reader of the output closed it, as a shell reports SIGPIPE."""

    @classmethod
    def of(cls, failure: Literal["regressed", "inconclusive"] | None) -> ExitCode:
        """The exit code of a comparison of saved runs."""
        return {"regressed": cls.REGRESSED, "inconclusive": cls.INCONCLUSIVE, None: cls.OK}[failure]
