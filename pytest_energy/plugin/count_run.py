"""``--energy-count``: count each measuring test once, in a worker, before the run."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from pytest_energy.commits.worker_arguments import worker_arguments
from pytest_energy.counting.callgrind import version
from pytest_energy.counting.cpu_counter import CpuCounter
from pytest_energy.counting.process import CountOrder, count_tests
from pytest_energy.errors import CountingUnavailable
from pytest_energy.model import Counted
from pytest_energy.options import Options
from pytest_energy.plugin.fixtures import MEASURING_FIXTURES
from pytest_energy.plugin.worker_options import worker_command_line
from pytest_energy.runs.work_format import work_from_json


def require_counting() -> None:
    """Raises `pytest.UsageError` if nothing can count here, before anything runs."""
    try:
        counting_tool()
    except CountingUnavailable as error:
        raise pytest.UsageError(f"--energy-count: {error}") from None


def counting_tool() -> tuple[str, bool]:
    """What counts here, and whether it simulates: valgrind, else the CPU's own counter.

    valgrind comes first, since its counts compare across machines. Raises `CountingUnavailable`.
    """
    try:
        return f"valgrind {version()}", True
    except CountingUnavailable as error:
        try:
            counter = CpuCounter()
        except CountingUnavailable:
            raise error from None
        counter.close()
        return counter.tool, False


def count_session(
    session: pytest.Session, options: Options, print_line: Callable[[str], object]
) -> dict[str, Counted]:
    """The counted work of each measuring test, by node id. Raises `pytest.UsageError`."""
    tests = tuple(
        item.nodeid
        for item in session.items
        if MEASURING_FIXTURES & set(getattr(item, "fixturenames", ()))
    )
    if not tests:
        return {}
    tool, simulate = counting_tool()
    print_line(f"energy: counting {len(tests)} tests with {tool}")
    config = session.config
    folder = config.invocation_params.dir
    arguments, paths = worker_arguments(worker_command_line(config), config.rootpath, folder)
    order = CountOrder(
        sys.executable,
        folder,
        (*arguments, *paths),
        _import_paths(config.rootpath),
        tests,
        options.count_timeout_s,
        simulate,
    )
    counted: dict[str, Counted] = {}
    try:
        for name, message in count_tests(order):
            counted[name] = _counted(message)
    except CountingUnavailable as error:
        raise pytest.UsageError(f"--energy-count: {error}") from None
    return counted


def _counted(message: Mapping[str, Any]) -> Counted:
    if "failed" in message:
        return Counted(reason=f"not counted: {message['failed']}")
    baseline = message.get("baseline")
    return Counted(
        work_from_json(message["candidate"]), None if baseline is None else work_from_json(baseline)
    )


def _import_paths(root: Path) -> tuple[str, ...]:
    """This process's sys.path inside the project: ``python -m pytest`` has the current folder."""
    paths = [Path(entry or os.curdir).resolve() for entry in sys.path]
    inside = [path for path in paths if path.is_relative_to(root)]
    return tuple(str(path) for path in inside if "site-packages" not in path.parts)
