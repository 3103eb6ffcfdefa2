"""Broken inputs for each parser, and for whole commands. Run by hand::

    python -m studies.fuzz [TARGET ...] [--cases 1000000] [--commands 5000] [--seed 0]

Valid inputs are changed in one to three places, by a generator with this seed. A case is a fault if
it ends in any exception but the parser's own error, takes more than two seconds of CPU time, or
needs more memory than a GiB. A command is one if its exit code is not among its documented ones, if
it fails without one line that says why, if it prints a traceback, or an escape sequence. Each kind
of fault is printed once; the case is kept in the folder of `--faults`. Ends with 1 after a fault.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import resource
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from pathlib import Path
from random import Random
from types import FrameType

from studies.fuzzing.commands import COMMANDS
from studies.fuzzing.parsers import PARSERS
from studies.fuzzing.target import Target

CASE_LIMIT_S = 2.0
MEMORY_LIMIT_BYTES = 2**30
DIGITS = re.compile(r"\d+|'[^']*'|\"[^\"]*\"")
HEADINGS = ("target", "cases", "accepted", "refused", "distinct refusals", "faults", "CPU s")


class TooSlow(BaseException):
    """No parser catches it."""


def fuzz(
    name: str, target: Target, cases: int, seed: int, kept: Path, until_s: float
) -> tuple[object, ...]:
    """A row of the table: what became of the cases."""
    counts, refusals, faults = Counter[str](), set[str](), Counter[str]()
    dice = Random(f"{name} {seed}")
    began_s = time.process_time()
    number = 0
    while number < cases and time.monotonic() < until_s:
        number += 1
        signal.setitimer(signal.ITIMER_VIRTUAL, CASE_LIMIT_S)
        try:
            target.case(dice)
            if failed_threads:
                raise ThreadFailed(failed_threads.pop())
            counts["accepted"] += 1
        except target.errors as error:
            counts["refused"] += 1
            refusals.add(DIGITS.sub("*", str(error)[-200:]))
        except (Exception, TooSlow) as error:  # noqa: BLE001 - each is a fault
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            frames = traceback.extract_tb(error.__traceback__)
            where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}"
            kind = f"{type(error).__name__} at {where}"
            faults[kind] += 1
            if faults[kind] == 1:
                kept.mkdir(parents=True, exist_ok=True)
                file = kept / f"{name}-{len(faults)}"
                file.write_bytes(target.last())
                shown = "".join(traceback.format_exception(error, limit=-4))[-3000:]
                print(f"{name}, case {number}: {kind}; kept as {file}\n{shown}", file=sys.stderr)
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    took_s = time.process_time() - began_s
    for kind, times in faults.items():
        print(f"{name}: {times} times {kind}", file=sys.stderr, flush=True)
    about = (len(refusals), sum(faults.values()), f"{took_s:.0f}")
    return (name, number, counts["accepted"], counts["refused"], *about)


class ThreadFailed(Exception):
    """A thread ended in an exception, which Python only prints."""


failed_threads: list[str] = []


def note_failed_thread(about: threading.ExceptHookArgs) -> None:
    """Python's hook for exceptions in threads."""
    frames = traceback.extract_tb(about.exc_traceback)
    where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "nowhere"
    failed_threads.append(f"{about.exc_type.__name__} at {where}: {about.exc_value}")


def too_slow(number: int, frame: FrameType | None) -> None:
    raise TooSlow(f"more than {CASE_LIMIT_S:g} s")


def limit_memory() -> None:
    """Let what this process has not yet allocated be a GiB at most."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * resource.getpagesize() + MEMORY_LIMIT_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = {**PARSERS, **COMMANDS}
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(known))
    parser.add_argument("--cases", type=int, default=1_000_000, help="of each parser")
    parser.add_argument("--commands", type=int, default=5_000, help="cases of each command")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=math.inf, help="stop a target after these")
    parser.add_argument("--faults", type=Path, default=Path(tempfile.gettempdir()) / "fuzz-faults")
    asked = parser.parse_args()
    if unknown := set(asked.targets) - set(known):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    signal.signal(signal.SIGVTALRM, too_slow)
    threading.excepthook = note_failed_thread
    print(f"| {' | '.join(HEADINGS)} |\n|{'---|' * len(HEADINGS)}", flush=True)
    worst = 0
    memory, home = Path("/dev/shm"), Path.cwd()
    for name in asked.targets or known:
        with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
            target = known[name](Path(folder))
            limit_memory()
            cases = asked.cases if name in PARSERS else asked.commands
            until_s = time.monotonic() + asked.seconds
            row = fuzz(name, target, cases, asked.seed, asked.faults, until_s)
            os.chdir(home)  # a target may have gone to its folder
        print(f"| {' | '.join(map(str, row))} |", flush=True)
        worst = worst or int(row[-2] != 0)
    return worst


if __name__ == "__main__":
    sys.exit(main())
