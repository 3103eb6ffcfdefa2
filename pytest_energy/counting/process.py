"""A worker process under Callgrind that counts a run's tests, one after the other.

`plugin.count_worker` is the code of the worker. This module starts it, reads its messages, limits
its time, and always ends it. The worker writes a JSON object a line: ``{"begin": test}``, then
``{"end": test, ...}``.
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_energy.clock import now_s
from pytest_energy.counting.callgrind import command_line
from pytest_energy.errors import CountingUnavailable

PACKAGE = Path(__file__).parents[1]
# The same work in every process: one thread, one order of sets and dicts.
FIXED_ENVIRONMENT = {
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
}
# The order holds the options; pytest-cov's variables make every process write a file.
OPTION_VARIABLES = ("PYTEST_ADDOPTS", "COV_CORE_SOURCE", "COV_CORE_CONFIG", "COV_CORE_DATAFILE")
# Collecting imports the code under test, ten times slower than usual: torch alone takes 11 s.
COLLECT_LIMIT_S = 600.0
END_LIMIT_S = 10.0
OUTPUT_TAIL = 2000
# What valgrind prints of itself in spite of --quiet.
WARNINGS = re.compile(r"^--\d+-- warning: .*\n?", re.MULTILINE)
# Loads this package and nothing else of its folder, as commits.worker_process does.
BOOTSTRAP = """
import importlib.util, sys
folder, descriptor, order = sys.argv[1], int(sys.argv[2]), sys.argv[3]
spec = importlib.util.spec_from_file_location(
    "pytest_energy", folder + "/__init__.py", submodule_search_locations=[folder]
)
module = sys.modules["pytest_energy"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
from pytest_energy.counting.pymalloc import AlignedArenas
arenas = AlignedArenas()
from pytest_energy.plugin.count_worker import main
main(descriptor, order)
"""
SIGNALS = {
    signal.SIGILL: "an instruction that valgrind does not know (AVX-512 and AMX are among them)",
    signal.SIGSEGV: "a segmentation fault",
    signal.SIGKILL: "a kill, perhaps for lack of memory",
}


@dataclass(frozen=True)
class CountOrder:
    """What a worker counts, and where."""

    python: str
    folder: Path
    """Where pytest is started."""
    options: tuple[str, ...]
    """pytest's, without paths."""
    paths: tuple[str, ...]
    """Files, folders and node ids."""
    import_paths: tuple[str, ...]
    """Goes to the front of sys.path."""
    tree: Path
    """The top of the tree that is counted."""
    forbidden_tree: str
    """A tree that no module may come from; empty for none."""
    tests: tuple[str, ...]
    """Empty: all that measure."""
    limit_s: float
    """Seconds for one test."""
    scratch: Path
    """An existing folder for temporary files; the caller removes it."""
    simulate: bool = True
    """Under Callgrind; else the CPU's own counter counts."""
    keep: Path | None = None
    """Where each test's dump is kept for KCachegrind; None: nowhere."""
    seed: int = 0
    """Which memory states the worker counts in."""
    on_start: Callable[[int], object] = int
    """Called with the id of each worker process once it has started; it leads a session."""
    kill: Callable[[int], object] = int
    """Called with the same id, before the end: kills what is left in other sessions."""
    is_cancelled: Callable[[], bool] = bool
    """Whether to start no further worker."""


def count_tests(order: CountOrder) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each test with its outcome: the worker's own message, or ``{"failed": reason}``.

    A test that ends the worker or takes too long fails alone: a new worker counts the rest.
    Raises `CountingUnavailable` if the worker cannot collect the tests.
    """
    pending: list[str] | None = list(order.tests) or None
    while (pending is None or pending) and not order.is_cancelled():
        with _worker(order, pending or ()) as worker:
            collected = worker.receive(COLLECT_LIMIT_S)
            if "collected" not in collected:
                raise CountingUnavailable(
                    f"the counting worker ended before its first test: {collected['failed']}"
                )
            if pending is None:
                pending = list(collected["collected"])
            current = None
            while pending:
                message = worker.receive(order.limit_s)
                if "begin" in message:
                    current = str(message["begin"])
                    continue
                name = str(message.get("end") or current or pending[0])
                if name in pending:
                    pending.remove(name)
                    yield name, message
                if "end" not in message:
                    break  # the worker is gone or hangs
                current = None


class _Worker:
    """The process, and the pipe that it writes to."""

    def __init__(self, order: CountOrder, tests: Sequence[str], folder: Path):
        self._rest = b""
        self._read, write = os.pipe()
        self._kill = order.kill
        self._log = (folder / "output").open("w+", errors="backslashreplace")
        request = folder / "order.json"
        request.write_text(
            json.dumps(
                {
                    "collect": {
                        "folder": str(order.folder),
                        "options": order.options,
                        "paths": order.paths,
                        "import_paths": order.import_paths,
                        "tree": str(order.tree),
                        "forbidden_tree": order.forbidden_tree,
                    },
                    "tests": list(tests),
                    "dumps": str(folder),
                    "keep": None if order.keep is None else str(order.keep),
                    "simulate": order.simulate,
                    "seed": order.seed,
                }
            ),
            encoding="utf8",
        )
        try:
            self._process = subprocess.Popen(
                [
                    *(command_line(folder) if order.simulate else ()),
                    *(order.python, "-c", BOOTSTRAP, str(PACKAGE), str(write), str(request)),
                ],
                cwd=order.folder,
                env=_environment(folder),
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                pass_fds=[write],
                start_new_session=True,  # Ctrl-C is for the main process, which ends this one
            )
        except OSError as error:
            raise CountingUnavailable(f"no worker can be started: {error.strerror}") from None
        finally:
            os.close(write)
        order.on_start(self._process.pid)

    def receive(self, limit_s: float) -> Mapping[str, Any]:
        """The next message; ``{"failed": reason}`` when the worker ends or takes too long."""
        ends_s = now_s() + limit_s
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], max(0.0, ends_s - now_s()))
            if not ready:
                return {
                    "failed": f"not counted within {limit_s:g} s; allow more with "
                    "--energy-count-timeout"
                }
            more = os.read(self._read, 65536)
            if not more:
                return {"failed": self._how_it_ended()}
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        message: Mapping[str, Any] = json.loads(line)
        return message

    def _how_it_ended(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_LIMIT_S)
        code = self._process.returncode
        if code is not None and code < 0:
            name = SIGNALS.get(signal.Signals(-code), signal.Signals(-code).name)
            return f"{name} ended the worker: {self._output_tail()}"
        return f"the worker ended with exit code {code}: {self._output_tail()}"

    def _output_tail(self) -> str:
        self._log.seek(0)
        return WARNINGS.sub("", self._log.read())[-OUTPUT_TAIL:].strip() or "it printed nothing"

    def end(self) -> None:
        """End the process and all that it started."""
        os.close(self._read)
        self._kill(self._process.pid)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_LIMIT_S)
        self._log.close()


@contextmanager
def _worker(order: CountOrder, tests: Sequence[str]) -> Iterator[_Worker]:
    folder = Path(tempfile.mkdtemp(prefix="count-", dir=order.scratch))
    try:
        worker = _Worker(order, tests, folder)
        try:
            yield worker
        finally:
            worker.end()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _environment(folder: Path) -> dict[str, str]:
    """This process's environment without options of pytest, and with temporary files inside the
    folder, which is removed."""
    kept = {name: value for name, value in os.environ.items() if name not in OPTION_VARIABLES}
    return kept | FIXED_ENVIRONMENT | {"TMPDIR": str(folder), "PYTEST_DEBUG_TEMPROOT": str(folder)}
