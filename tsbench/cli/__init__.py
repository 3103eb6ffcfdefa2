"""`tsbench`: train models, measure variants, compress any model, run sweeps, list models."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
import traceback
from collections.abc import Sequence

from tsbench.cli import compress, init, listing, measure, sweep, table, train
from tsbench.cli.exit_codes import CLOSED_PIPE, INTERRUPTED, NOT_DONE
from tsbench.errors import TsbenchError, printable

TRACEBACK_VARIABLE = "TSBENCH_TRACEBACK"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code. A fault is one line on standard error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # no encoding has a lone surrogate
    options = parser().parse_args(arguments)
    try:
        code = int(options.run(options))
        sys.stdout.flush()
    except TsbenchError as error:
        code = _fail(str(error))
    except (BrokenPipeError, SystemExit):  # rich makes SystemExit(1) of it
        code = CLOSED_PIPE
        # Python flushes once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        code = _fail(f"{where}{error.strerror or error}")
    except KeyboardInterrupt:
        print("tsbench: interrupted; run the same command again to resume", file=sys.stderr)
        code = INTERRUPTED
    except Exception as error:  # noqa: BLE001 - reported as our fault
        if os.environ.get(TRACEBACK_VARIABLE):
            traceback.print_exc()
        what = f"{type(error).__name__}: {error}".rstrip(": ")
        code = _fail(f"a fault of tsbench: {what}; {TRACEBACK_VARIABLE}=1 shows where")
    return code


def _fail(message: str) -> int:
    line = " ".join(printable(part) for part in message.splitlines())
    with contextlib.suppress(OSError):  # standard error is closed; the exit code remains
        print(f"tsbench: error: {line}", file=sys.stderr)
    return NOT_DONE


def parser() -> argparse.ArgumentParser:
    """The parser of all commands; each module of this package adds its own."""
    made = argparse.ArgumentParser(
        prog="tsbench", description="Time-series transformers, and ways of compressing them."
    )
    commands = made.add_subparsers(required=True, metavar="COMMAND")
    for module in (train, listing, measure, compress, init, sweep, table):
        module.add(commands)
    return made
