"""The pytest side of a worker that counts: run each test up to its measurement, and count it."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from pytest_energy.commits.loaded_files import loaded_files
from pytest_energy.commits.orphans import adopt_orphans, kill_children
from pytest_energy.commits.protocol import Collect
from pytest_energy.counting.callgrind import DUMP_NAME
from pytest_energy.counting.count import WorkCounter
from pytest_energy.counting.counter import CallgrindCounter, Counter
from pytest_energy.counting.cpu_counter import CpuCounter
from pytest_energy.counting.python_functions import bytecodes_by_function
from pytest_energy.descriptors import CLOSED, OwnDescriptor
from pytest_energy.gate import Gate
from pytest_energy.model import CountedWork, Quality, Result
from pytest_energy.options import Options
from pytest_energy.plugin.fixtures import MEASURING_FIXTURES
from pytest_energy.plugin.stash import WORKER
from pytest_energy.plugin.worker import import_from, is_forbidden, own_plugin, present_paths
from pytest_energy.runs.work_format import work_to_json

LONGEST_NAME = 200  # a file system's limit is 255, and Callgrind's name comes before it


class _Counted(BaseException):
    """Ends a test's body once it is counted. No Exception, so that no test catches it."""


class CountingRecorder:
    """Takes the recorder's place: counts the first measurement of a test, and ends its body."""

    # pytest-benchmark is switched off here, so that its own rounds take no time.
    measures_disabled_benchmarks = True

    def __init__(self, counter: WorkCounter, keep: Path | None = None):
        self._counter, self._keep = counter, keep
        self.test = ""
        """The test that is being counted."""
        self.counted: dict[str, CountedWork] = {}
        """By side: ``candidate``, and ``baseline`` of ``energy.versus``."""

    def measure(self, call: Callable[[], object]) -> NoReturn:
        self.counted = {"candidate": self._count(call, "candidate")}
        raise _Counted

    def measure_prepared(self, calls: Generator[Callable[[], object], None, None]) -> NoReturn:
        self.counted = {"candidate": self._counter.count_prepared(calls)}
        self._keep_dump("candidate")
        calls.close()
        raise _Counted

    def versus(self, baseline: Callable[..., object], candidate: Callable[..., object]) -> NoReturn:
        self.counted = {
            "baseline": self._count(baseline, "baseline"),
            "candidate": self._count(candidate, "candidate"),
        }
        raise _Counted

    def quality(self, quality: Quality) -> None:
        """The measuring process checks it; this one does not."""

    def use_gate(self, gate: Gate) -> None:
        """The main process judges."""

    def skip_disabled_benchmark(self) -> None:
        """Never: see `measures_disabled_benchmarks`."""

    def phase(self, name: str) -> AbstractContextManager[object]:
        """The measuring process measures it; this one only runs it."""
        return nullcontext()

    def items(self, number: int) -> None:
        """The measuring process saves it."""

    def results(self) -> list[Result]:
        return []

    def _count(self, call: Callable[[], object], side: str) -> CountedWork:
        work = self._counter.count(call)
        self._keep_dump(side)
        return replace(work, bytecodes=bytecodes_by_function(call))

    def _keep_dump(self, side: str) -> None:
        """Leave the dump where KCachegrind finds it. A problem of the disk fails the test."""
        if self._keep is None:
            return
        name = re.sub(r"[^\w.\[\]-]+", "-", f"{self.test}.{side}")[-LONGEST_NAME:]
        self._keep.mkdir(parents=True, exist_ok=True)
        path = self._keep / f"{DUMP_NAME}.{name}"
        path.write_bytes(self._counter.least_dump.text)


class CountWorker:
    """A pytest plugin that takes the place of pytest's loop over the tests."""

    def __init__(
        self, descriptor: int, tests: list[str], recorder: CountingRecorder, collect: Collect
    ):
        self._pipe, self._collect = OwnDescriptor(descriptor), collect
        self._tests = tests
        self.recorder = recorder

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        """Runs before this plugin's hook, which then opens no meter and calls `configure`."""
        config.stash[WORKER] = self

    def configure(self, options: Options, synchronize: Callable[[], object] | None) -> None:
        """Nothing is measured here, so no option matters."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> NoReturn:
        """Count the tests in order. The process ends without pytest's last hooks, which write."""
        items = {item.nodeid: item for item in session.items}
        self._refuse_foreign_modules()
        self._tests = self._tests or [
            name
            for name, item in items.items()
            if MEASURING_FIXTURES & set(getattr(item, "fixturenames", ()))
        ]
        self._send({"collected": self._tests})
        wanted = [items[name] for name in self._tests if name in items]
        for item, following in zip(wanted, [*wanted[1:], None], strict=False):
            self._send({"begin": item.nodeid})
            self._send({"end": item.nodeid, **self._count(item, following)})
        self._end(name for name in self._tests if name not in items)

    def report_missing(self) -> NoReturn:
        """This side has none of the files."""
        self._send({"collected": self._tests})
        self._end(self._tests)

    def _end(self, missing: Iterable[str]) -> NoReturn:
        for name in missing:
            self._send({"end": name, "failed": "it has no such test"})
        sys.stdout.flush()
        kill_children()
        os._exit(0)

    def _count(self, item: pytest.Item, following: pytest.Item | None) -> dict[str, Any]:
        self.recorder.counted, self.recorder.test = {}, item.nodeid
        try:
            item.ihook.pytest_runtest_setup(item=item)
            item.ihook.pytest_runtest_call(item=item)
        except _Counted:
            pass
        except BaseException as error:  # noqa: BLE001 - pytest.skip and fail are no Exceptions
            return {"failed": f"{type(error).__name__}: {error}"}
        finally:
            with suppress(BaseException):  # the measuring process reports it
                item.ihook.pytest_runtest_teardown(item=item, nextitem=following)
        if not self.recorder.counted:
            return {"failed": "it measured nothing"}
        return {side: work_to_json(work) for side, work in self.recorder.counted.items()}

    def _refuse_foreign_modules(self) -> None:
        """Counting the user's own tree in place of the commit would say that nothing changed."""
        foreign = [
            f"{name} ({path})"
            for name, path in sorted(loaded_files().items())
            if is_forbidden(path, self._collect)
        ]
        if foreign:
            print(f"code came from your own tree instead: {', '.join(foreign[:3])}")
            sys.stdout.flush()
            os._exit(1)

    def _send(self, message: dict[str, Any]) -> None:
        if not self._pipe.is_ours():  # another file may have its number by now
            print(f"the counting worker's pipe: {CLOSED}", file=sys.stderr, flush=True)
            os._exit(1)
        os.write(self._pipe.number, json.dumps(message).encode() + b"\n")


def main(descriptor: int, order_file: str) -> None:
    """Count what the file orders, and write a message a line to the descriptor."""
    order = json.loads(Path(order_file).read_text(encoding="utf8"))
    collect = Collect(**order["collect"])
    adopt_orphans()
    import_from(collect)
    counter: Counter = CallgrindCounter(Path(order["dumps"])) if order["simulate"] else CpuCounter()
    keep = None if order["keep"] is None else Path(order["keep"])
    recorder = CountingRecorder(WorkCounter(counter, order["seed"]), keep)
    worker = CountWorker(descriptor, order["tests"], recorder, collect)
    paths = present_paths(collect)
    if collect.paths and not paths:  # without an argument pytest would collect something else
        worker.report_missing()
    code = pytest.main([*collect.options, *own_plugin(), *paths], plugins=[worker])
    print(f"pytest ended with {code!r} before it ran a test")
    sys.stdout.flush()
    os._exit(1)
