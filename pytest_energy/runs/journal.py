"""A run kept as it goes: what is finished is on disk, whatever ends the run.

pytest-benchmark saves when all is over. Until then each finished benchmark is a line of JSON in a file beside the saved runs, which is
removed once they are saved. What a kill -9, a power cut or a full disk leaves of it is read like any run
(`store.read_run`): a last line that was cut short is left out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

SUFFIX = ".jsonl"
PREFIX = "unfinished_"


class Journal:
    """One run's lines. A line is one write, so that lines are whole but for the last."""

    def __init__(self, folder: Path, header: Mapping[str, Any]):
        """Begins the file in ``folder``. Raises `OSError` where that cannot be."""
        folder.mkdir(parents=True, exist_ok=True)
        began = datetime.now(timezone.utc)
        self.path = folder / f"{PREFIX}{began:%Y%m%d_%H%M%S_%f}_{os.getpid()}{SUFFIX}"
        # O_EXCL: never somebody else's; the mode is the user's umask's.
        self._descriptor = os.open(
            self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666
        )
        self._write({**header, "datetime": began.isoformat()})

    def add(self, benchmark: Mapping[str, Any]) -> None:
        """One finished benchmark, as it stands in a saved run. Raises `OSError` where it cannot be written."""
        self._write(benchmark)

    def forget(self) -> None:
        """The run has been saved."""
        self.close()
        with suppress(OSError):
            self.path.unlink()

    def close(self) -> None:
        """Leave the file as it is."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _write(self, value: Mapping[str, Any]) -> None:
        line = (
            json.dumps(value, allow_nan=False, separators=(",", ":"), default=str).encode() + b"\n"
        )
        written = 0
        while written < len(line):
            written += os.write(self._descriptor, line[written:])


def document(text: str) -> dict[str, Any]:
    """What a journal says, in the shape of a saved run.

    Raises `ValueError` for what is no journal. A last line without its end is what the run was writing when it was ended.
    """
    whole, _, _ = text.rpartition("\n")
    lines = whole.split("\n") if whole else []
    if not lines:
        raise ValueError("a journal without its first line")
    header, *benchmarks = (_object(line) for line in lines)
    # A test that was run again counts once; what has no name is for others to refuse.
    last = {
        str(benchmark.get("fullname", number)): benchmark
        for number, benchmark in enumerate(benchmarks)
    }
    return {**header, "benchmarks": list(last.values())}


def left_behind(folder: Path) -> Iterator[Path]:
    """Journals of runs that were ended before they were saved, oldest first; not those of processes that still run."""
    for path in sorted(folder.glob(f"**/{PREFIX}*{SUFFIX}")):
        pid = path.stem.rpartition("_")[2]
        if pid.isdecimal() and not _runs(int(pid)):
            yield path


def _object(line: str) -> dict[str, Any]:
    value = json.loads(line)
    if not isinstance(value, dict):
        raise ValueError(f"a line that is not an object: {line[:40]!r}")
    return value


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True  # somebody else's
    return True
