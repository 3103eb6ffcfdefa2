"""A test that ends or replaces the process of the run: it would exit with 0, without a verdict."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest

from pytest_energy.plugin.saving import print_line

ENDED = "ERROR: a test called os._exit(0): nothing after it ran or was gated"


@contextmanager
def sudden_exit_is_no_pass(config: pytest.Config) -> Iterator[None]:
    """While tests run, `os._exit(0)` says what happened and exits with 4. `os.exec...` raises.

    Child processes do as they like. An exit from C is not noticed.
    """
    capture: Any = config.pluginmanager.get_plugin("capturemanager")
    reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
    run, real = os.getpid(), {name: getattr(os, name) for name in ("_exit", "execv", "execve")}

    def exit_now(status: int) -> None:
        if status == 0 and os.getpid() == run:
            with capture.global_and_fixture_disabled() if capture else nullcontext():
                print_line(config, f"\n{ENDED}")
                if reporter is not None:
                    reporter.flush()  # it has a buffer of its own
            sys.stdout.flush()
            status = pytest.ExitCode.USAGE_ERROR
        real["_exit"](status)

    def guarded(name: str) -> Callable[..., None]:
        def replace(*arguments: Any) -> None:
            if os.getpid() == run:
                raise RuntimeError(
                    f"os.{name} would replace the process of the run, and nothing would be gated; "
                    "start the program with subprocess"
                )
            real[name](*arguments)

        return replace

    ours = {"_exit": exit_now, "execv": guarded("execv"), "execve": guarded("execve")}
    for name, function in ours.items():
        setattr(os, name, function)
    try:
        yield
    finally:
        for name, function in ours.items():
            if getattr(os, name) is function:  # else a test's own patch goes over it
                setattr(os, name, real[name])
