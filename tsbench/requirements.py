"""What a variant needs: whether it is here, in which version, and how to get it.

Nothing is imported to find out: listing the variants takes no second of torch.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec

from tsbench.errors import VariantUnavailable

DISTRIBUTION = "tsbench"
PROGRAMS = {"g++": "apt-get install g++, or set CXX"}


def found(name: str) -> str | None:
    """The version of a package, "found" of a program and of what tells no version, None of what is missing."""
    if name in PROGRAMS:
        return "found" if shutil.which(name) else None
    try:
        return version(name)
    except PackageNotFoundError:
        return "found" if find_spec(name.replace("-", "_")) else None


def remedy(name: str) -> str:
    """The line that gets it: one of our extras where one of them has it."""
    if name in PROGRAMS:
        return PROGRAMS[name]
    extra = _extras().get(name.lower())
    return f'pip install "{DISTRIBUTION}[{extra}]"' if extra else f"pip install {name}"


def require(variant: str, modules: Iterable[str]) -> None:
    """Raises VariantUnavailable, in the variant's name, where a module cannot be imported."""
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        lines = dict.fromkeys(remedy(name) for name in missing)
        raise VariantUnavailable(variant, f"{', '.join(missing)} not installed", "; ".join(lines))


def _extras() -> dict[str, str]:
    """Which of our extras installs a package, by the package's name."""
    try:
        wanted = requires(DISTRIBUTION) or []
    except PackageNotFoundError:  # run from a source tree
        return {}
    matches = (re.match(r"([\w.-]+).*extra == ['\"]([\w-]+)['\"]", line) for line in wanted)
    # `test` repeats what others have.
    return {match[1].lower(): match[2] for match in matches if match and match[2] != "test"}
