"""The hook that a conftest can define."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest


def pytest_energy_synchronize() -> None:
    """Wait until queued work is done. Called before each reading of the meter.

    Without it, a window around calls that only launch GPU kernels ends before the kernels do::

        # conftest.py
        def pytest_energy_synchronize():
            torch.cuda.synchronize()
    """


def synchronizer(config: pytest.Config) -> Callable[[], object] | None:
    """Calls all conftests' hooks. None if there are none: then no call costs time in a window."""
    hook: Any = config.hook.pytest_energy_synchronize
    return hook if hook.get_hookimpls() else None
