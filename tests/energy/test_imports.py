"""Imports point one way, and importing the package loads nothing heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import pytest_energy

PACKAGE = Path(pytest_energy.__file__).parent
# Where a module belongs: `meters` and `report` are folders, and each counts as one.
MODULES = {path: path.relative_to(PACKAGE).with_suffix("").parts[0] for path in sorted(PACKAGE.rglob("*.py"))}
FOLDERS = {"meters", "report"}

# The one way: who may import whom. What is not named here stands above all of these.
MAY_IMPORT = {
    "errors": set(),
    "reading": set(),
    "hooks": set(),
    "settings": set(),
    "exit_codes": set(),
    "machine": set(),
    "disturbances": set(),
    "carbon": {"errors"},
    "lock": {"errors"},
    "journal": set(),
    "keeping": {"journal", "store", "reading", "session", "stash"},
    "timings": {"plan"},
    "configuration": set(),
    "meters": {"configuration", "errors", "reading"},
    "stats": {"reading"},
    "figures": {"reading", "stats"},
    "gpsup": {"reading", "stats"},
    "gate": {"reading", "stats", "figures", "gpsup"},
    "plan": {"errors"},
    "windows": {"errors", "reading", "meters", "plan"},
    "measure": {"errors", "reading", "meters", "plan", "windows"},
    "versus": {"errors", "reading", "meters", "plan", "windows", "measure", "stats", "gpsup"},
    "store": {"errors", "reading", "stats", "figures", "gpsup", "machine", "journal"},
    "unpaired": {"reading", "stats"},
    "noise": {"configuration", "errors", "unpaired"},
    "noise_runs": {"errors", "figures", "measure", "meters", "noise", "plan"},
    "saved": {"errors", "reading", "stats", "store"},
    "export": {"errors", "figures", "reading", "store"},
    "history": {"errors", "reading", "saved", "store"},
    "compare": {
        "errors",
        "exit_codes",
        "reading",
        "stats",
        "figures",
        "gpsup",
        "gate",
        "store",
        "machine",
        "unpaired",
        "noise",
        "saved",
    },
}
# Above the report; nothing else needs to know what a run looks like on paper, nor pytest's hooks.
ABOVE_REPORT = {
    "session",
    "fixture",
    "attempt",
    "benchmark_entry",
    "plugin",
    "cli",
    "meter_commands",
    "run_commands",
    "progress",
    "ending",
    "stash",
    "pull_request",
}
# What everybody who installs the package has.
DEPENDENCIES = {"pytest", "_pytest", "pytest_benchmark", "rich", "filelock"}
# What a module may use of an extra of ours.
EXTRAS = {"history": {"otava"}, "export": {"pyarrow"}, "report": {"vl_convert"}}


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imported(node: ast.AST, inside_function: bool = False) -> list[tuple[str, bool]]:
    """The names imported below a node, and whether inside a function; not those for type checkers alone."""
    names: list[tuple[str, bool]] = []
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            names += [(alias.name, inside_function) for alias in child.names]
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"line {child.lineno}: imports are absolute here, so that they can be read"
            # `from package import name` may mean a module of that name.
            names += [(f"{child.module}.{alias.name}", inside_function) for alias in child.names]
        elif not is_type_checking(child):
            names += imported(child, inside_function or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)))
    return names


def imports_of(path: Path) -> list[tuple[str, bool]]:
    return imported(ast.parse(path.read_text(encoding="utf8"), str(path)))


def own_modules(path: Path) -> set[str]:
    """The modules of pytest_energy that this one imports, wherever in it, by their first names."""
    firsts = {name.split(".")[1] for name, _ in imports_of(path) if name.split(".")[0] == PACKAGE.name and "." in name}
    return firsts & {*MODULES.values(), *FOLDERS} - {"__init__"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    module, uses = MODULES[path], own_modules(path)
    if module in MAY_IMPORT:
        assert uses <= MAY_IMPORT[module] | ({module} & FOLDERS)
    if module == "report":
        assert not uses & ABOVE_REPORT
    elif module not in ABOVE_REPORT:
        assert "report" not in uses
    assert "plugin" not in uses


def test_table_names_modules_that_are_there():
    known = {*MODULES.values()}
    assert set(MAY_IMPORT) <= known
    assert ABOVE_REPORT <= known


def test_no_circle():
    waiting = {module: set() for module in MODULES.values()}
    for path, module in MODULES.items():
        waiting[module] |= own_modules(path) - {module}
    while waiting:
        free = {module for module, uses in waiting.items() if not uses & waiting.keys()}
        assert free, f"these import each other: {sorted(waiting)}"
        waiting = {module: uses for module, uses in waiting.items() if module not in free}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_needs_nothing_that_is_not_installed_with_it(path):
    """A meter's own library, and what an extra of ours installs, is optional: imported only where it is used."""
    for name, inside_function in imports_of(path):
        first = name.split(".")[0]
        if first not in {*sys.stdlib_module_names, *DEPENDENCIES, PACKAGE.name}:
            assert inside_function, f"{path.name} imports {name}"
            assert MODULES[path] == "meters" or first in EXTRAS.get(MODULES[path], ()), f"{path.name} imports {name}"


def loaded_by(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter has after this code."""
    script = f"{code}\nimport sys; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    return set(ended.stdout.split())


@pytest.mark.parametrize(
    "code", ["import pytest_energy", "from pytest_energy import *", "import pytest_energy.plugin", "import pytest_energy.cli"]
)
def test_import_loads_nothing_heavy(code):
    loaded = loaded_by(code)
    assert "pytest_energy" in loaded
    assert not loaded & {"torch", "torchao", "numpy", "pandas", "scipy", "sklearn", "sktime", "tsbench", "pynvml"}


def test_library_alone_loads_no_pytest():
    """measure() and versus() are also for programs in which no test runs."""
    assert not loaded_by("from pytest_energy import *") & {"pytest", "_pytest", "pytest_benchmark", "rich", "filelock"}


def test_plugin_loads_no_report_until_it_is_needed():
    """pytest imports the plugin in each run of anybody who has it installed, with --energy or without."""
    assert "rich" not in loaded_by("import pytest_energy.plugin") - loaded_by("import pytest")


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout


def test_plugin_loads_no_measuring_until_it_is_needed():
    loaded = run("import pytest_energy.plugin, sys; print(*sys.modules)").split()
    assert not {name for name in loaded if name.startswith("pytest_energy.")} - {
        f"pytest_energy.{name}" for name in ("attempt", "errors", "hooks", "plugin", "settings", "stash")
    }


@pytest.mark.parametrize("name", ["figures", "measure", "versus"])
def test_a_name_that_is_a_module_too_means_the_function(name):
    code = (
        f"import pytest_energy.{name}; from pytest_energy import {name}; print(callable({name}), callable(pytest_energy.{name}))"
    )
    assert run(code).split() == ["True", "True"]


def test_every_public_name_is_there_and_no_other():
    assert all(hasattr(pytest_energy, name) for name in pytest_energy.__all__)
    assert set(pytest_energy.__all__) <= set(dir(pytest_energy))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        pytest_energy.nonsense  # noqa: B018
