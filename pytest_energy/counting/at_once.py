"""Several counting workers at once: no neighbour moves a count, so the CPUs are shared."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Any

from pytest_energy.counting.process import CountOrder, count_tests


def count_at_once(orders: Sequence[CountOrder], workers: int) -> list[dict[str, Mapping[str, Any]]]:
    """Count what each order asks for, so many orders at a time: each one's outcomes by test.

    What one order raises, or Ctrl-C, ends all workers.
    """
    cancelled, running = threading.Event(), set[int]()
    # The pool would not wait for a thread if Ctrl-C came while it is starting that thread.
    all_submitted = threading.Event()

    def count(order: CountOrder) -> dict[str, Mapping[str, Any]]:
        all_submitted.wait()
        if cancelled.is_set():
            return {}
        started: list[int] = []

        def on_start(process: int) -> None:
            order.on_start(process)
            running.difference_update(started)  # the worker before it, which has ended
            started.append(process)
            running.add(process)
            if cancelled.is_set():  # meanwhile
                _kill(process)

        try:
            return dict(
                count_tests(replace(order, on_start=on_start, is_cancelled=cancelled.is_set))
            )
        finally:
            running.difference_update(started)

    futures: list[Future[dict[str, Mapping[str, Any]]]] = []
    with ThreadPoolExecutor(workers) as pool:
        try:
            futures += (pool.submit(count, order) for order in orders)
            all_submitted.set()
            return [future.result() for future in futures]
        except BaseException:
            cancelled.set()
            all_submitted.set()
            for future in futures:
                future.cancel()
            for process in running.copy():
                _kill(process)
            raise


def _kill(session: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(session, signal.SIGKILL)
