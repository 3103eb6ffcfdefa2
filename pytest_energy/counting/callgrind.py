"""Callgrind: how a process is started under it, and what its dumps hold.

Format of a dump: https://valgrind.org/docs/manual/cl-format.html. Only what Valgrind 3.19 writes
with `OPTIONS` is read: positions are line numbers, names are compressed.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pytest_energy.errors import CountingUnavailable

INSTALL = "install it: apt-get install valgrind (Debian, Ubuntu), dnf install valgrind (Fedora)"
# Fixed sizes, so that machines agree: size in bytes, associativity, bytes of a line. A common
# desktop core's first level, and a last level that holds a small model's weights in part.
CACHES = {"I1": "32768,8,64", "D1": "32768,8,64", "LL": "8388608,16,64"}
OPTIONS = (
    "--tool=callgrind",
    "--quiet",
    "--vgdb=no",  # no debugger, whose pipes would be files in the temporary folder
    "--instr-atstart=no",
    "--cache-sim=yes",
    *(f"--{cache}={size}" for cache, size in CACHES.items()),
    "--trace-children=no",
)
# What /proc/cpuinfo calls the vector instructions that valgrind passes on, the widest first.
VECTOR_INSTRUCTIONS = ("avx2", "avx", "sse4_2", "asimd")
DUMP_NAME = "callgrind.out"
# The line with the sums of all events; no count has more digits.
SUMMARY, DIGITS = b"summary:", 24
# This package's event names, each with the names in Callgrind that it sums.
EVENTS: Mapping[str, tuple[str, ...]] = {
    "instructions": ("Ir",),
    "data_reads": ("Dr",),
    "data_writes": ("Dw",),
    "first_level_misses": ("I1mr", "D1mr", "D1mw"),
    "last_level_misses": ("ILmr", "DLmr", "DLmw"),
}
# Of a dump: a call with its callee's cost (empty groups), the start of a function, its own cost (Ir
# is the first event).
_COST_LINES = re.compile(r"^calls=.*\n.*|^fn=(.+)|^[\d+*-]\S* (\d+)", re.MULTILINE)
# The name of a function's number, at its first mention.
_NAMES = re.compile(r"^c?fn=(\(\d+\)) (.+)", re.MULTILINE)
_RECURSION = re.compile(r"'\d+$")  # its depth


@dataclass(frozen=True)
class Dump:
    """What was counted between two requests."""

    instructions: int
    text: bytes = b""
    """The dump itself, for KCachegrind; empty where the CPU counted. Most are never read."""

    @cached_property
    def events(self) -> Mapping[str, int]:
        """By our names, see `EVENTS`. Raises `CountingUnavailable` if the text is no dump."""
        if not self.text:
            return {"instructions": self.instructions}
        try:
            counts = dict(zip(_words(self.text, b"events:"), map(int, _words(self.text, SUMMARY))))
        except ValueError as error:
            raise CountingUnavailable(f"not a dump of Callgrind: {error}") from None
        return {
            ours: sum(counts.get(name, 0) for name in theirs) for ours, theirs in EVENTS.items()
        }

    @cached_property
    def functions(self) -> Mapping[str, int]:
        """Instructions of each C function itself, without the functions that it calls."""
        text = self.text.decode("utf8", "replace")
        own: Counter[str] = Counter()
        function = ""
        for started, instructions in _COST_LINES.findall(text):
            if started:
                function = started.partition(" ")[0] if started.startswith("(") else started
            elif instructions:
                own[function] += int(instructions)
        names = dict(_NAMES.findall(text))
        found: Counter[str] = Counter()
        for number, instructions in own.items():
            name = names.get(number, "?") if number.startswith("(") else number
            found[_RECURSION.sub("", name)] += instructions
        return found


def version() -> str:
    """Valgrind's version, such as "3.19.0". Raises `CountingUnavailable` if it does not run."""
    program = shutil.which("valgrind")
    if program is None:
        raise CountingUnavailable("valgrind is not installed", INSTALL)
    try:
        done = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise CountingUnavailable(f"valgrind does not run: {error}", INSTALL) from None
    return done.stdout.strip().removeprefix("valgrind-")


def described() -> dict[str, str]:
    """What two counts have to share beside the tool: the simulated caches, and the instructions
    that valgrind offers the code on this machine. It hides AVX-512 and AMX."""
    caches = ", ".join(f"{cache} {size}" for cache, size in CACHES.items())
    return {"cache": caches, "instruction_set": instruction_set()}


def instruction_set(processor: Path = Path("/proc/cpuinfo")) -> str:
    """The architecture, with the widest vector instructions that valgrind offers."""
    architecture = platform.machine()
    try:
        flags = set(re.findall(r"\w+", processor.read_text(encoding="utf8")))
    except (OSError, ValueError):
        flags = set()
    widest = next((each for each in VECTOR_INSTRUCTIONS if each in flags), "")
    return f"{architecture} {widest}".strip()


def command_line(folder: Path) -> list[str]:
    """The words before a command that run it under Callgrind, with its dumps in ``folder``."""
    return ["valgrind", *OPTIONS, f"--callgrind-out-file={folder / DUMP_NAME}.%p"]


def dump_file(folder: Path, process: int, number: int) -> str:
    """The file of a process's dump; numbers start at 1."""
    return f"{folder}/{DUMP_NAME}.{process}.{number}"


def read_dump(path: str) -> Dump:
    """Read one dump. Raises `CountingUnavailable` for a file that is not one.

    No more than the instructions: after each count valgrind translates the code that runs here
    anew, and a full reading took as long as counting a short loop.
    """
    try:
        file = os.open(path, os.O_RDONLY)
        try:
            text = os.read(file, os.fstat(file).st_size)
        finally:
            os.close(file)
        start = text.index(b"\n" + SUMMARY) + len(SUMMARY) + 1
        return Dump(int(text[start : start + DIGITS].split(None, 1)[0]), text)
    except (OSError, ValueError, IndexError) as error:
        raise CountingUnavailable(f"{path}: not a dump of Callgrind: {error}") from None


def _words(text: bytes, line: bytes) -> list[str]:
    """The words after the start of a line. Raises `ValueError`."""
    return text[text.index(b"\n" + line) :].split(b"\n", 2)[1].decode().split()[1:]
