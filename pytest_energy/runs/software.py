"""Which software a run measured: the interpreter, and the versions of what the tests import.

Two runs of the same tests with another numpy, or another Python, differ in more than the code.
"""

from __future__ import annotations

import json
import platform
import re
import sys
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib import metadata
from typing import Any

PYTHON, DISTRIBUTIONS = "python", "distributions"
# pytest's plugins and what they require are the measuring tools, not the measured software ...
TOOLS = ("pytest-energy", "pytest", "coverage", "pip", "setuptools")
# ... except for these, which a plugin may require too.
ALWAYS_MEASURED = frozenset(
    {"jax", "numba", "numpy", "onnxruntime", "openvino", "pandas", "polars", "pyarrow"}
    | {"scikit-learn", "scipy", "tensorflow", "torch"}
)


def software() -> dict[str, Any]:
    """The interpreter, and the version of each distribution that this process has imported.

    Without pytest, its plugins and what they require, and without distributions that were
    installed from a local folder or file: the latter are the code under test.
    """
    return {
        PYTHON: f"{platform.python_implementation()} {platform.python_version()}",
        DISTRIBUTIONS: _imported_distributions(),
    }


def software_differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """What differs, as text, or "". What only one side recorded is no difference."""
    pairs = [(PYTHON, ours.get(PYTHON), theirs.get(PYTHON))]
    our_versions, their_versions = ours.get(DISTRIBUTIONS, {}), theirs.get(DISTRIBUTIONS, {})
    pairs += [
        (name, our_versions[name], their_versions[name])
        for name in sorted(our_versions)
        if name in their_versions
    ]
    return "; ".join(
        f"{name}: {our} / {their}"
        for name, our, their in pairs
        if our is not None and their is not None and our != their
    )


def describe_software(known: Mapping[str, Any]) -> str:
    """In one line: ``CPython 3.12.1, numpy 2.1.0``."""
    versions = known.get(DISTRIBUTIONS, {})
    return ", ".join(
        [str(known.get(PYTHON) or "Python not recorded")]
        + [f"{name} {version}" for name, version in versions.items()]
    )


def _imported_distributions() -> dict[str, str]:
    owners = _owners()
    modules = {name.partition(".")[0] for name in list(sys.modules)}
    imported = {owner for module in modules for owner in owners.get(module, ())}
    found = {}
    for name in sorted(imported - (_tools() - ALWAYS_MEASURED)):
        try:
            distribution = metadata.distribution(name)
            if not _is_local(distribution):
                found[name] = str(distribution.version)
        except (metadata.PackageNotFoundError, OSError, KeyError, ValueError):
            continue  # a test changed sys.path, or the distribution has no metadata
    return found


@lru_cache(maxsize=1)
def _owners() -> dict[str, tuple[str, ...]]:
    """The distributions that install each top-level module."""
    return {
        module: tuple({_normalised(name) for name in names if name})
        for module, names in metadata.packages_distributions().items()
    }


@lru_cache(maxsize=1)
def _tools() -> frozenset[str]:
    """pytest, its plugins, and all that they require."""
    pending = [*TOOLS, *_plugins()]
    found: set[str] = set()
    while pending:
        name = _normalised(pending.pop())
        if name in found:
            continue
        found.add(name)
        try:
            requirements = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        pending += [
            match[0]
            for text in requirements
            if "extra ==" not in text and (match := re.match(r"[A-Za-z0-9._-]+", text))
        ]
    return frozenset(found)


def _plugins() -> Iterable[str]:
    for point in metadata.entry_points(group="pytest11"):
        if point.dist is not None and point.dist.name:
            yield point.dist.name


def _is_local(distribution: metadata.Distribution) -> bool:
    """Whether it was installed from a folder or file of this machine (PEP 610)."""
    text = distribution.read_text("direct_url.json")
    if not text:
        return False
    try:
        return str(json.loads(text)["url"]).startswith("file:")
    except (ValueError, KeyError, TypeError):
        return False


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
