"""Records of a sweep that no sweep wrote: one line, whatever is in the file."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsbench.cli import main
from tsbench.sweep import table
from tsbench.sweep.forecast import Capacity, Durations, TimeLeft
from tsbench.sweep.records import checked

RATIO = {"value": 2.0, "low": 1.5, "high": None}
MEASURED = {
    "task": {"kind": "measure", "dataset": "D", "config": "t1", "seed": 0, "device": "any"},
    "fingerprint": {"cpu": "C", "cores": 4},
    "meter": "m",
    "rows": [
        {
            "variant": "bf16",
            "batch": 1,
            "provenance": "measured",
            "speedup": RATIO,
            "greenup": RATIO,
            "powerup": None,
            "joules_per_inference": 0.5,
            "accuracy": 0.5,
        }
    ],
}
TRAINED = {
    "task": {**MEASURED["task"], "kind": "train", "epochs": 3},
    "cpu_seconds": 1.5,
    "joules": 3.0,
    "provenance": "measured",
    "started_s": 10.0,
    "ended_s": 14.0,
}
BUILT = {
    "task": {**MEASURED["task"], "kind": "build", "variants": ["bf16"], "batch_cases": 1},
    "cpu_seconds": 1.5,
    "started_s": 10.0,
    "ended_s": 14.0,
}
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


def places_of(value, way=()):
    """The way to each value inside."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, each in inner:
        yield (*way, key)
        if isinstance(each, (dict, list)):
            yield from places_of(each, (*way, key))


def with_value(record, way, value):
    changed = json.loads(json.dumps(record))
    holder = changed
    for key in way[:-1]:
        holder = holder[key]
    holder[way[-1]] = value
    return changed


WAYS = [(record, way) for record in (MEASURED, TRAINED, BUILT) for way in places_of(record)]


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(WAYS), ANYTHING)
def test_any_value_at_any_place_is_shown_or_refused(place, value):
    record, way = place
    try:
        found = checked(with_value(record, way, value))
    except ValueError as error:
        assert "\n" not in str(error)
        return
    assert TimeLeft([], Durations([found]), Capacity(1)).seconds() == (0, 0)
    if found["task"]["kind"] == "measure" and found["rows"]:
        (made,) = table.places([found], "folder")
        assert table.markdown(made).isprintable() or "\n" in table.markdown(made)
        list(table.terminal(made))


@pytest.mark.parametrize(
    ("way", "value", "problem"),
    [
        (("rows",), None, "rows is None, not a list"),
        (("rows", 0, "accuracy"), "high", "accuracy is 'high', not a number"),
        (("rows", 0, "speedup", "value"), 10**400, "value is 1000"),
        (("rows", 0, "greenup"), [1], "greenup is [1], not an object"),
        (("fingerprint",), 3, "fingerprint is 3, not an object"),
        (("task", "kind"), "guess", "kind is 'guess', not train, build or measure"),
        (("task", "variants"), [1], "a variant is 1, not a text"),
        (("started_s",), "now", "started_s is 'now', not a number"),
        (("meter",), 1, "meter is 1, not a text"),
    ],
)
def test_a_broken_record_is_one_line(tmp_path, capsys, way, value, problem):
    (tmp_path / "a.json").write_text(json.dumps(with_value(MEASURED, way, value)))
    assert main(["table", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert f"a.json: {problem}" in error and error.count("\n") == 1


def test_a_task_cannot_end_before_it_starts():
    with pytest.raises(ValueError, match="it ended at 14 s, before it started at 20 s"):
        checked(with_value(BUILT, ("started_s",), 20.0))


def test_a_record_that_is_nested_without_end_is_one_line(tmp_path, capsys):
    (tmp_path / "a.json").write_text("[" * 100_000)
    assert main(["table", str(tmp_path)]) == 2
    assert "a.json: invalid JSON" in capsys.readouterr().err


def test_escape_sequences_of_a_record_do_not_reach_the_terminal(tmp_path, capsys):
    record = with_value(MEASURED, ("rows", 0, "variant"), "\x1b[2Jbf16")
    (tmp_path / "a.json").write_text(json.dumps(record))
    assert main(["table", str(tmp_path)]) == 0
    assert "\x1b" not in capsys.readouterr().out
