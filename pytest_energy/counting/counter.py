"""What counts the work of one call in this process: Callgrind's simulation, or the CPU itself."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from pytest_energy.counting.callgrind import Dump, described, dump_file, read_dump, version
from pytest_energy.counting.client_requests import (
    DUMP_COUNTS,
    START_COUNTING,
    STOP_COUNTING,
    ZERO_COUNTS,
    ClientRequests,
)
from pytest_energy.errors import CountingUnavailable


class Counter(Protocol):
    """Counts what one call executes."""

    tool: str
    """Its name and version: counts of different tools are not comparable."""
    conditions: Mapping[str, str]
    """What else two counts have to share."""

    def count(self, call: Callable[[], object]) -> Dump:
        """Call once. Raises what ``call`` raises, and `CountingUnavailable`."""
        ...


class CallgrindCounter:
    """Counts by simulation; this process must run under `callgrind.command_line`.

    Callgrind writes its dumps to ``folder``; each is deleted once it is read.
    """

    def __init__(self, folder: Path):
        self._requests = ClientRequests()
        if not self._requests.on_valgrind:
            raise CountingUnavailable("this process does not run under Callgrind")
        self.tool = f"callgrind {version()}"
        self.conditions: Mapping[str, str] = described()
        self._folder = folder
        self._dumps = 0
        self._label = ctypes.create_string_buffer(b"pytest-energy")

    def count(self, call: Callable[[], object]) -> Dump:
        label = ctypes.addressof(self._label)
        send = self._requests.send
        # Starting and stopping empty Valgrind's cache of translated code, so that every count
        # begins alike.
        send(START_COUNTING)
        try:
            send(ZERO_COUNTS)
            call()
            send(DUMP_COUNTS, label)
        finally:
            send(STOP_COUNTING)
        self._dumps += 1
        path = dump_file(self._folder, os.getpid(), self._dumps)
        try:
            return read_dump(path)
        finally:
            with suppress(OSError):
                os.unlink(path)
