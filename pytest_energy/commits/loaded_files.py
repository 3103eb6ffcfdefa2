"""Check, by the files that it has loaded, that each side runs its own commit's code.

A checkout has no built extensions and no generated files. Code with a slow substitute for them
would be compared with the built code, and look a hundred times slower.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pytest_energy.commits.git import git_bytes, printable
from pytest_energy.errors import OptionError

# The tool itself may come from anywhere.
OWN_PACKAGE = "pytest_energy"
ENVIRONMENT_FOLDERS = ("site-packages", "dist-packages")
REMEDY = (
    "git add it if it belongs to the change; else name an interpreter with the commit's own build "
    "with --energy-against-python"
)


def loaded_files() -> dict[str, str]:
    """The files of this process: of modules by their names, of mapped libraries by their paths."""
    files = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and name.partition(".")[0] != OWN_PACKAGE:
            path = os.path.abspath(file)
            if os.path.exists(path):  # torch.ops names "_ops.py", which does not exist
                files[name] = path
    known = set(files.values())
    return files | {path: path for path in _mapped_files() if path not in known}


def _mapped_files() -> Iterator[str]:
    """Files in this process's memory: shared libraries, also of ctypes, and mapped data (Linux)."""
    try:
        maps = Path("/proc/self/maps").read_bytes()
    except OSError:
        return
    for line in maps.splitlines():
        # proc(5): address, permissions, offset, device, inode, and the path if there is one.
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and fields[5].startswith(b"/") and b"(deleted)" not in fields[5]:
            yield os.fsdecode(fields[5])


class LoadedFilesCheck:
    """Compares what the two sides have loaded."""

    def __init__(
        self,
        repo: Path,
        checkout: Path,
        label: str,
        own_python: bool,
        stating_versions: Sequence[str] = (),
    ):
        """``stating_versions``: see `version_files.py`. The two sides may differ in these."""
        self._repo, self._checkout = repo, checkout
        self._label = label
        # The commit's side has an interpreter of its own, and with it builds of its own.
        self._own_python = own_python
        # Listed now: a test may patch what starting git needs.
        self._known = _tracked(repo) | frozenset(map(os.fsencode, stating_versions))

    def difference(self, then: Mapping[str, str], now: Mapping[str, str]) -> str | None:
        """Why the two sides cannot be compared; None if they can.

        ``then`` and ``now`` are the `loaded_files` of the commit and of this tree.
        """
        for name, file in then.items():
            if in_tree(file, self._repo, self._checkout):
                return (
                    f"{self._label} loads {name} from your own tree ({printable(file)}): install "
                    "it in another environment, and name that with --energy-against-python"
                )
        for name, file in now.items():
            if not in_tree(file, self._repo):
                continue
            theirs = then.get(name)
            if os.fsencode(os.path.relpath(file, self._repo)) not in self._known:
                if self._own_python and theirs is not None and _alike(file, theirs):
                    continue
                return (
                    f"this tree loads {printable(os.path.relpath(file, self._repo))}, which git "
                    f"does not track and {self._label} lacks: {REMEDY}"
                )
            if theirs is not None and not self._own_python and not in_tree(theirs, self._checkout):
                return (
                    f"{self._label} loads {name} from {printable(theirs)} and not from its own "
                    "commit: name an interpreter where it is installed with --energy-against-python"
                )
        return None


def _tracked(repo: Path) -> frozenset[bytes]:
    """Paths that git tracks, in submodules too."""
    listing = ("ls-files", "-z", "--cached")
    problem = "git lists no files"
    try:
        listed = git_bytes(repo, *listing, "--recurse-submodules", problem=problem)
    except OptionError:  # a submodule whose git folder is broken
        listed = git_bytes(repo, *listing, problem=problem)
    return frozenset(listed.split(b"\0"))


def in_tree(path: str, folder: str | Path, checkout: str | Path | None = None) -> bool:
    """Whether a path belongs to the tree at ``folder``, and not to an environment or to the
    ``checkout`` inside it."""
    path += os.sep
    if not path.startswith(f"{folder}{os.sep}"):
        return False
    if checkout is not None and path.startswith(f"{checkout}{os.sep}"):
        return False  # TMPDIR is inside the user's tree
    if any(part in ENVIRONMENT_FOLDERS for part in Path(path).parts):
        return False
    paths = sysconfig.get_paths()
    return not any(path.startswith(paths[name] + os.sep) for name in ("stdlib", "platstdlib"))


def _alike(one: str, other: str) -> bool:
    """Whether two files of a module are of one kind, such as two extensions."""
    return Path(one).suffix == Path(other).suffix
