"""The tests of two commits, by name: which are in both, and which may have been renamed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import PurePosixPath

# Names this similar suggest a renamed test. Two parametrizations of one test are less similar.
RENAMED_LIKENESS = 0.8
# Comparing two names takes 30 us. All pairs of 1 000 renamed tests took 31 s, before any test ran.
MOST_COMPARISONS = 10_000
MOST_CANDIDATES = 10

Pairs = Iterator[tuple[str, str]]
"""(then, now)"""


@dataclass(frozen=True)
class Names:
    """The tests of two commits, by name."""

    paired: frozenset[str]
    new: tuple[str, ...]
    vanished: tuple[str, ...]
    renamed: tuple[tuple[str, str], ...]
    """(then, now) of tests that were probably renamed, by similar names. They are not compared."""


def pair_names(then: Sequence[str], now: Sequence[str]) -> Names:
    """Which tests are in both commits, which in one only, and which may have been renamed."""
    before, after = frozenset(then), frozenset(now)
    new = tuple(name for name in now if name not in before)
    vanished = tuple(name for name in then if name not in after)
    renamed = _renamed(vanished, new)
    in_order = tuple((renamed[name], name) for name in new if name in renamed)
    return Names(before & after, new, vanished, in_order)


def _renamed(vanished: Sequence[str], new: Sequence[str]) -> dict[str, str]:
    """The old name by the new one. The searches that need few comparisons come first."""
    found: dict[str, str] = {}
    old_names, new_names = dict.fromkeys(vanished), dict.fromkeys(new)
    for search in (_in_another_folder, _in_another_file, _of_another_function, _of_any_name):
        for old, name in search(list(old_names), list(new_names)):
            if old in old_names and name in new_names:
                found[name] = old
                del old_names[old], new_names[name]
    return found


def _in_another_folder(vanished: Sequence[str], new: Sequence[str]) -> Pairs:
    return _with_equal(lambda name: (PurePosixPath(_file(name)).name, _test(name)), vanished, new)


def _in_another_file(vanished: Sequence[str], new: Sequence[str]) -> Pairs:
    return _with_equal(_test, vanished, new)


def _with_equal(key: Callable[[str], object], vanished: Sequence[str], new: Sequence[str]) -> Pairs:
    by_key: dict[object, list[str]] = defaultdict(list)
    for old in vanished:
        by_key[key(old)].append(old)
    for name in new:
        for like in get_close_matches(
            name, by_key[key(name)][:MOST_CANDIDATES], 1, RENAMED_LIKENESS
        ):
            yield like, name


def _of_another_function(vanished: Sequence[str], new: Sequence[str]) -> Pairs:
    """A function with another name, and the same parameters."""
    functions = {
        name: old for old, name in _of_any_name(_functions_of(vanished), _functions_of(new))
    }
    for name in new:
        function = _function(name)
        if function in functions:
            yield functions[function] + name[len(function) :], name


def _of_any_name(vanished: Sequence[str], new: Sequence[str]) -> Pairs:
    """Those that are alike, unless there are too many to compare."""
    if len(vanished) * len(new) > MOST_COMPARISONS:
        return
    for name in new:
        for like in get_close_matches(name, vanished, 1, RENAMED_LIKENESS):
            yield like, name


def _functions_of(names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(map(_function, names)))


def _file(name: str) -> str:
    return name.partition("::")[0]


def _test(name: str) -> str:
    return name.partition("::")[2]


def _function(name: str) -> str:
    """Without the parameters: ``test_it.py::test_fit`` of ``test_it.py::test_fit[2]``."""
    return name.partition("[")[0]
