"""Restores what tests may change in the process, so that the run can be saved."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from functools import partial
from importlib import import_module

import pytest

from pytest_energy.plugin.stash import LIMITS

try:
    import resource
except ImportError:  # Windows
    LIMITED: tuple[int, ...] = ()
else:
    LIMITED = (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE)

# A test may replace it in the module.
_getcwd = partial(os.getcwd)
# After a test has lowered the limit of open files, no module can be imported.
USED_LATE = ("plugin.run_end", "report.junit", "report.compare_table", "report.escape")


def preload(config: pytest.Config) -> None:
    """At the start: import what the end uses, note the limits, keep pyfakefs out."""
    for name in USED_LATE:
        import_module(f"pytest_energy.{name}")
    config.stash[LIMITS] = {limit: resource.getrlimit(limit) for limit in LIMITED}
    fake_files = sys.modules.get("pyfakefs.fake_filesystem_unittest")
    if fake_files is not None:
        # Its fixture replaces `os` and `open` in all modules but these. Meters read real files.
        own = {name for name in sys.modules if name.partition(".")[0] == "pytest_energy"}
        fake_files.Patcher.SKIPNAMES |= own


def leave_deleted_folder(config: pytest.Config) -> None:
    """Return to the folder in which pytest was started, if a test deleted the current one."""
    try:
        _getcwd()
    except OSError:
        with suppress(OSError):
            os.chdir(config.invocation_params.dir)


def restore_limits(config: pytest.Config) -> None:
    """Restore the limits that the run began with, so that it can be saved."""
    for limit, began in config.stash.get(LIMITS, {}).items():
        if resource.getrlimit(limit) != began:
            with suppress(OSError, ValueError):  # only root may raise a hard limit
                resource.setrlimit(limit, began)
