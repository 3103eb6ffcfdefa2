"""Importing the package loads nothing heavy. import-linter checks who imports whom."""

from __future__ import annotations

import subprocess
import sys

import pytest

import pytest_energy


def loaded_by(code: str) -> set[str]:
    """The top-level modules that a new interpreter loads when it runs this code."""
    script = f"{code}\nimport sys; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    return set(ended.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import pytest_energy",
        "from pytest_energy import *",
        "import pytest_energy.plugin",
        "import pytest_energy.cli",
    ],
)
def test_import_loads_nothing_heavy(code):
    loaded = loaded_by(code)
    assert "pytest_energy" in loaded
    assert not loaded & {
        "torch",
        "torchao",
        "numpy",
        "pandas",
        "scipy",
        "sklearn",
        "sktime",
        "tsbench",
        "pynvml",
    }


def test_the_library_loads_no_pytest():
    """Programs without tests may call measure() and versus()."""
    assert not loaded_by("from pytest_energy import *") & {
        "pytest",
        "_pytest",
        "pytest_benchmark",
        "rich",
        "filelock",
    }


def test_the_plugin_imports_reports_on_first_use():
    """pytest imports an installed plugin in every run, with or without --energy."""
    assert "rich" not in loaded_by("import pytest_energy.plugin") - loaded_by("import pytest")


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    ).stdout


def test_the_plugin_imports_measuring_on_first_use():
    loaded = run("import pytest_energy.plugin, sys; print(*sys.modules)").split()
    assert not {name for name in loaded if name.startswith("pytest_energy.")} - {
        f"pytest_energy.{name}"
        for name in (
            "clock",
            "errors",
            "plugin",
            "plugin.command_line",
            "plugin.hookspecs",
            "plugin.outcome",
            "plugin.stash",
            "options",
            "plan",
        )
    }


def test_every_public_name_exists_and_an_unknown_name_is_an_error():
    assert all(hasattr(pytest_energy, name) for name in pytest_energy.__all__)
    assert set(pytest_energy.__all__) <= set(dir(pytest_energy))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        pytest_energy.nonsense  # noqa: B018
