"""The packages and programs that a variant requires: their versions, and how to install them.

Nothing is imported to find them: listing the variants must not take the seconds of torch.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec

from tsbench.errors import VariantUnavailable

DISTRIBUTION = "tsbench"
COMPILER = "g++"  # or the value of CXX
PROGRAMS = {COMPILER: "apt-get install g++, or set CXX"}


def found(name: str) -> str | None:
    """A package's version; "found" if it has none or is a program; None if it is missing."""
    if name in PROGRAMS:
        return "found" if _program(name) else None
    try:
        return version(name)
    except PackageNotFoundError:
        return "found" if find_spec(name.replace("-", "_")) else None


def remedy(name: str) -> str:
    """The command that installs it: with an extra of tsbench if one has it."""
    if name in PROGRAMS:
        return PROGRAMS[name]
    name = name.replace("_", "-")  # a package is imported by the one and installed by the other
    extra = _extras().get(name.lower())
    return f'pip install "{DISTRIBUTION}[{extra}]"' if extra else f"pip install {name}"


def require(variant: str, names: Iterable[str]) -> None:
    """Raises VariantUnavailable, in the variant's name, if a package or program is missing."""
    missing = [name for name in names if not (_program if name in PROGRAMS else find_spec)(name)]
    if missing:
        remedies = dict.fromkeys(remedy(name) for name in missing)
        raise VariantUnavailable(
            variant, f"{', '.join(missing)} not installed", "; ".join(remedies)
        )


def _program(name: str) -> str | None:
    return shutil.which(os.environ.get("CXX", name) if name == COMPILER else name)


def _extras() -> dict[str, str]:
    """The extra of tsbench that installs a package, by the package's name."""
    try:
        wanted = requires(DISTRIBUTION) or []
    except PackageNotFoundError:  # a source tree that is not installed
        return {}
    matches = (re.match(r"([\w.-]+).*extra == ['\"]([\w-]+)['\"]", line) for line in wanted)
    return {match[1].lower(): match[2] for match in matches if match}
