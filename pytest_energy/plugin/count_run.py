"""``--energy-count``: count each measuring test once, in a worker, before the run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from pytest_energy.commits.against import folder_as_long
from pytest_energy.commits.checkout import check_out
from pytest_energy.commits.counted import CountSettings, count_sides
from pytest_energy.commits.git import find_repo
from pytest_energy.commits.janitor import Janitor
from pytest_energy.commits.worker_arguments import (
    Side,
    commit_side,
    this_tree_side,
)
from pytest_energy.counting.available import counting_tool
from pytest_energy.errors import CountingUnavailable, OptionError
from pytest_energy.machine import usable_cpus
from pytest_energy.model import Counted
from pytest_energy.options import Options
from pytest_energy.plugin.command_line import AGAINST
from pytest_energy.plugin.fixtures import MEASURING_FIXTURES
from pytest_energy.plugin.worker_options import this_tree, worker_command_line


def require_counting() -> None:
    """Raises `pytest.UsageError` if nothing can count here, before anything runs."""
    try:
        counting_tool()
    except CountingUnavailable as error:
        raise pytest.UsageError(f"--energy-count: {error}") from None


def count_session(
    session: pytest.Session, options: Options, print_line: Callable[[str], object]
) -> dict[str, Counted]:
    """The counted work of each measuring test, by node id. Raises `pytest.UsageError`.

    With ``--energy-against``, the other commit's counts are the baselines.
    """
    tests = tuple(
        item.nodeid
        for item in session.items
        if MEASURING_FIXTURES & set(getattr(item, "fixturenames", ()))
    )
    if not tests:
        return {}
    tool, simulate = counting_tool()
    print_line(f"energy: counting {len(tests)} tests with {tool}")
    keep = options.count_keep and session.config.invocation_params.dir / options.count_keep
    settings = CountSettings(
        options.count_timeout_s,
        options.count_tolerance,
        simulate,
        keep or None,
        options.count_workers or usable_cpus(),
    )
    revisions = session.config.getoption(AGAINST) or []
    if len(revisions) > 1:
        raise pytest.UsageError(f"--energy-count compares with one commit: give {AGAINST} once")
    try:
        with Janitor() as janitor:
            if not revisions:
                return count_sides([this_tree(session.config)], tests, settings, janitor)[0]
            sides = _sides(session.config, revisions[0], janitor)
            baseline, counted = count_sides(sides, tests, settings, janitor)
            return _against(counted, baseline, sides[0].label)
    except (CountingUnavailable, OptionError) as error:
        raise pytest.UsageError(f"--energy-count: {error}") from None


def _against(
    counted: dict[str, Counted], baseline: dict[str, Counted], label: str
) -> dict[str, Counted]:
    """Each test with the other commit's count of it as the baseline."""
    found = {}
    for name, now in counted.items():
        before = baseline.get(name, Counted())
        if now.candidate is not None and before.candidate is None:
            now = replace(now, baseline_reason=f"{label}: {before.reason}")
        found[name] = replace(now, baseline=before.candidate)
    return found


def _sides(config: pytest.Config, revision: str, janitor: Janitor) -> tuple[Side, Side]:
    """The other commit, and this tree. Raises `OptionError`."""
    folder = config.invocation_params.dir.resolve()
    repo = find_repo(folder)
    line = worker_command_line(config)
    checkout = check_out(repo, revision, folder_as_long(janitor.folder, repo))
    label = f"{revision} ({checkout.commit[:12]})"
    python = config.getoption("--energy-against-python")
    return commit_side(checkout, label, folder, line, python), this_tree_side(repo, folder, line)
