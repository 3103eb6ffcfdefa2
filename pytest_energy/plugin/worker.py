"""The pytest side of a worker: collect the tests, and run each up to its measurement."""

from __future__ import annotations

import importlib.util
import os
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from pytest_energy.commits.channel import Channel, ChannelClosed
from pytest_energy.commits.loaded_files import in_tree, loaded_files
from pytest_energy.commits.orphans import adopt_orphans, kill_children
from pytest_energy.commits.protocol import (
    Collect,
    Collected,
    Failed,
    PytestEnded,
    ReplicateEnded,
    SetUpDone,
    StartReplicate,
)
from pytest_energy.commits.worker import ServingRecorder, fork_replicate
from pytest_energy.meters import open_meter
from pytest_energy.options import Options
from pytest_energy.plugin.fixtures import MEASURING_FIXTURES
from pytest_energy.plugin.stash import WORKER


class Worker:
    """A pytest plugin that takes the place of pytest's loop over the tests."""

    def __init__(self, channel: Channel, order: Collect, paths: Sequence[str]):
        self._channel = channel
        self._order = order
        self._wanted = [_file_and_test(path, Path(order.folder)) for path in paths]
        self._items: dict[str, pytest.Item] = {}
        self._set_up: pytest.Item | None = None
        self._collect_errors: list[str] = []
        self.recorder = ServingRecorder(channel)

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        """Runs before this plugin's hook, which then opens no meter and calls `configure`."""
        config.stash[WORKER] = self

    def configure(self, options: Options, synchronize: Callable[[], object] | None) -> None:
        self.recorder.options = replace(
            options, plan=replace(options.plan, synchronize=synchronize)
        )
        # Imported here once, and not in each fork, which opens a meter of its own.
        open_meter(options.meter, options.meter_settings).close()

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._collect_errors.append(f"{report.nodeid}: {report.longreprtext}")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> NoReturn:
        """Serve replicates until the main process closes its end; then tear down and end here.

        The process ends without pytest's last hooks: in them, plugins write the reports of a run.
        """
        self._items = {item.nodeid: item for item in session.items}
        self.recorder.test_files = frozenset(str(item.path) for item in session.items)
        measuring = tuple(name for name, item in self._items.items() if self._measures(item))
        self._channel.send(
            Collected(measuring, tuple(self._collect_errors), tuple(self._foreign_modules()))
        )
        try:
            while True:
                request = self._channel.receive()
                if isinstance(request, StartReplicate):
                    self.recorder.request = request
                    self._replicate(request.test)
        except ChannelClosed:
            self._tear_down(None)
        except BaseException:  # noqa: BLE001 - the main process shows the output's end
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            kill_children()
            os._exit(0)

    def _measures(self, item: pytest.Item) -> bool:
        """Whether the test measures, and was asked for."""
        if not MEASURING_FIXTURES & set(getattr(item, "fixturenames", ())):
            return False
        return not self._wanted or any(_matches(item, *wanted) for wanted in self._wanted)

    def _foreign_modules(self) -> list[str]:
        """Modules that came from the user's own tree although this worker is another commit's."""
        return [
            f"{name} ({path})"
            for name, path in sorted(loaded_files().items())
            if is_forbidden(path, self._order)
        ]

    def _replicate(self, test: str) -> None:
        """Set the test up, once; then fork, and the child runs the test's body."""
        item = self._items.get(test)
        if item is None:
            self._fail(f"{test} has another name in each process: does it come from a set's order?")
            return
        try:
            self._ensure_set_up(item)
        except BaseException as error:  # noqa: BLE001 - pytest.skip and fail are no Exceptions
            self._fail(f"setup of {test}: {type(error).__name__}: {error}")
            return
        self._channel.send(SetUpDone())

        def run() -> None:
            self.recorder.open_meter()
            item.ihook.pytest_runtest_call(item=item)

        fork_replicate(self._channel, test, run)

    def _fail(self, reason: str) -> None:
        self._channel.send(Failed(reason))
        self._channel.send(ReplicateEnded(1))

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


def _file_and_test(path: str, folder: Path) -> tuple[Path, str]:
    """The file or folder that an argument names, and the test in it."""
    file, _, test = path.partition("::")
    return Path(os.path.abspath(folder / file)), test


def _matches(item: pytest.Item, file: Path, test: str) -> bool:
    """Whether a test is the one that an argument names, or in it."""
    if file.exists() and file != item.path and file not in item.path.parents:
        return False  # an argument of --pyargs is no path
    name = item.nodeid.partition("::")[2]
    return not test or name == test or name.startswith((f"{test}::", f"{test}["))


def present_paths(order: Collect) -> list[str]:
    """The paths that this side has."""
    return [path for path in order.paths if _present(path, "--pyargs" in order.options)]


def _present(path: str, pyargs: bool) -> bool:
    """Whether an argument names something that this side has."""
    file = path.partition("::")[0]
    if os.path.exists(file):
        return True
    try:
        return pyargs and importlib.util.find_spec(file) is not None
    except (ImportError, ValueError):
        return False


def main(descriptor: int) -> None:
    """Serve over the socket with this file descriptor. The first message is a `Collect`."""
    channel = Channel(socket.socket(fileno=descriptor))
    adopt_orphans()
    order = channel.receive()
    assert isinstance(order, Collect)  # for the type checker: the protocol has no other
    os.chdir(order.folder)
    import_from(order)
    paths = present_paths(order)
    if order.paths and not paths:
        # Without an argument pytest would collect something else.
        channel.send(Collected((), (), ()))
        return
    files = dict.fromkeys(path.partition("::")[0] for path in paths)
    arguments = [*order.options, *own_plugin(), *files]
    status = pytest.main(arguments, plugins=[Worker(channel, order, paths)])
    channel.send(PytestEnded(int(status)))


def is_forbidden(path: str, order: Collect) -> bool:
    """Whether a file belongs to the tree that no module may come from."""
    return order.forbidden_tree != "" and in_tree(path, order.forbidden_tree, order.tree)


def import_from(order: Collect) -> None:
    """Import from this side's tree first, and never from the forbidden one, as PYTHONPATH may."""

    def allowed(path: str) -> bool:
        return not is_forbidden(path, order)

    first = [path for path in order.import_paths if Path(path).is_dir()]
    sys.path[:] = [*first, *filter(allowed, sys.path)]
    if "PYTHONPATH" in os.environ:  # for processes that a test starts
        rest = filter(allowed, os.environ["PYTHONPATH"].split(os.pathsep))
        os.environ["PYTHONPATH"] = os.pathsep.join([*first, *rest])


def own_plugin() -> list[str]:
    """Load this plugin in an environment where it is not installed."""
    from importlib.metadata import entry_points

    if any(point.value == "pytest_energy.plugin" for point in entry_points(group="pytest11")):
        return []
    return ["-p", "pytest_energy.plugin"]
