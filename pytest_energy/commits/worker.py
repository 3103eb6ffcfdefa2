"""A worker of one commit: it forks for each replicate of a test and takes windows on request.

`plugin.worker` collects the tests once, with all their imports. The fork runs the test's body up to
its first measurement, and takes windows there until it is dismissed. So a replicate is a fresh
process that costs only a fork. protocol.py has the messages.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, nullcontext
from itertools import repeat
from pathlib import Path
from typing import NoReturn

from pytest_energy.clock import cpu_times, now_s, process_cpu_ns, thread_cpu_ns
from pytest_energy.commits.channel import Channel, ChannelClosed
from pytest_energy.commits.layout import pad_heap
from pytest_energy.commits.loaded_files import loaded_files
from pytest_energy.commits.orphans import children, kill_children
from pytest_energy.commits.protocol import (
    AskWaits,
    CallsPerWindow,
    CountCalls,
    Dismiss,
    Failed,
    Pinned,
    PinToCpu,
    Ready,
    ReplicateEnded,
    StartReplicate,
    TakeWindow,
    ThreadsWaited,
    WindowTaken,
)
from pytest_energy.errors import FixtureMisuse
from pytest_energy.gate import Gate
from pytest_energy.measuring.paired import SHORTEST_PAIRED_WINDOW_S, fastest_seconds_per_call
from pytest_energy.measuring.single import calls_per_window, warm_up
from pytest_energy.measuring.threads import ThreadWaits
from pytest_energy.measuring.window import take_prepared, take_window, untraced
from pytest_energy.meters import open_meter
from pytest_energy.meters.machine_cpu import open_clocks
from pytest_energy.model import Quality, Result
from pytest_energy.options import Options
from pytest_energy.plan import collect_void_reasons

# Code is one thread's work if that thread has nearly all of the CPU time, and runs or waits for a
# CPU at least half of the time. At load 10 this rule was right for 264 of 264 forks. A rule by
# running time alone was wrong for 46 of 180.
OWN_SHARE, RUNNABLE_SHARE = 0.9, 0.5
# For a kernel that does not show the waiting time. Beside two busy programs on each CPU, a
# computing thread still runs a third of the time.
RUNNING_SHARE = 0.25


class ServingRecorder:
    """The `plugin.recorder.Recorder` of a worker: at the first measurement it takes windows on
    request, and never returns."""

    # Workers switch pytest-benchmark off, so that its own rounds take no time.
    measures_disabled_benchmarks = True

    def __init__(self, channel: Channel):
        self.channel = channel
        self.options = Options()
        self.test_files: frozenset[str] = frozenset()
        """All collected tests. Which of them the other commit lacks does not matter here."""
        self.request = StartReplicate("", 1.0, report_files=False)
        """The replicate that is under way."""

    def open_meter(self) -> None:
        """Open a meter in the fork, before the test's body: it may patch what opening needs."""
        self.meter = open_meter(self.options.meter, self.options.meter_settings)
        open_clocks(self.meter)

    def loaded_files(self) -> dict[str, str]:
        """What `Ready` reports."""
        if not self.request.report_files:
            return {}
        files = loaded_files().items()
        return {name: file for name, file in files if file not in self.test_files}

    def measure(self, call: Callable[[], object]) -> NoReturn:
        serve(self, {"B": call})

    def measure_prepared(self, calls: Generator[Callable[[], object], None, None]) -> NoReturn:
        serve(self, {"B": next(calls)}, calls)

    def versus(self, baseline: Callable[..., object], candidate: Callable[..., object]) -> NoReturn:
        serve(self, {"A": baseline, "B": candidate})

    def quality(self, quality: Quality) -> None:
        """The main process checks it; a worker does not."""

    def use_gate(self, gate: Gate) -> None:
        """The main process judges."""

    def skip_disabled_benchmark(self) -> None:
        """Never called: a worker measures disabled benchmarks."""

    def phase(self, name: str) -> AbstractContextManager[object]:
        """The measuring process measures it; this one only runs it."""
        return nullcontext()

    def items(self, number: int) -> None:
        """The measuring process saves it."""

    def results(self) -> list[Result]:
        return []


def fork_replicate(channel: Channel, test: str, run: Callable[[], object]) -> None:
    """Fork; the child calls ``run``, which ends in `serve`. Returns when the child has ended."""
    sys.stdout.flush()
    before = children()
    channel.kept_by_next_fork = True
    with warnings.catch_warnings():
        # Python 3.12 and later warn of a fork beside threads, such as a BLAS's. A project whose
        # filters make warnings errors would lose every replicate.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    channel.kept_by_next_fork = False
    if child == 0:
        _run_child(channel, test, run)
    _, status = os.waitpid(child, 0)
    _kill_group(child)
    kill_children(but=before)
    channel.send(ReplicateEnded(status))


def _run_child(channel: Channel, test: str, run: Callable[[], object]) -> NoReturn:
    """Whatever happens, the child ends here and never in pytest's loop."""
    padding: list[object] = []
    try:
        os.setpgid(0, 0)  # by this group, the worker kills what the test itself forks
        # Forks inherit the worker's memory layout. This moves what the test allocates from here on,
        # and not what its modules and fixtures hold (docs/gate.md).
        padding += pad_heap(random.Random())
        run()
        channel.send(Failed(f"{test} measured nothing"))
    except ChannelClosed:
        pass
    except BaseException as error:  # noqa: BLE001 - pytest.skip and fail are no Exceptions
        channel.send(Failed(f"{test}: {type(error).__name__}: {error}"))
    finally:
        _end_fork()


def _end_fork() -> NoReturn:
    """End without pytest's last hooks and without `atexit`, which are the worker's."""
    with contextlib.suppress(AttributeError, ValueError, OSError):  # a test closed or replaced it
        sys.stdout.flush()
    os._exit(0)


def _kill_group(group: int) -> None:
    """Kill what is left of a fork's process group, such as the workers of a pool."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def serve(
    recorder: ServingRecorder,
    calls: Mapping[str, Callable[[], object]],
    prepared: Generator[Callable[[], object], None, None] | None = None,
) -> NoReturn:
    """In the fork: take windows on request until dismissed.

    ``calls`` has baseline and candidate by A and B, or one call by B.
    """
    channel, meter = recorder.channel, recorder.meter
    plan, void_reasons = collect_void_reasons(recorder.options.plan)
    wanted = {side: calls[side] for side in recorder.request.sides if side in calls}
    if len(wanted) < len(recorder.request.sides):
        raise FixtureMisuse("it compares two calls in one process and measures one in another")
    seconds: dict[str, float] = {}
    with _OneThread() as one_thread:
        for side, call in wanted.items():
            seconds[side] = 0.0 if prepared else warm_up(call, recorder.request.warm_up_s)
    channel.send(Ready(_cpu() if one_thread.seen else None, recorder.loaded_files()))
    waits = ThreadWaits()
    while True:
        request = channel.receive()
        if isinstance(request, PinToCpu):
            os.sched_setaffinity(0, {request.cpu})
            channel.send(Pinned())
        elif isinstance(request, CountCalls):
            call, count = wanted[request.side], 1
            if prepared is None:
                # A neighbour makes the warm-up slower for one side: the two sides of equal code
                # had unequal windows in 5 of 44 runs.
                seconds[request.side] = fastest_seconds_per_call(call, seconds[request.side])
                count = calls_per_window(
                    meter, call, seconds[request.side], plan, SHORTEST_PAIRED_WINDOW_S
                )
            channel.send(CallsPerWindow(count, seconds[request.side]))
        elif isinstance(request, TakeWindow):
            void_reasons.clear()
            if prepared is None:
                call = wanted[request.side]
                if request.warms_up:
                    call_again(call, request.calls)
                taken = take_window(meter, call, request.calls, plan)
            else:
                taken = take_prepared(meter, prepared, plan)
            channel.send(
                WindowTaken(
                    taken.seconds,
                    taken.joules,
                    taken.calls,
                    tuple(void_reasons),
                    taken.cpu,
                    taken.gpu,
                )
            )
        elif isinstance(request, AskWaits):
            channel.send(ThreadsWaited(waits.share_of_several()))
        elif isinstance(request, Dismiss):
            _end_fork()


@untraced()
def call_again(call: Callable[[], object], times: int) -> None:
    """Fill the caches, unmeasured."""
    for _ in repeat(None, times):
        call()


class _OneThread:
    """Whether this thread alone does the work in the block: no other thread, no child process."""

    def __enter__(self) -> _OneThread:
        self._began = self._clocks()
        return self

    def __exit__(self, *exception: object) -> None:
        wall_s, thread_s, all_s, waited_s = (
            now - then for now, then in zip(self._clocks(), self._began, strict=True)
        )
        runnable = thread_s >= RUNNING_SHARE * wall_s
        if self._began[-1] > 0 or waited_s > 0:
            runnable = thread_s + waited_s >= RUNNABLE_SHARE * wall_s
        self.seen = runnable and thread_s >= OWN_SHARE * all_s

    @staticmethod
    def _clocks() -> tuple[float, float, float, float]:
        children = cpu_times()
        return (
            now_s(),
            thread_cpu_ns() * 1e-9,
            process_cpu_ns() * 1e-9 + children.children_user + children.children_system,
            _waited_for_cpu_s(),
        )


def _waited_for_cpu_s() -> float:
    """Seconds that this thread was ready to run without a CPU; 0 if the kernel does not show it."""
    try:
        # Documentation/scheduler/sched-stats.rst: ns on a CPU, ns waiting for one, turns.
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


def _cpu() -> int | None:
    """The CPU that this thread runs on; None if the system cannot pin it there (not Linux)."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    # proc(5): "processor" is the 39th field; the second, the program's name, may hold spaces and
    # ends with a bracket.
    return int(Path("/proc/thread-self/stat").read_text().rpartition(")")[2].split()[36])
