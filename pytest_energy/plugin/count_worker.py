"""The pytest side of a worker that counts: run each test up to its measurement, and count it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from pytest_energy.counting.callgrind import Dump
from pytest_energy.counting.count import count_calls, count_overhead, count_work
from pytest_energy.counting.counter import CallgrindCounter, Counter
from pytest_energy.counting.cpu_counter import CpuCounter
from pytest_energy.counting.python_functions import bytecodes_by_function
from pytest_energy.descriptors import CLOSED, OwnDescriptor
from pytest_energy.model import CountedWork, Quality, Result
from pytest_energy.options import Options
from pytest_energy.plugin.stash import WORKER
from pytest_energy.runs.work_format import work_to_json


class _Counted(BaseException):
    """Ends a test's body once it is counted. No Exception, so that no test catches it."""


class CountingRecorder:
    """Takes the recorder's place: counts the first measurement of a test, and ends its body."""

    # pytest-benchmark is switched off here, so that its own rounds take no time.
    measures_disabled_benchmarks = True

    def __init__(self, counter: Counter):
        self._counter = counter
        self._overhead: Dump | None = None
        self.counted: dict[str, CountedWork] = {}
        """By side: ``candidate``, and ``baseline`` of ``energy.versus``."""

    def measure(self, call: Callable[[], object]) -> NoReturn:
        self.counted = {"candidate": self._count(call)}
        raise _Counted

    def measure_prepared(self, calls: Generator[Callable[[], object], None, None]) -> NoReturn:
        self.counted = {"candidate": count_calls(calls, self._counter, self._known_overhead())}
        calls.close()
        raise _Counted

    def versus(self, baseline: Callable[..., object], candidate: Callable[..., object]) -> NoReturn:
        self.counted = {"baseline": self._count(baseline), "candidate": self._count(candidate)}
        raise _Counted

    def quality(self, quality: Quality) -> None:
        """The measuring process checks it; this one does not."""

    def skip_disabled_benchmark(self) -> None:
        """Never: see `measures_disabled_benchmarks`."""

    def phase(self, name: str) -> AbstractContextManager[object]:
        """The measuring process measures it; this one only runs it."""
        return nullcontext()

    def items(self, number: int) -> None:
        """The measuring process saves it."""

    def results(self) -> list[Result]:
        return []

    def _count(self, call: Callable[[], object]) -> CountedWork:
        work = count_work(call, self._counter, self._known_overhead())
        return replace(work, bytecodes=bytecodes_by_function(call))

    def _known_overhead(self) -> Dump:
        if self._overhead is None:
            self._overhead = count_overhead(self._counter)
        return self._overhead


class CountWorker:
    """A pytest plugin that takes the place of pytest's loop over the tests."""

    def __init__(self, descriptor: int, tests: list[str], counter: Counter):
        self._pipe = OwnDescriptor(descriptor)
        self._tests = tests
        self.recorder = CountingRecorder(counter)

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
        wanted = [items[name] for name in self._tests if name in items]
        for item, following in zip(wanted, [*wanted[1:], None], strict=True):
            self._send({"begin": item.nodeid})
            self._send({"end": item.nodeid, **self._count(item, following)})
        for name in self._tests:
            if name not in items:
                self._send({"begin": name})
                self._send({"end": name, "failed": "the counting worker does not collect it"})
        sys.stdout.flush()
        os._exit(0)

    def _count(self, item: pytest.Item, following: pytest.Item | None) -> dict[str, Any]:
        self.recorder.counted = {}
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

    def _send(self, message: dict[str, Any]) -> None:
        if not self._pipe.is_ours():  # another file may have its number by now
            print(f"the counting worker's pipe: {CLOSED}", file=sys.stderr, flush=True)
            os._exit(1)
        os.write(self._pipe.number, json.dumps(message).encode() + b"\n")


def main(descriptor: int, order_file: str) -> None:
    """Count what the file orders, and write a message a line to the descriptor."""
    order = json.loads(Path(order_file).read_text(encoding="utf8"))
    sys.path[:0] = [path for path in order["paths"] if Path(path).is_dir()]
    counter: Counter = (
        CallgrindCounter(Path(order["dumps"]), order["keep"]) if order["simulate"] else CpuCounter()
    )
    worker = CountWorker(descriptor, order["tests"], counter)
    code = pytest.main(list(order["arguments"]), plugins=[worker])
    print(f"pytest ended with {code!r} before it ran a test")
    os._exit(1)
