"""The journal of a run: every finished benchmark is on disk, whatever interrupts the run.

pytest-benchmark saves at the end of a run. Until then each finished benchmark is a line of JSON in
a file beside the saved runs; saving the run deletes that file. After a kill, a power cut or a full
disk, `json_format.read_run` reads it like a saved run, without an incomplete last line.

The journal opens, syncs and closes its file for each benchmark. So the code under test may close
every descriptor, and a disk that was full for a moment costs nothing: the next benchmark, or the
end of the run, writes the missing lines. A line that is added costs the same however long the
journal is: docs/reliability.md.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pytest_energy.runs.whole_file import sync_folder, write_all

SUFFIX = ".jsonl"
PREFIX = "unfinished_"
_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


class Journal:
    """The journal of one run. The file exists from the first `add` on."""

    def __init__(self, folder: Path, header: Mapping[str, Any]):
        began = datetime.now(timezone.utc)
        self.path = folder / f"{PREFIX}{began:%Y%m%d_%H%M%S_%f}_{os.getpid()}{SUFFIX}"
        self.problem: str | None = None
        """Why the file lacks lines, or None if it has all of them."""
        self._lines = [_line({**header, "datetime": began.isoformat()})]
        self._lines_on_disk = 0
        self._bytes_on_disk = 0

    def add(self, benchmark: Mapping[str, Any]) -> None:
        """Append a finished benchmark, as a saved run has it, and all lines that are missing.

        Never raises `OSError`: see `problem`.
        """
        self._lines.append(_line(benchmark))
        self.flush()

    def flush(self) -> None:
        """Write the lines that the file lacks. `problem` has the reason if that fails."""
        try:
            self._append_missing()
            self.problem = None
        except OSError as error:
            self.problem = error.strerror or str(error)

    def delete(self) -> None:
        """Delete the file: the run is saved."""
        with suppress(OSError):
            self.path.unlink()

    def _append_missing(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new_file = self._lines_on_disk == 0
        # The user's umask decides the mode.
        descriptor = os.open(self.path, _FLAGS, 0o666)
        try:
            if os.lseek(descriptor, 0, os.SEEK_END) < self._bytes_on_disk:
                # Another program deleted or cut the file.
                self._lines_on_disk = self._bytes_on_disk = 0
            # An earlier write may have failed in the middle of a line.
            os.ftruncate(descriptor, self._bytes_on_disk)
            os.lseek(descriptor, self._bytes_on_disk, os.SEEK_SET)
            missing = b"".join(self._lines[self._lines_on_disk :])
            write_all(descriptor, missing)
            os.fsync(descriptor)
        finally:
            with suppress(OSError):
                os.close(descriptor)
        self._lines_on_disk = len(self._lines)
        self._bytes_on_disk += len(missing)
        if new_file:
            sync_folder(self.path.parent)


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


def _line(value: Mapping[str, Any]) -> bytes:
    # One line for any text: JSON escapes line breaks.
    text = json.dumps(value, allow_nan=False, separators=(",", ":"), default=str)
    return text.encode() + b"\n"


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
