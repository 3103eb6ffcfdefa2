"""One side of a comparison of two commits: a process that forks at a measurement and serves windows.

The worker collects the tests and imports what they import once (`plugin.worker`). For each replicate
of a test it forks: the child runs the test's body up to its first measurement, and there serves
windows until it is dismissed. So a replicate is a fresh process at the price of a fork.

Messages in: ``{"id", "budget_s"}`` starts a replicate; then, to the child, ``{"do": "calibrate"}``,
``{"do": "stay", "cpu"}``, ``{"do": "window", "calls"}``, ``{"do": "dismiss"}``. Messages out:
``collected`` once; for each replicate ``set_up`` and ``ready``, or ``failed``; ``calls``, ``stays``
and ``window`` as asked; and ``gone`` when the child is.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import NoReturn

from pytest_energy.commits.channel import Channel, ChannelClosed
from pytest_energy.measuring.paired import SHORTEST_WINDOW_S
from pytest_energy.measuring.single import calibrate, warm_up
from pytest_energy.measuring.window import take_prepared, take_window
from pytest_energy.meters import open_meter
from pytest_energy.model import Quality
from pytest_energy.options import Options
from pytest_energy.plan import noting_void
from pytest_energy.runs.json_format import window_to_json

# Code is one thread's where that thread had nearly all of the CPU time, and was not just waiting for
# another's: beside two busy neighbours on each CPU a computing thread still has a third of the time.
OWN_SHARE, RUNNING_SHARE = 0.9, 0.25


class ServingRecorder:
    """Stands where the recorder stands; at the first measurement it serves windows, and never returns."""

    def __init__(self, channel: Channel):
        self._channel = channel
        self.options = Options()
        self.budget_s = 1.0
        """Seconds that a replicate may spend on its warm-up."""

    def measure(self, call: Callable[[], object]) -> NoReturn:
        serve(self._channel, self.options, self.budget_s, call, None)

    def measure_prepared(self, calls: Generator[Callable[[], object], None, None]) -> NoReturn:
        serve(self._channel, self.options, self.budget_s, next(calls), calls)

    def versus(self, baseline: Callable[..., object], candidate: Callable[..., object]) -> NoReturn:
        self.measure(candidate)

    def quality(self, quality: Quality) -> None:
        """Before the measurement: of no interest here, the main process asks it itself."""

    def measures_while_disabled(self) -> bool:
        """pytest-benchmark is always switched off here, so that its own rounds take no time."""
        return True

    def result(self) -> None:
        return None


def fork_replicate(channel: Channel, name: str, run: Callable[[], object]) -> None:
    """Fork; the child calls ``run``, which is to end in `serve`; return when the child is gone."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        _run_child(channel, name, run)
    _, status = os.waitpid(child, 0)
    channel.send(gone=status)


def _run_child(channel: Channel, name: str, run: Callable[[], object]) -> NoReturn:
    """Whatever happens, the child ends here and never in pytest's loop."""
    try:
        run()
        channel.send(failed=f"{name} measured nothing")
    except ChannelClosed:
        pass
    except BaseException as error:  # noqa: BLE001 - pytest.skip and fail are no Exceptions; all are reported
        channel.send(failed=f"{name}: {type(error).__name__}: {error}")
    finally:
        sys.stdout.flush()
        os._exit(0)


def serve(
    channel: Channel,
    options: Options,
    budget_s: float,
    call: Callable[[], object],
    prepared: Generator[Callable[[], object], None, None] | None,
) -> NoReturn:
    """In the child: take windows as they are asked for, until dismissed."""
    meter = open_meter(options.meter, options.meter_settings)
    plan, void = noting_void(options.plan)
    with _OneThread() as one_thread:
        seconds_per_call = warm_up(call, budget_s) if prepared is None else 0.0
    channel.send(ready=seconds_per_call, cpu=_cpu() if one_thread.seen else None)
    while True:
        message = channel.receive()
        if message["do"] == "dismiss":
            sys.stdout.flush()
            os._exit(0)
        elif message["do"] == "stay":
            os.sched_setaffinity(0, {message["cpu"]})
            channel.send(stays=message["cpu"])
        elif message["do"] == "calibrate":
            calls = (
                1
                if prepared is not None
                else calibrate(meter, call, seconds_per_call, plan, SHORTEST_WINDOW_S)
            )
            channel.send(calls=calls)
        else:
            void.clear()
            if prepared is None:
                taken = take_window(meter, call, message["calls"], plan)
            else:
                taken = take_prepared(meter, prepared, plan)
            channel.send(window=window_to_json(taken), void=void)


class _OneThread:
    """Whether the code in the block was the work of this thread alone: no other thread's, no child's, no waiting for one."""

    def __enter__(self) -> _OneThread:
        self._began = self._clocks()
        return self

    def __exit__(self, *exception: object) -> None:
        wall_s, thread_s, all_s = (
            now - then for now, then in zip(self._clocks(), self._began, strict=True)
        )
        self.seen = thread_s >= OWN_SHARE * all_s and thread_s >= RUNNING_SHARE * wall_s

    @staticmethod
    def _clocks() -> tuple[float, float, float]:
        children = os.times()
        return (
            time.perf_counter(),
            time.thread_time(),
            time.process_time() + children.children_user + children.children_system,
        )


def _cpu() -> int | None:
    """The CPU that this thread runs on, where it can be told to stay there (Linux)."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    # proc(5): "processor" is the 39th field; the second, the program's name, may hold spaces, and ends with a bracket.
    return int(Path("/proc/thread-self/stat").read_text().rpartition(")")[2].split()[36])
