"""docs/api.md from the docstrings of the public names: ``python -m scripts.reference``."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest_energy
from pytest_energy.plugin.fixtures import EnergyFixture

PAGE = Path(__file__).parents[1] / "docs" / "api.md"
# In the order in which a reader needs them. A test checks that every public name is here.
PARTS = (
    ("Measure", ("measure", "once", "Once", "versus", "versus_many", "Plan")),
    ("Results", ("Measurement", "Comparison", "Figures", "figures", "Interval", "Window")),
    ("Meters", ("open_meter", "Meter", "MeterSettings", "Domain", "Reading")),
    ("Machine", ("fingerprint", "machine_lock")),
    ("Errors", ("EnergyError", "OptionError", "MeterUnavailable", "MeterFailed")),
)
INTRODUCTION = """# Library

Made from the docstrings by `python -m scripts.reference`. Everything here is imported from
`pytest_energy`; all else is private. `print` shows a measurement, its figures or a comparison in a
line for each figure, and a notebook shows them as tables."""


def page() -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    for title, names in PARTS:
        parts.append(f"## {title}")
        for name in names:
            parts += _entry(name, getattr(pytest_energy, name))
    parts.append("## The fixture `energy`")
    for name, value in vars(EnergyFixture).items():
        if name == "__call__":
            parts += _entry("energy", value)
        elif inspect.isfunction(value) and not name.startswith("_"):
            parts += _entry(f"energy.{name}", value)
    return "\n\n".join(parts) + "\n"


def markdown(docstring: str) -> str:
    """A docstring as Markdown: code in single backquotes, and examples as indented blocks."""
    text = re.sub(r"``([^`]+)``", r"`\1`", inspect.cleandoc(docstring))
    return text.replace("::\n", ":\n")


def _entry(name: str, value: object) -> list[str]:
    heading = f"### `{name}`"
    parts = [heading]
    signature = _signature(name, value)
    if signature:
        parts.append(f"    {signature}")
    parts.append(markdown(value.__doc__ or ""))
    return parts


def _signature(name: str, value: object) -> str:
    """The call, without types and without ``self``; nothing for errors and protocols."""
    if inspect.isclass(value) and (
        issubclass(value, BaseException) or inspect.isabstract(value) or value.__doc__ is None
    ):
        return ""
    try:
        parameters = inspect.signature(value).parameters.values()  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return ""
    shown = [
        str(each.replace(annotation=each.empty, default=each.empty))
        + ("" if each.default is each.empty else f"={_default(each.default)}")
        for each in parameters
        if each.name != "self"
    ]
    star = [index for index, each in enumerate(parameters) if each.kind is each.KEYWORD_ONLY]
    positional = any(each.kind is each.VAR_POSITIONAL for each in parameters)
    if star and not positional:
        shown.insert(star[0], "*")
    return f"{name}({', '.join(shown)})"


def _default(value: object) -> str:
    """A default in short: functions by name, the package's objects by their class."""
    if callable(value) and hasattr(value, "__name__"):
        return str(value.__name__)
    text = repr(value)
    return f"{type(value).__name__}()" if len(text) > 20 else text
