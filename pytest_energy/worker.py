"""The process that runs one commit's tests for ``--energy-against``, window by window, as it is told.

It collects the tests and imports what they import once. For each replicate of a test it forks: the child runs
the test's body up to its first measurement, and there serves windows until it is dismissed. So a replicate
is a fresh process at the price of a fork. The setup of fixtures is done before the fork, once.

Messages in: ``{"id", "budget_s"}`` starts a replicate; then, to the child, ``{"do": "calibrate"}``,
``{"do": "stay", "cpu"}``, ``{"do": "window", "calls"}``, ``{"do": "dismiss"}``. Messages out: ``collected`` once; for each replicate
``set_up`` and ``ready``, or ``failed``; ``calls``, ``stays`` and ``window`` as asked; and ``gone`` when the child is.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from pytest_energy.channel import Channel, ChannelClosed
from pytest_energy.measure import calibrate, warm_up
from pytest_energy.meters import open_meter
from pytest_energy.options import Options
from pytest_energy.plan import noting_void
from pytest_energy.reading import Quality
from pytest_energy.stash import WORKER
from pytest_energy.store import window_out
from pytest_energy.versus import SHORTEST_WINDOW_S
from pytest_energy.windows import take_prepared, take_window

MEASURING_FIXTURES = {"energy", "benchmark"}
# Modules of these may come from anywhere: they are the tool, not the code under test.
OWN_PACKAGE = "pytest_energy"
# Code is one thread's where that thread had nearly all of the CPU time, and was not just waiting for somebody else's: beside two
# busy neighbours on each CPU a thread that computes still has a third of the time.
OWN_SHARE, RUNNING_SHARE = 0.9, 0.25


class ServingRecorder:
    """Stands where the recorder stands; at the first measurement it serves windows, and never returns."""

    def __init__(self, worker: Worker):
        self._worker = worker

    def measure(self, call: Callable[[], object]) -> NoReturn:
        self._worker.serve(call, None)

    def measure_prepared(self, calls: Generator[Callable[[], object], None, None]) -> NoReturn:
        self._worker.serve(next(calls), calls)

    def versus(self, baseline: Callable[..., object], candidate: Callable[..., object]) -> NoReturn:
        self._worker.serve(candidate, None)

    def quality(self, quality: Quality) -> None:
        """Before the measurement: of no interest here, the main process asks it itself."""

    def measures_while_disabled(self) -> bool:
        """pytest-benchmark is always switched off here, so that its own rounds take no time."""
        return True

    def result(self) -> None:
        return None


class Worker:
    """A pytest plugin that takes the place of pytest's loop over the tests."""

    _options: Options

    def __init__(self, channel: Channel, outside: str):
        self._channel = channel
        self._outside = outside
        self._items: dict[str, pytest.Item] = {}
        self._set_up: pytest.Item | None = None
        self._collect_errors: list[str] = []
        self._budget_s = 1.0
        self.recorder = ServingRecorder(self)

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        """Before our plugin's: it then opens no meter, since each fork opens its own, and calls `configure`."""
        config.stash[WORKER] = self

    def configure(self, options: Options, synchronize: Callable[[], object] | None) -> None:
        self._options = replace(options, plan=replace(options.plan, synchronize=synchronize))
        open_meter(options.meter, options.meter_settings).close()  # imported here once, and not in each fork

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._collect_errors.append(f"{report.nodeid}: {report.longreprtext}")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self._items = {item.nodeid: item for item in session.items}
        measuring = [id for id, item in self._items.items() if MEASURING_FIXTURES & set(getattr(item, "fixturenames", ()))]
        self._channel.send(collected=measuring, errors=self._collect_errors, foreign=self._foreign_modules())
        try:
            while True:
                message = self._channel.receive()
                self._budget_s = message["budget_s"]
                self._replicate(self._items[message["id"]])
        except ChannelClosed:
            self._tear_down(None)
            return True

    def _foreign_modules(self) -> list[str]:
        """Modules that came from the user's own tree although this worker is another commit's."""
        if not self._outside:
            return []
        found = []
        for name, module in sorted(sys.modules.items()):
            path = getattr(module, "__file__", None) or ""
            inside = path.startswith(self._outside + os.sep) and "site-packages" not in path
            if inside and name.split(".")[0] != OWN_PACKAGE:
                found.append(f"{name} ({path})")
        return found

    def _replicate(self, item: pytest.Item) -> None:
        """Fork; the child runs the test, and we wait until it is gone."""
        try:
            self._ensure_set_up(item)
        except BaseException as error:  # noqa: BLE001 - pytest.skip and fail are no Exceptions; the user is told all of them
            self._channel.send(failed=f"setup of {item.nodeid}: {type(error).__name__}: {error}")
            self._channel.send(gone=1)
            return
        self._channel.send(set_up=item.nodeid)
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            self._run(item)
        _, status = os.waitpid(child, 0)
        self._channel.send(gone=status)

    def _run(self, item: pytest.Item) -> NoReturn:
        """In the child: the test's body. Whatever happens, the child ends here and never in pytest's loop."""
        try:
            item.ihook.pytest_runtest_call(item=item)
            self._channel.send(failed=f"{item.nodeid} measured nothing")
        except ChannelClosed:
            pass
        except BaseException as error:  # noqa: BLE001 - as above
            self._channel.send(failed=f"{item.nodeid}: {type(error).__name__}: {error}")
        finally:
            sys.stdout.flush()
            os._exit(0)

    def _ensure_set_up(self, item: pytest.Item) -> None:
        if self._set_up is item:
            return
        self._tear_down(item)
        self._set_up = item
        item.ihook.pytest_runtest_setup(item=item)

    def _tear_down(self, next_item: pytest.Item | None) -> None:
        if self._set_up is not None:
            item, self._set_up = self._set_up, None
            item.ihook.pytest_runtest_teardown(item=item, nextitem=next_item)

    def serve(self, call: Callable[[], object], prepared: Generator[Callable[[], object], None, None] | None) -> NoReturn:
        """In the child: windows as they are asked for, until dismissed."""
        options = self._options
        meter = open_meter(options.meter, options.meter_settings)
        plan, void = noting_void(options.plan)
        with _OneThread() as one_thread:
            seconds_per_call = warm_up(call, self._budget_s) if prepared is None else 0.0
        self._channel.send(ready=seconds_per_call, cpu=_cpu() if one_thread.seen else None)
        while True:
            message = self._channel.receive()
            if message["do"] == "dismiss":
                sys.stdout.flush()
                os._exit(0)
            elif message["do"] == "stay":
                os.sched_setaffinity(0, {message["cpu"]})
                self._channel.send(stays=message["cpu"])
            elif message["do"] == "calibrate":
                self._channel.send(
                    calls=1 if prepared is not None else calibrate(meter, call, seconds_per_call, plan, SHORTEST_WINDOW_S)
                )
            else:
                void.clear()
                taken = (
                    take_window(meter, call, message["calls"], plan) if prepared is None else take_prepared(meter, prepared, plan)
                )
                self._channel.send(window=window_out(taken), void=void)


class _OneThread:
    """Whether the code in the block was the work of this thread alone: no other thread's, no child's, no waiting for one."""

    def __enter__(self) -> _OneThread:
        self._began = self._clocks()
        return self

    def __exit__(self, *exception: object) -> None:
        wall_s, thread_s, all_s = (now - then for now, then in zip(self._clocks(), self._began, strict=True))
        self.seen = thread_s >= OWN_SHARE * all_s and thread_s >= RUNNING_SHARE * wall_s

    @staticmethod
    def _clocks() -> tuple[float, float, float]:
        children = os.times()
        return time.perf_counter(), time.thread_time(), time.process_time() + children.children_user + children.children_system


def _cpu() -> int | None:
    """The CPU that this thread runs on, where it can be told to stay there (Linux)."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    # proc(5): "processor" is the 39th field; the second, the program's name, may hold spaces, and ends with a bracket.
    return int(Path("/proc/thread-self/stat").read_text().rpartition(")")[2].split()[36])


def main(descriptor: int) -> None:
    """Serve over the socket with this file descriptor; the first message says what to collect."""
    channel = Channel(socket.socket(fileno=descriptor))
    order: Any = channel.receive()
    os.chdir(order["folder"])
    sys.path[:0] = [path for path in order["paths"] if Path(path).is_dir()]
    arguments = list(order["arguments"])
    from importlib.metadata import entry_points

    if not any(point.value == "pytest_energy.plugin" for point in entry_points(group="pytest11")):
        arguments += ["-p", "pytest_energy.plugin"]  # another environment, where only the code under test is installed
    status = pytest.main(arguments, plugins=[Worker(channel, order["outside"])])
    channel.send(ended=int(status))
