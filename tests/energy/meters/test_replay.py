"""Traces: a recorded trace replays exactly, and an error names the line of a broken one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_energy.errors import MeterFailed, MeterUnavailable
from pytest_energy.meters import Meter, MeterSettings, info
from pytest_energy.meters.replay import RecordingMeter, open_replay
from pytest_energy.model import Domain, Reading

amounts = st.floats(0, 1e12)
domain_names = st.lists(st.text(min_size=1), min_size=1, max_size=4, unique=True)


class ScriptedMeter(Meter):
    """Returns the given readings."""

    name = "scripted"

    def __init__(
        self,
        domains,
        readings,
        provenance="measured",
        band=(1.0, 1.0),
        notes=(),
        interval_s=0.001,
        step=1e-6,
    ):
        self.domains, self.provenance, self.band, self.notes = domains, provenance, band, notes
        self.update_interval_s, self.resolution_joules = interval_s, step
        self._readings = iter(readings)
        self.closed = False

    def read(self):
        return next(self._readings)

    def close(self):
        self.closed = True


@st.composite
def meters_and_readings(draw):
    names = draw(domain_names)
    domains = tuple(Domain(name, draw(st.none() | st.sampled_from(names))) for name in names)
    times = sorted(draw(st.lists(amounts, max_size=8)))
    readings = [
        Reading(at_s, {name: draw(st.floats(-1e12, 1e12)) for name in names}) for at_s in times
    ]
    meter = ScriptedMeter(
        domains,
        readings,
        draw(st.sampled_from(["measured", "estimated"])),
        (draw(amounts), draw(amounts)),
        tuple(draw(st.lists(st.text(), max_size=2))),
        draw(amounts),
        draw(amounts),
    )
    return meter, readings


@given(meters_and_readings())
def test_a_recorded_run_replays_exactly(tmp_path_factory, case):
    meter, readings = case
    path = tmp_path_factory.mktemp("trace") / "trace.jsonl"
    with RecordingMeter(meter, path) as recording:
        assert info(recording) == info(meter)
        assert [recording.read() for _ in readings] == readings
    assert meter.closed
    with open_replay(MeterSettings(), str(path)) as replay:
        assert [replay.read() for _ in readings] == readings
        was, now = info(meter), info(replay)
        assert now.name == "replay of scripted"
        assert now.domains == was.domains
        assert (now.provenance, now.band, now.update_interval_s, now.resolution_joules) == (
            was.provenance,
            was.band,
            was.update_interval_s,
            was.resolution_joules,
        )
        assert now.notes[:-1] == was.notes
        with pytest.raises(MeterFailed, match=f"has ended: it has {len(readings)} readings"):
            replay.read()


def test_reading_a_closed_recording_fails(tmp_path):
    meter = RecordingMeter(ScriptedMeter((Domain("package-0"),), []), tmp_path / "trace.jsonl")
    meter.close()
    meter.close()
    with pytest.raises(MeterFailed, match="closed"):
        meter.read()


HEADER = {
    "pytest_energy_trace": 1,
    "name": "powercap",
    "provenance": "measured",
    "domains": [["package-0", None]],
    "update_interval_s": 0.001,
    "resolution_joules": 6.1e-5,
    "band": [1, 1],
    "notes": [],
}
GOOD_LINES = [json.dumps(HEADER), '[1.0, {"package-0": 5.0}]', '[2.0, {"package-0": 7.0}]']


@pytest.mark.parametrize(
    ("number", "line"),
    [
        (1, ""),
        (1, "{}"),
        (1, "[1, {}]"),
        (1, json.dumps({**HEADER, "pytest_energy_trace": 2})),
        (1, json.dumps({**HEADER, "provenance": "guessed"})),
        (1, json.dumps({**HEADER, "domains": []})),
        (1, json.dumps({**HEADER, "domains": [["a", None], ["a", None]]})),
        (1, json.dumps({**HEADER, "band": [1]})),
        (1, json.dumps({**HEADER, "update_interval_s": -1})),
        (1, json.dumps({**HEADER, "notes": "a text"})),
        (2, ""),
        (2, "not JSON"),
        (2, '[1.0, {"package-0": 5.0}'),
        (2, '[1.0, {"dram-0": 5.0}]'),
        (2, '[1.0, {"package-0": "5"}]'),
        (2, '[1.0, {"package-0": NaN}]'),
        (2, "[true, {}]"),
        (3, '[0.5, {"package-0": 7.0}]'),
        (1, "[" * 100_000),
        (2, "[" * 100_000),
    ],
)
def test_a_broken_trace_is_named_with_its_line(tmp_path, number, line):
    path = tmp_path / "trace.jsonl"
    lines = [*GOOD_LINES]
    lines[number - 1] = line
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(MeterUnavailable) as caught:
        open_replay(MeterSettings(), str(path))
    assert f"{path}, line {number}:" in caught.value.reason
    assert caught.value.remedy


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(sorted(HEADER)), json_values)
def test_any_value_in_the_header_is_accepted_or_named(tmp_path_factory, key, value):
    path = tmp_path_factory.mktemp("trace") / "trace.jsonl"
    path.write_text(json.dumps({**HEADER, key: value}) + "\n", encoding="utf-8")
    try:
        open_replay(MeterSettings(), str(path))
    except MeterUnavailable as error:
        assert f"{path}, line 1:" in str(error)


@given(json_values)
def test_any_value_as_a_reading_is_accepted_or_named(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("trace") / "trace.jsonl"
    path.write_text(GOOD_LINES[0] + "\n" + json.dumps(value) + "\n", encoding="utf-8")
    with pytest.raises(MeterUnavailable, match="line 2:"):
        open_replay(MeterSettings(), str(path))


@given(st.binary(max_size=200))
def test_invalid_bytes_are_refused_with_the_name_of_the_file(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("trace") / "trace.jsonl"
    path.write_bytes(content)
    with pytest.raises(MeterUnavailable, match="trace.jsonl"):
        open_replay(MeterSettings(), str(path))


def test_a_missing_or_unnamed_trace(tmp_path):
    with pytest.raises(MeterUnavailable, match="nowhere"):
        open_replay(MeterSettings(), str(tmp_path / "nowhere"))
    with pytest.raises(MeterUnavailable, match="replay:PATH"):
        open_replay(MeterSettings())
