"""What a conftest can fill in."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest


def pytest_energy_synchronize() -> None:
    """Wait until work that was only queued is done; called before each reading of the meter.

    Without it, a window around calls that only launch GPU kernels ends before the kernels do::

        # conftest.py
        def pytest_energy_synchronize():
            torch.cuda.synchronize()
    """


def synchronizer(config: pytest.Config) -> Callable[[], object] | None:
    """What the conftests filled in, to be called; or None, so that an empty hook costs nothing in a window."""
    hook: Any = config.hook.pytest_energy_synchronize
    return hook if hook.get_hookimpls() else None
