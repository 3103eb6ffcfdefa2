"""What the commands of ``pytest-energy`` end with."""

from __future__ import annotations

from enum import IntEnum
from typing import Literal


class ExitCode(IntEnum):
    """Promised to scripts: a new meaning gets a new number."""

    OK = 0
    REGRESSED = 1
    UNUSABLE = 2
    """Could not be done, and one line on standard error says why: wrong options, files that cannot be compared."""
    INCONCLUSIVE = 3
    """Only with ``--strict``."""

    @classmethod
    def of(cls, failure: Literal["regressed", "inconclusive"] | None) -> ExitCode:
        """The exit code of a comparison of saved runs."""
        return {"regressed": cls.REGRESSED, "inconclusive": cls.INCONCLUSIVE, None: cls.OK}[failure]
