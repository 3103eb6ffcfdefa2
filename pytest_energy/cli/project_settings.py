"""The project's own settings, from the ini file that pytest reads.

pytest searches the current folder and those above it, and takes the first file that has a section
for it. Source: `_pytest/config/findpaths.py` of pytest 8.1 to 9.2. Files and tables that only
pytest 9 reads are ignored beside an older pytest.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import iniconfig  # pytest needs it too

from pytest_energy.errors import OptionError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest needs it there

NAMES = (
    *("pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini"),
    *("pyproject.toml", "tox.ini", "setup.cfg"),
)


class ProjectSettings(NamedTuple):
    """The settings and their file."""

    file: Path | None
    values: Mapping[str, Any]
    """By ini key, as the file has them."""


def read_project_settings(folder: Path) -> ProjectSettings:
    """The settings for tests in ``folder``; none if no file is found. Raises `OptionError`."""
    for parent in (folder, *folder.parents):
        for name in NAMES:
            values = _section(parent / name)
            if values is not None:
                return ProjectSettings(parent / name, values)
    return ProjectSettings(None, {})


def as_switch(value: object) -> bool:
    """An ini value as pytest reads one of type bool. Raises `ValueError`."""
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text in ("true", "yes", "on", "1"):
        return True
    if text in ("false", "no", "off", "0", ""):
        return False
    raise ValueError("true or false")


def _section(path: Path) -> Mapping[str, Any] | None:
    """pytest's section of a file; None if the file or its section does not exist."""
    if not path.is_file():
        return None
    try:
        if path.suffix == ".toml":
            section = _toml_section(path)
        else:
            section = _ini_section(path)
    except (OSError, ValueError, RecursionError, iniconfig.ParseError) as error:
        raise OptionError(f"{path}: cannot be read: {error}") from None
    if section is not None and not isinstance(section, Mapping):
        raise OptionError(f"{path}: pytest's section is {section!r}, not a table")
    return section


def _ini_section(path: Path) -> Mapping[str, Any] | None:
    parsed = iniconfig.IniConfig(str(path))
    wanted = "tool:pytest" if path.suffix == ".cfg" else "pytest"
    if wanted in parsed.sections:
        return dict(parsed[wanted].items())
    # pytest.ini counts without a section too.
    return {} if path.name.lstrip(".") == "pytest.ini" else None


def _toml_section(path: Path) -> Any:
    if path.name != "pyproject.toml":
        if not _has_native_toml():
            return None
        return tomllib.loads(path.read_text(encoding="utf8")).get("pytest", {})
    tool = tomllib.loads(path.read_text(encoding="utf8")).get("tool", {})
    section = tool.get("pytest") if isinstance(tool, Mapping) else None
    if not isinstance(section, Mapping):
        return section
    native = {key: value for key, value in section.items() if key != "ini_options"}
    return native if native and _has_native_toml() else section.get("ini_options")


def _has_native_toml() -> bool:
    """Whether this pytest reads pytest.toml and [tool.pytest]. pytest itself is not imported."""
    try:
        return int(version("pytest").partition(".")[0]) >= 9
    except (PackageNotFoundError, ValueError):
        return True
