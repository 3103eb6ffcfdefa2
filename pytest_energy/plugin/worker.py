"""The pytest side of a worker of ``--energy-against``: collect the tests, and run each up to its measurement."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_energy.commits.channel import Channel, ChannelClosed
from pytest_energy.commits.worker import ServingRecorder, fork_replicate
from pytest_energy.meters import open_meter
from pytest_energy.options import Options
from pytest_energy.plugin.stash import WORKER

MEASURING_FIXTURES = {"energy", "benchmark"}
# Modules of these may come from anywhere: they are the tool, not the code under test.
OWN_PACKAGE = "pytest_energy"


class Worker:
    """A pytest plugin that takes the place of pytest's loop over the tests."""

    def __init__(self, channel: Channel, outside: str):
        self._channel = channel
        self._outside = outside
        self._items: dict[str, pytest.Item] = {}
        self._set_up: pytest.Item | None = None
        self._collect_errors: list[str] = []
        self.recorder = ServingRecorder(channel)

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        """Before our plugin's: it then opens no meter, since each fork opens its own, and calls `configure`."""
        config.stash[WORKER] = self

    def configure(self, options: Options, synchronize: Callable[[], object] | None) -> None:
        self.recorder.options = replace(
            options, plan=replace(options.plan, synchronize=synchronize)
        )
        open_meter(
            options.meter, options.meter_settings
        ).close()  # imported here once, and not in each fork

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._collect_errors.append(f"{report.nodeid}: {report.longreprtext}")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self._items = {item.nodeid: item for item in session.items}
        measuring = [
            id
            for id, item in self._items.items()
            if MEASURING_FIXTURES & set(getattr(item, "fixturenames", ()))
        ]
        self._channel.send(
            collected=measuring, errors=self._collect_errors, foreign=self._foreign_modules()
        )
        try:
            while True:
                message = self._channel.receive()
                self.recorder.budget_s = message["budget_s"]
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
        """Set the test up, once; then fork, and the child runs the test's body."""
        try:
            self._ensure_set_up(item)
        except BaseException as error:  # noqa: BLE001 - pytest.skip and fail are no Exceptions; all are reported
            self._channel.send(failed=f"setup of {item.nodeid}: {type(error).__name__}: {error}")
            self._channel.send(gone=1)
            return
        self._channel.send(set_up=item.nodeid)
        fork_replicate(
            self._channel, item.nodeid, lambda: item.ihook.pytest_runtest_call(item=item)
        )

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


def main(descriptor: int) -> None:
    """Serve over the socket with this file descriptor; the first message says what to collect."""
    channel = Channel(socket.socket(fileno=descriptor))
    order: Any = channel.receive()
    os.chdir(order["folder"])
    sys.path[:0] = [path for path in order["paths"] if Path(path).is_dir()]
    arguments = list(order["arguments"])
    from importlib.metadata import entry_points

    if not any(point.value == "pytest_energy.plugin" for point in entry_points(group="pytest11")):
        arguments += [
            "-p",
            "pytest_energy.plugin",
        ]  # another environment, where only the code under test is installed
    status = pytest.main(arguments, plugins=[Worker(channel, order["outside"])])
    channel.send(ended=int(status))
