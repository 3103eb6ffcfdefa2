"""Broken inputs: valid JSON trees and valid texts with a few changes, by a seeded generator."""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any

DEEP = 100_000  # brackets: far beyond Python's limit of recursion
# Each of these may replace a value of a tree.
STRANGE: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 2**63, -(2**70), 10**400, 0.5, -0.0, 1e-320, 1e308, -1e308),
    *(math.inf, -math.inf, math.nan, "", "x", "nan", "1e999", "漢\x00", "\x1b[31mred\x1b[0m"),
    *("\u202e\u2066", "\ud800", "a\nb\r", "=1+1", "|*_`<script>&", "../../x", "x" * 5000),
    *([], {}, [[]], [None], [1, 2, 3], {"x": 1}, {"": None}, [["a", {}, 1]]),
)
# And each of these a part of a text.
STRANGE_WORDS = (
    *("", " ", "\t", "\n", ",", ":", "?", "nan", "NaN", "inf", "-inf", "1e999", "-0", "0x10"),
    *("1_000", "9" * 400, "٣", "\x00", "\x0c", "\x1b[2J", "\ufeff", "\ud7ff", "\u202e", "'", '"'),
    *("{", "}", "[", "]", "@", "@data", "#", "%", "=", "true", "false", "None", "-1", "1e-400"),
    *("a" * 3000, "[" * 300, "{" * 300, "..", "~", "*", "\\", "\r\n", "²", "½"),
)
WORD = re.compile(rb"[A-Za-z0-9_.+-]+|\s+|[^A-Za-z0-9_.+\-\s]")
MOST_CHANGES = 3


class Trees:
    """JSON values from valid ones. A changed value is the same object: use it before the next."""

    def __init__(self, valid: Sequence[Any]):
        self._valid = list(valid)
        self._places = [list(_places(value)) for value in valid]
        # Values of other places fit better than strange ones.
        self._values = [[holder[key] for holder, key in places] for places in self._places]

    @contextmanager
    def changed(self, dice: Random) -> Iterator[Any]:
        """A valid value with one to three changes, which are undone at the end."""
        which = _below(dice, len(self._valid))
        places, values = self._places[which], self._values[which]
        undo: list[tuple[Any, Any]] = []
        try:
            for _ in range(1 + _below(dice, MOST_CHANGES)):
                holder, key = places[_below(dice, len(places))]
                undo.append((holder, holder.copy()))
                with contextlib.suppress(
                    KeyError, IndexError, OverflowError
                ):  # removed, or too large
                    _change(dice, holder, key, values)
            yield self._valid[which]
        finally:
            for holder, before in reversed(undo):
                holder.clear()
                holder.update(before) if isinstance(holder, dict) else holder.extend(before)


def _change(dice: Random, holder: Any, key: Any, values: list[Any]) -> None:
    how, old = dice.random(), holder[key]
    if how < 0.35:
        holder[key] = STRANGE[_below(dice, len(STRANGE))]
    elif how < 0.5 and isinstance(old, (int, float)) and not isinstance(old, bool):
        holder[key] = old * dice.choice((0, -1, 2, 1e-9, 1e9, 1e300, 10**30)) + dice.choice((0, 1))
    elif how < 0.7:
        other = values[_below(dice, len(values))]
        # Not one that holds this place: that would be a ring.
        holder[key] = other if not isinstance(other, (dict, list)) else json.loads(_dump(other))
    elif how < 0.85:
        del holder[key]
    elif isinstance(holder, list):
        holder.insert(key, old)
    else:
        holder[dice.choice(("x", "", "\x1b[1m", str(key) * 2))] = old


def _dump(value: Any) -> str:
    try:
        return json.dumps(value)
    except (ValueError, RecursionError):
        return "{}"


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each place inside the value: a container and a key or an index."""
    if isinstance(value, (dict, list)):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield value, key
            yield from _places(inner)


def as_json(dice: Random, value: Any) -> bytes:
    """The value as JSON, which one time in a hundred is broken, or nested too deeply."""
    text = json.dumps(value).encode()
    if dice.random() < 0.01:
        return bytes_changed(dice, text) if dice.random() < 0.9 else b"[" * DEEP + text
    return text


class Texts:
    """Texts from valid ones: words and lines are replaced, deleted, doubled and swapped."""

    def __init__(self, valid: Sequence[bytes]):
        self._valid = [WORD.findall(text) for text in valid]
        self._words = [word for words in self._valid for word in set(words)]
        self._strange = [word.encode("utf8", "surrogatepass") for word in STRANGE_WORDS]

    def changed(self, dice: Random) -> bytes:
        """A valid text with one to three changes."""
        words = self._valid[_below(dice, len(self._valid))].copy()
        for _ in range(1 + _below(dice, MOST_CHANGES)):
            how, at = dice.random(), _below(dice, len(words) + 1)
            if how < 0.3:
                words[at : at + 1] = [self._strange[_below(dice, len(self._strange))]]
            elif how < 0.6:
                words[at : at + 1] = [self._words[_below(dice, len(self._words))]]
            elif how < 0.7:
                del words[at : at + 1 + _below(dice, 4)]
            elif how < 0.8:
                words[at:at] = words[at : at + 1 + _below(dice, 8)]
            elif how < 0.9:
                number = b"%d" % dice.randrange(-3, 300)
                words[at : at + 1] = [number]
            else:
                del words[at:]
        text = b"".join(words)
        return bytes_changed(dice, text) if dice.random() < 0.1 else text


def bytes_changed(dice: Random, text: bytes) -> bytes:
    """The text with a byte changed, or cut, or with a part of it doubled."""
    at, how = _below(dice, len(text) + 1), dice.random()
    if how < 0.5:
        return text[:at] + bytes([_below(dice, 256)]) + text[at + 1 :]
    if how < 0.75:
        return text[:at]
    return text[:at] + text[at // 2 :]


def _below(dice: Random, limit: int) -> int:
    # randrange takes three times as long.
    return int(dice.random() * limit)
