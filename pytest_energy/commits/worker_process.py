"""A worker process as the main process sees it: start, collect, and take windows of one test."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TypeVar

from pytest_energy.commits.channel import Channel, ChannelClosed, ChannelTimeout
from pytest_energy.commits.git import environment
from pytest_energy.commits.janitor import Janitor, kill_session
from pytest_energy.commits.layout import Layout
from pytest_energy.commits.protocol import (
    AskWaits,
    CallsPerWindow,
    Collected,
    CountCalls,
    Dismiss,
    Failed,
    Message,
    Pinned,
    PinToCpu,
    PytestEnded,
    Ready,
    ReplicateEnded,
    SetUpDone,
    StartReplicate,
    TakeWindow,
    ThreadsWaited,
    WindowTaken,
)
from pytest_energy.commits.worker_arguments import Side
from pytest_energy.errors import EnergyError, OptionError
from pytest_energy.model import CpuSeconds, GpuClocks, MeterInfo, Window
from pytest_energy.plan import Plan

# Workers import this copy of the package, whichever one their environment has.
PACKAGE = Path(__file__).parents[1]
WARM_UP_S = 0.02
# Collecting imports the code; setting up may train or compile; a window lasts tens of
# milliseconds, or one call.
COLLECT_LIMIT_S = 300.0
SET_UP_LIMIT_S = 1800.0
READY_LIMIT_S = 120.0
WINDOW_LIMIT_S = 600.0
CLOSE_LIMIT_S = 10.0
OUTPUT_SHOWN = 2000
# pytest's exit codes that mean "nothing to collect here": passed, and no tests.
NOTHING_COLLECTED = (0, 5)

# Loads this package and nothing else of its folder: the worker's environment may differ, and the
# code under test may be another version of this package.
BOOTSTRAP = """
import importlib.util, random, sys
folder, descriptor = sys.argv[1], int(sys.argv[2])
spec = importlib.util.spec_from_file_location(
    "pytest_energy", folder + "/__init__.py", submodule_search_locations=[folder])
module = sys.modules["pytest_energy"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
from pytest_energy.commits.layout import pad_heap
padding = pad_heap(random.Random(int(sys.argv[3])))
from pytest_energy.plugin.worker import main
main(descriptor)
"""

# They hold options as text, or make pytest-cov write a file in every process.
OPTION_VARIABLES = ("PYTEST_ADDOPTS", "COV_CORE_SOURCE", "COV_CORE_CONFIG", "COV_CORE_DATAFILE")

Answer = TypeVar("Answer", bound=Message)


_numbers = count()


class ReplicateFailed(EnergyError):
    """A worker cannot run a test. The message names the side and the reason."""


class CannotCollect(OptionError):
    """A worker collects no tests, or those of the wrong code: nothing can be compared."""


class WorkerProcess:
    """One side's long-lived process, which forks for each replicate."""

    def __init__(self, side: Side, layout: Layout, janitor: Janitor):
        self.side = side
        self._layout = layout
        self.collected: tuple[str, ...] = ()
        self._janitor = janitor
        self._start()

    def _start(self) -> None:
        self._forked = self._is_ready = False
        self._killed = False
        ours, theirs = socket.socketpair()
        self._channel = Channel(ours)
        # Plain files: a test that runs meanwhile may patch os.open, which subprocess.DEVNULL needs.
        self._output = self._janitor.folder / f"output-{next(_numbers)}"
        with theirs, open(os.devnull, "rb") as nothing, self._output.open("wb") as output:
            self._process = subprocess.Popen(
                self._command(theirs.fileno()),
                cwd=self.side.folder,
                env=_worker_environment(self._janitor.temporary) | self._layout.variables(),
                stdin=nothing,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C reaches the main process only
            )
        self._janitor.watch(self._process.pid)
        with contextlib.suppress(ChannelClosed):  # its output is reported when it ends
            self._channel.send(self.side.collect())

    def _command(self, descriptor: int) -> list[str]:
        given = (PACKAGE, descriptor, self._layout.heap_seed)
        return [self.side.python, "-c", BOOTSTRAP, *map(str, given)]

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_until_collected(self) -> None:
        """Raises `CannotCollect` if the worker cannot collect, or collects the wrong code."""
        label = self.side.label
        try:
            message = self._channel.receive(COLLECT_LIMIT_S, self._lives)
        except (ChannelClosed, ChannelTimeout) as error:
            raise CannotCollect(
                f"{label}: {error}; its output ends with:\n{self.output()}"
            ) from None
        if isinstance(message, PytestEnded):
            if message.exit_code not in NOTHING_COLLECTED:
                raise CannotCollect(
                    f"{label}: pytest collected no tests there and ended with "
                    f"{message.exit_code}: {error_line(self.output())}"
                )
            return
        assert isinstance(message, Collected)  # for the type checker: the protocol has no other
        if message.errors:
            raise CannotCollect(f"{label}: tests cannot be collected: " + "\n".join(message.errors))
        if message.foreign_modules:
            raise CannotCollect(
                f"{label}: code came from your own tree instead: "
                f"{', '.join(message.foreign_modules[:3])}; its installation points there: "
                "install it in another environment, and name that with --energy-against-python"
            )
        self.collected = message.tests

    @contextmanager
    def replicate(
        self, test: str, report_files: bool = False, sides: str = "B"
    ) -> Iterator[Replicate]:
        """A fresh fork that stands at the test's measurement. Raises `ReplicateFailed`.

        ``sides``: as in `StartReplicate`.
        """
        with self.forked(test, report_files, sides):
            yield self.when_ready()

    @contextmanager
    def forked(self, test: str, report_files: bool = False, sides: str = "B") -> Iterator[None]:
        """As `replicate`, for a fork that is not yet `when_ready`: other workers may fork too."""
        if self._killed or self._channel.is_lost:
            self._start_again()
        request = StartReplicate(test, WARM_UP_S, report_files, sides)
        self.ask(request, SetUpDone, SET_UP_LIMIT_S)
        self._forked, self._is_ready = True, False
        try:
            yield
        finally:
            # Also if the other side failed: the answers would be taken for the next test's.
            if self._forked and not self._is_ready:
                with contextlib.suppress(ReplicateFailed):
                    self.when_ready()
            if self._forked:
                self.ask(Dismiss(), ReplicateEnded, WINDOW_LIMIT_S)
                self._forked = False

    def when_ready(self) -> Replicate:
        """The fork, as soon as it stands at the test's measurement. Raises `ReplicateFailed`."""
        ready = self._answer(Ready, READY_LIMIT_S)
        self._is_ready = True
        return Replicate(self, ready.cpu, ready.loaded_files)

    def ask(self, request: Message, answer: type[Answer], limit_s: float) -> Answer:
        """Send the request and wait for its answer. Raises `ReplicateFailed`; the fork is gone."""
        try:
            self._channel.send(request)
        except ChannelClosed as error:
            raise self._kill(str(error)) from None
        return self._answer(answer, limit_s)

    def _answer(self, wanted: type[Answer], limit_s: float) -> Answer:
        try:
            answer = self._channel.receive(limit_s, self._lives)
            if isinstance(answer, wanted):
                return answer
            self._forked = False
            if isinstance(answer, Failed):
                self._channel.receive(WINDOW_LIMIT_S, self._lives)  # ReplicateEnded
                raise ReplicateFailed(f"{self.side.label}: {answer.reason}")
        except (ChannelClosed, ChannelTimeout) as error:
            raise self._kill(str(error)) from None
        status = getattr(answer, "status", None)
        raise ReplicateFailed(
            f"{self.side.label}: the worker died with status {status}: {self.output()}"
        )

    def _kill(self, reason: str) -> ReplicateFailed:
        """Kill the worker: an answer that comes late would be taken for the next one's."""
        self._forked = False
        self._killed = True
        kill_session(self._process.pid)
        return ReplicateFailed(
            f"{self.side.label}: {reason}; its output ends with: {self.output()}"
        )

    def _start_again(self) -> None:
        """Replace a killed worker, so that only the test that it ran is lost."""
        self.close()
        self._start()
        self.wait_until_collected_again()

    def wait_until_collected_again(self) -> None:
        """As `wait_until_collected`, for a new worker of a side. Raises `ReplicateFailed`."""
        try:
            self.wait_until_collected()
        except OptionError as error:
            self._killed = True
            raise ReplicateFailed(str(error)) from None

    def _lives(self) -> bool:
        return self._process.poll() is None

    def output(self) -> str:
        """The end of what the worker printed."""
        try:
            text = self._output.read_bytes().decode("utf8", "backslashreplace")
        except OSError as error:
            return f"lost: {error.strerror}"
        return text[-OUTPUT_SHOWN:].strip() or "nothing"

    def close(self) -> None:
        """End the worker and every process that its tests left."""
        self._channel.close()
        try:
            self._process.wait(CLOSE_LIMIT_S)
        except subprocess.TimeoutExpired:
            pass
        kill_session(self._process.pid)
        self._process.wait()
        self._janitor.unwatch(self._process.pid)


@dataclass(frozen=True)
class Replicate:
    """A forked worker, at the measurement."""

    worker: WorkerProcess
    cpu: int | None
    """The CPU it runs on; None if it uses several threads or the system does not show the CPU."""
    loaded_files: Mapping[str, str]
    """Empty if the request did not ask for them."""
    side: str = "B"
    """Which call of ``energy.versus`` it measures: A, the baseline, or B, the candidate."""

    def pin_to_cpu(self, cpu: int) -> None:
        self.worker.ask(PinToCpu(cpu), Pinned, WINDOW_LIMIT_S)

    def calls_per_window(self) -> CallsPerWindow:
        return self.worker.ask(CountCalls(self.side), CallsPerWindow, WINDOW_LIMIT_S)

    def waiting_share(self) -> float:
        """The share of its threads' time that they waited for a CPU, if they are a pool."""
        return self.worker.ask(AskWaits(), ThreadsWaited, WINDOW_LIMIT_S).share

    def window(self, calls: int, meter: MeterInfo, plan: Plan, warms_up: bool = False) -> Window:
        """A window of so many calls, after as many if it ``warms_up``. Raises `ReplicateFailed`."""
        taken = self.worker.ask(TakeWindow(calls, self.side, warms_up), WindowTaken, WINDOW_LIMIT_S)
        for reason in taken.void_reasons:
            plan.on_void_window(reason)
        domains = {domain.name for domain in meter.domains}
        if taken.joules.keys() != domains:
            raise ReplicateFailed(
                f"{self.worker.side.label}: its meter counts {sorted(taken.joules)}, and "
                f"{meter.name} counts {sorted(domains)}: name one meter with --energy-meter"
            )
        cpu = None if taken.cpu is None else CpuSeconds(*taken.cpu)
        gpu = None if taken.gpu is None else GpuClocks(*taken.gpu)
        return Window(taken.seconds, taken.joules, taken.calls, cpu, gpu)


INTERNAL = "INTERNALERROR>"  # before each line of a traceback of pytest itself


def error_line(output: str) -> str:
    """The line of pytest's output that says what is wrong, or else the last one.

    >>> error_line("usage: pytest\\nERROR: unknown: --fast\\n  inifile: None")
    'ERROR: unknown: --fast'
    >>> error_line("INTERNALERROR>     read()\\nINTERNALERROR> OSError: no space left")
    'OSError: no space left'
    """
    lines = [line.removeprefix(INTERNAL).strip() for line in output.splitlines()]
    lines = [line for line in lines if line]
    errors = [line for line in lines if line.startswith(("ERROR", "E   ", "pytest: error"))]
    return errors[-1] if errors else lines[-1] if lines else "it printed nothing"


def _worker_environment(temporary: Path) -> dict[str, str]:
    kept = {key: value for key, value in environment().items() if key not in OPTION_VARIABLES}
    return kept | {
        "PYTHONDONTWRITEBYTECODE": "1",
        "TMPDIR": str(temporary),
        "PYTEST_DEBUG_TEMPROOT": str(temporary),
    }
