"""The project's own settings: what pytest's ini file says, read where pytest reads it.

pytest looks for its file in the current folder and above, by name, and takes the first one that
has a section for it. Source: `_pytest/config/findpaths.py` of pytest 8.1 to 9.2.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
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
    """What the ini file says."""

    file: Path | None
    values: Mapping[str, Any]
    """By ini key, as in the file."""


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
            return _toml_section(path)
        parsed = iniconfig.IniConfig(str(path))
        wanted = "tool:pytest" if path.suffix == ".cfg" else "pytest"
        if wanted in parsed.sections:
            return dict(parsed[wanted].items())
        # pytest.ini counts without a section too.
        return {} if path.name.lstrip(".") == "pytest.ini" else None
    except (OSError, ValueError, iniconfig.ParseError) as error:
        raise OptionError(f"{path}: cannot be read: {error}") from None


def _toml_section(path: Path) -> Mapping[str, Any] | None:
    document = tomllib.loads(path.read_text(encoding="utf8"))
    if path.name != "pyproject.toml":
        return dict(document.get("pytest", {}))
    tool = document.get("tool", {}).get("pytest")
    if tool is None:
        return None
    return dict(tool.get("ini_options", tool))
