"""The journal of a run: every finished benchmark is on disk, whatever interrupts the run.

pytest-benchmark saves at the end of a run. Until then each finished benchmark is a line of JSON in
a file beside the saved runs; saving the run deletes that file. After a kill, a power cut or a full
disk, `json_format.read_run` reads it like a saved run, without an incomplete last line.
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
    """The journal of one run. Each line is one write, so only the last one can be incomplete."""

    def __init__(self, folder: Path, header: Mapping[str, Any]):
        """Create the file in ``folder``. Raises `OSError` if that fails."""
        folder.mkdir(parents=True, exist_ok=True)
        began = datetime.now(timezone.utc)
        self.path = folder / f"{PREFIX}{began:%Y%m%d_%H%M%S_%f}_{os.getpid()}{SUFFIX}"
        # O_EXCL never opens another run's file; the user's umask decides the mode.
        self._descriptor = os.open(
            self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666
        )
        self._write({**header, "datetime": began.isoformat()})

    def add(self, benchmark: Mapping[str, Any]) -> None:
        """Append a finished benchmark, as a saved run has it. Raises `OSError` if that fails."""
        self._write(benchmark)

    def delete(self) -> None:
        """Delete the file: the run is saved."""
        self.close()
        with suppress(OSError):
            self.path.unlink()

    def close(self) -> None:
        """Close the file and leave it on disk."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _write(self, value: Mapping[str, Any]) -> None:
        line = json.dumps(value, allow_nan=False, separators=(",", ":"), default=str).encode()
        line += b"\n"
        written = 0
        while written < len(line):
            written += os.write(self._descriptor, line[written:])


def to_document(text: str) -> dict[str, Any]:
    """The content of a journal in the layout of a saved run, without an incomplete last line.

    Raises `ValueError` for other texts.
    """
    complete, _, _ = text.rpartition("\n")
    if not complete:
        raise ValueError("a journal without its first line")
    header, *benchmarks = (_object(line) for line in complete.split("\n"))
    # The last attempt at a test counts. `json_format` refuses a benchmark without a name.
    last = {
        str(benchmark.get("fullname", number)): benchmark
        for number, benchmark in enumerate(benchmarks)
    }
    return {**header, "benchmarks": list(last.values())}


def unfinished_runs(folder: Path) -> Iterator[Path]:
    """The journals of interrupted runs, oldest first, without those of processes that still run."""
    for path in sorted(folder.glob(f"**/{PREFIX}*{SUFFIX}")):
        pid = path.stem.rpartition("_")[2]
        if pid.isdecimal() and not _is_alive(int(pid)):
            yield path


def _object(line: str) -> dict[str, Any]:
    value = json.loads(line)
    if not isinstance(value, dict):
        raise ValueError(f"a line that is not an object: {line[:40]!r}")
    return value


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True  # another user's process
    return True
