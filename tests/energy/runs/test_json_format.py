"""Write and read runs as JSON, their schema, and files that are not runs."""

from __future__ import annotations

import base64
import copy
import json
import math
import os
import random
import zlib
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_energy.errors import RunUnreadable
from pytest_energy.gate import Budget, Gate
from pytest_energy.machine import fingerprint
from pytest_energy.model import (
    ORDERS,
    Block,
    CpuSeconds,
    Domain,
    MeterInfo,
    Quality,
    Result,
    VerdictName,
    Window,
)
from pytest_energy.runs import json_format
from pytest_energy.runs.comparison_format import MOST_PLAIN_BLOCKS
from pytest_energy.stats.gps_up import gps_up
from pytest_energy.stats.per_call import figures
from tests.energy.rigs.made_up import (
    ESTIMATE,
    SENSOR,
    block,
    compared,
    measurement,
    result,
    results,
    texts,
    window,
)

SCHEMA = json.loads(json_format.SCHEMA_FILE.read_text(encoding="utf8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)

# All examples share one tmp_path, and each of them writes its own file.
one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def saved(*made: Result, meter: MeterInfo = SENSOR) -> dict:
    """A document as pytest-benchmark saves it, with the keys of this plugin."""
    idle = made[0].measurement.idle if made else ()
    document = {
        "machine_info": {"python_version": "3.11"},
        "commit_info": {"id": "0b0cb4e", "dirty": False},
        "benchmarks": [
            {
                "name": "test_it",
                "fullname": r.name,
                "group": r.group,
                "stats": {},
                "energy": json_format.result_to_json(r),
            }
            for r in made
        ],
        "datetime": "2026-01-02T03:04:05+00:00",
        "version": "5.3.1",
        "energy": json_format.run_to_json(meter, idle),
    }
    return json.loads(json.dumps(document))


def read(tmp_path, document: object) -> json_format.Run:
    file = tmp_path / "run.json"
    file.write_text(
        document if isinstance(document, str) else json.dumps(document), encoding="utf8"
    )
    return json_format.read_run(file)


def unreadable(tmp_path, document: object) -> str:
    """The error's text after the file's name, which comes first."""
    with pytest.raises(RunUnreadable) as raised:
        read(tmp_path, document)
    named = f"{tmp_path / 'run.json'}: "
    assert str(raised.value).startswith(named)
    return str(raised.value).removeprefix(named)


@pytest.fixture
def document() -> dict:
    """A run with everything in it."""
    made = result(
        measurement(*(window(0.1, 2.0, calls=10),) * 6, idle=(window(1.0, 5.0, calls=0),) * 6),
        compared((block(window(0.2, 4.0, calls=10), window(0.1, 2.0, calls=10)),) * 12),
        Quality("accuracy", 0.85, 0.84),
        Quality("error", 0.1, None, 0.2),
    )
    return saved(replace(made, verdicts=Gate(Budget(max_joules=1.0)).judge(made)))


def assert_close(seen: Result, made: Result) -> None:
    """Equal, except that windows are rounded."""
    pairs = [(seen.measurement.windows, made.measurement.windows)]
    pairs += [(seen.measurement.idle, made.measurement.idle)]
    if made.comparison is not None:
        pairs += [
            (one.windows, other.windows)
            for one, other in zip(seen.comparison.blocks, made.comparison.blocks, strict=True)
        ]
        assert [(b.order, b.replicate) for b in seen.comparison.blocks] == [
            (b.order, b.replicate) for b in made.comparison.blocks
        ]
        assert seen.comparison.baseline_name == made.comparison.baseline_name
        assert seen.comparison.confidence == made.comparison.confidence
    for some, others in pairs:
        for one, other in zip(some, others, strict=True):
            assert one.calls == other.calls
            assert one.seconds == pytest.approx(other.seconds, rel=1e-8, abs=0)
            assert one.joules == pytest.approx(other.joules, rel=1e-6, abs=0)
    without = {"measurement": None, "comparison": None}
    assert replace(seen, **without) == replace(made, **without)
    assert seen.measurement.meter == made.measurement.meter
    assert seen.measurement.warnings == made.measurement.warnings


@one_folder
@given(results())
def test_round_trip(tmp_path, made):
    run = read(tmp_path, saved(made, meter=made.measurement.meter))
    (seen,) = run.results
    assert_close(seen, made)
    # Rounded values are saved as they are.
    again = read(tmp_path, saved(seen, meter=seen.measurement.meter))
    assert again.results == run.results
    assert run.machine == fingerprint()
    assert run.commit == {"id": "0b0cb4e", "dirty": False}
    assert run.at == "2026-01-02T03:04:05+00:00"
    assert run.path == str(tmp_path / "run.json")


@pytest.mark.parametrize("count", [16, 17, 24])
def test_blocks_keep_their_replicate(tmp_path, count):
    alike = block(window(0.2, 4.0, calls=10), window(0.1, 2.0, calls=10))
    made = result(
        measurement(*(window(0.1, 2.0, calls=10),) * 6),
        compared(tuple(replace(alike, replicate=n // 2) for n in range(count))),
    )
    document = saved(made)
    VALIDATOR.validate(document)
    packed = isinstance(document["benchmarks"][0]["energy"]["versus"]["blocks"], str)
    assert packed == (count > MOST_PLAIN_BLOCKS)
    assert read(tmp_path, document).results == (made,)


def test_a_replicate_is_a_number(tmp_path, document):
    document["benchmarks"][0]["energy"]["versus"]["blocks"][0].append("first")
    assert "'first' is not a value of type int" in unreadable(tmp_path, document)


def test_windows_of_a_candidate_are_saved_once(tmp_path):
    sides = block(window(0.2, 4.0), window(0.1, 2.0)), block(window(0.3, 4.0), window(0.2, 2.0))
    windows = (window(0.1, 2.0),) * 2 + (window(0.2, 2.0),) * 2
    document = saved(result(measurement(*windows), compared(sides)))
    assert document["benchmarks"][0]["energy"]["windows"] == []
    assert read(tmp_path, document).results[0].measurement.windows == windows


def test_a_run_of_schema_1_is_read_with_its_interpreter():
    run = json_format.read_run(Path(__file__).with_name("schema_1.json"))
    plain, versus = run.results
    assert (len(plain.measurement.windows), len(versus.measurement.windows)) == (8, 24)
    assert len(versus.comparison.blocks) == 12
    assert run.software == {"python": "CPython 3.11.7"}


def noisy_blocks(count: int) -> tuple[Block, ...]:
    """Blocks as two busy cores give them for calls of 9 us."""
    dice = random.Random(count)

    def noisy() -> Window:
        taken_s = 0.001 * dice.lognormvariate(0, 0.1)
        return window(taken_s, 5 * taken_s * dice.lognormvariate(0, 0.1), 110)

    return tuple(Block(dice.choice(ORDERS), tuple(noisy() for _ in range(4))) for _ in range(count))


@pytest.mark.parametrize("count", [17, 100, 1000])
def test_a_comparison_takes_at_most_20_kb(tmp_path, count):
    meter = replace(ESTIMATE, domains=(Domain("package-0"),))
    blocks = tuple(
        replace(each, windows=tuple(w._replace(joules={"package-0": w.joules["package-0"]})
                                    for w in each.windows))
        for each in noisy_blocks(count)
    )  # fmt: skip
    windows = tuple(
        w for each in blocks for letter, w in zip(each.order, each.windows) if letter == "B"
    )
    made = result(measurement(*windows, meter=meter), compared(blocks, meter))
    document = saved(made, meter=meter)
    assert len(json_format.document_text({"benchmarks": document["benchmarks"]})) < 20_000
    (seen,) = read(tmp_path, document).results
    for ratio in ("speedup", "greenup", "powerup"):
        ours, theirs = getattr(seen.comparison, ratio), getattr(made.comparison, ratio)
        assert ours.value == pytest.approx(theirs.value, rel=1e-3)
        assert ours.low == pytest.approx(theirs.low, rel=1e-3)


@pytest.mark.parametrize("count", [3, MOST_PLAIN_BLOCKS + 4])
def test_cpu_seconds_of_windows_are_read_as_they_were_saved(tmp_path, count):
    chance = random.Random(1)
    blocks = tuple(
        replace(each, windows=tuple(
            w._replace(cpu=CpuSeconds(chance.randrange(200) / 1000, chance.randrange(-3, 20) / 100))
            for w in each.windows))
        for each in noisy_blocks(count)
    )  # fmt: skip
    windows = tuple(
        w for each in blocks for letter, w in zip(each.order, each.windows) if letter == "B"
    )
    (seen,) = read(tmp_path, saved(result(measurement(*windows), compared(blocks)))).results
    assert [w.cpu for w in seen.measurement.windows] == [w.cpu for w in windows]
    assert [w.cpu for b in seen.comparison.blocks for w in b.windows] == [
        w.cpu for b in blocks for w in b.windows
    ]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ([[0.1]], "CPU seconds [0.1]"),
        ([[0.1, math.nan]], "nan is not a finite number"),
        ([[0.1, "0.2"]], "'0.2' is not a finite number"),
        (["ab"], "'ab' is not a value of type array"),
        ([[0.1, 0.2], 3], "2 values after its calls"),
    ],
)
def test_cpu_seconds_of_another_form_are_refused(tmp_path, more, says):
    document = saved(result(measurement(window(1.0, 1.0))))
    document["benchmarks"][0]["energy"]["windows"][0] += more
    assert says in unreadable(tmp_path, document)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: "%" + text, "base64"),
        (lambda text: text[: len(text) // 8 * 4], "cut short"),
        (lambda text: base64.b64encode(b"not zlib").decode(), "cannot be unpacked"),
        (lambda text: packed('{"orders": "A"}'), "'replicates' is missing"),
        (lambda text: packed("[1]"), "broken"),
        (lambda text: packed("{"), "broken"),
        (lambda text: packed(" " * 30_000_000), "too long"),
    ],
)
def test_packed_blocks_that_are_broken(tmp_path, change, says):
    document = saved(result(measurement(window(1.0, 1.0)), compared(noisy_blocks(20))))
    versus = document["benchmarks"][0]["energy"]["versus"]
    versus["blocks"] = change(versus["blocks"])
    assert says in unreadable(tmp_path, document)


def packed(text: str) -> str:
    return base64.b64encode(zlib.compress(text.encode())).decode()


@one_folder
@given(
    st.dictionaries(
        st.sampled_from(["orders", "replicates", "calls", "seconds", "joules"]),
        st.recursive(
            st.none() | st.integers() | st.floats() | st.sampled_from(["A", "AB", "X"]),
            lambda inner: (
                st.lists(inner, max_size=5)
                | st.dictionaries(
                    st.sampled_from(["step", "least", "more", "package-0"]), inner, max_size=4
                )
            ),
        ),
    )
)
def test_any_packed_columns_are_refused_with_the_files_name(tmp_path, columns):
    document = saved(result(measurement(window(1.0, 1.0)), compared(noisy_blocks(20))))
    document["benchmarks"][0]["energy"]["versus"]["blocks"] = packed(json.dumps(columns))
    unreadable(tmp_path, document)


@given(results())
def test_schema_accepts_every_saved_run(made):
    VALIDATOR.validate(saved(made, meter=made.measurement.meter))


def test_a_quality_of_nan_is_saved_as_null(tmp_path):
    document = saved(
        result(measurement(window(1.0, 1.0)), None, Quality("accuracy", math.nan, 0.84))
    )
    VALIDATOR.validate(document)
    (quality,) = read(tmp_path, document).results[0].qualities
    assert math.isnan(quality.value)
    assert quality.floor == 0.84


def test_figures_and_ratios_are_computed_from_the_windows(tmp_path, document):
    honest = read(tmp_path, document).results
    entry = document["benchmarks"][0]["energy"]
    entry["joules"] = entry["seconds"] = {"value": 1e-9, "low": 1e-9, "high": 1e-9}
    entry["versus"] |= {"speedup": {"value": 9.0, "low": 9.0, "high": 9.0}, "category": 1}
    assert read(tmp_path, document).results == honest
    assert figures(honest[0].measurement).joules.value == pytest.approx(0.2)
    assert honest[0].comparison.speedup.value == pytest.approx(2.0)


def test_an_entry_without_joules_is_skipped(tmp_path, document):
    document["benchmarks"].append(
        {"name": "test_plain", "fullname": "test_it.py::test_plain", "stats": {}}
    )
    VALIDATOR.validate(document)
    assert len(read(tmp_path, document).results) == 1


def test_run_outside_of_a_repository(tmp_path, document):
    document["commit_info"] = None
    assert read(tmp_path, document).commit == {}


def test_other_plugins_keys_may_have_any_value(tmp_path, document):
    """Python writes NaN and Infinity into JSON, as into somebody's extra_info."""
    document["benchmarks"][0]["extra_info"] = {"loss": math.nan, "best": math.inf}
    VALIDATOR.validate(document)
    assert len(read(tmp_path, document).results) == 1


def test_schema_has_the_number_of_the_writer():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$defs"]["run"]["properties"]["schema"]["const"] == json_format.SCHEMA


def test_schema_has_every_verdict():
    verdicts = SCHEMA["$defs"]["entry"]["properties"]["verdicts"]["items"]["properties"]["verdict"][
        "enum"
    ]
    assert tuple(verdicts) == VerdictName.__args__


def objects_of_ours(schema: dict, where: str = "") -> dict[str, dict]:
    found = {where: schema} if "properties" in schema and where else {}
    for key, value in schema.items():
        if isinstance(value, dict) and not (where == "" and key == "properties"):
            found |= objects_of_ours(value, f"{where}/{key}")
    return found


def test_schema_allows_no_other_keys_under_energy():
    ours = objects_of_ours(SCHEMA)
    assert len(ours) >= 9
    for where, schema in ours.items():
        assert schema["additionalProperties"] is False, where
        # What only some have: boards a model, counting runs work, few tests items or a ceiling.
        optional = {
            "/$defs/machine": {"device"},
            "/$defs/entry": {"items", "work"},
            "/$defs/entry/properties/work": {"baseline"},
            "/$defs/entry/properties/quality/additionalProperties": {"ceiling"},
        }.get(where, set())
        assert set(schema["required"]) == set(schema["properties"]) - optional, where


def change(document: dict, path: str, value: object) -> dict:
    """The document with another value at ``a.b.0.c``; ... deletes the key."""
    *way, last = (int(step) if step.isdigit() else step for step in path.split("."))
    changed = inner = copy.deepcopy(document)
    for step in way:
        inner = inner[step]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return changed


ENTRY = "benchmarks.0.energy"
WINDOW = f"{ENTRY}.windows.0"
BLOCK = f"{ENTRY}.versus.blocks.0"
# The path, the new value, and a part of the error.
BROKEN = [
    ("energy.schema", 3, "schema 3; this version of pytest-energy reads 1 and 2"),
    ("energy.schema", ..., "the key 'schema' is missing"),
    ("energy.meters", ..., "the key 'meters' is missing"),
    ("energy.meters", None, "None is not a value of type array"),
    ("energy.meters", [], "which is not one of the meters []"),
    ("energy.meters.0.name", "other", "'made-up', which is not one of the meters ['other']"),
    ("energy.meters.0.provenance", "felt", "'felt' is not one of measured, attributed, estimated"),
    (
        "energy.meters.0.provenance",
        "estimated",
        "is 'measured', but its meter made-up is 'estimated'",
    ),
    ("energy.meters.0.domains", [], "every domain of the meter 'made-up' is inside another"),
    ("energy.meters.0.domains.0.name", "package-1", "a window has joules of"),
    ("energy.meters.0.domains.0.name", 1, "1 is not a value of type str"),
    ("energy.meters.0.band", [1.0], "[1.0] is not a band"),
    ("energy.meters.0.update_interval_s", -1, "-1 is not a finite number"),
    ("energy.meters.0.resolution_joules", "fine", "'fine' is not a finite number"),
    ("energy.meters.0.notes", [1], "1 is not a value of type str"),
    ("energy.idle.0.0", 0, "a window of 0 s and 0 calls"),
    ("energy.idle.0.2", -1, "-1 is not a finite number of 0 or more"),
    ("energy.machine.cores", math.inf, "inf is not a finite number"),
    ("energy.machine.cores", [2], "[2] is not a finite number"),
    ("energy.machine", "laptop", "'laptop' is not a value of type object"),
    ("energy.software", ..., "the key 'software' is missing"),
    ("energy.software.python", 3.12, "3.12 is not a value of type str"),
    ("energy.software.distributions", [], "[] is not a value of type object"),
    ("energy.extra", 1, None),
    ("benchmarks.0.fullname", ..., "the key 'fullname' is missing"),
    (f"{ENTRY}.meter", ..., "the key 'meter' is missing"),
    (f"{ENTRY}.windows", ..., "the key 'windows' is missing"),
    (WINDOW, [0.1, {}], "without seconds, joules and calls"),
    (f"{WINDOW}.0", 0, "a window of 0 s"),
    (f"{WINDOW}.0", -0.5, "-0.5 is not a finite number"),
    (f"{WINDOW}.0", math.nan, "nan is not a finite number"),
    (f"{WINDOW}.0", math.inf, "inf is not a finite number"),
    (f"{WINDOW}.0", "0.1", "'0.1' is not a finite number"),
    (f"{WINDOW}.0", True, "True is not a finite number"),
    (f"{WINDOW}.1", {}, "a window has joules of []"),
    (f"{WINDOW}.1.dram-0", -1.0, "-1.0 is not a finite number of 0 or more"),
    (f"{WINDOW}.1.dram-0", None, "None is not a finite number"),
    (f"{WINDOW}.1.gpu-0", 1.0, "gpu-0"),
    (f"{WINDOW}.2", 0, "0 is not a finite number of 1 or more"),
    (f"{WINDOW}.2", 1.5, "and 1.5 calls"),
    (f"{WINDOW}.2", math.inf, "inf is not a finite number"),
    (f"{ENTRY}.versus.blocks", [], "a comparison of 0 blocks"),
    (f"{ENTRY}.versus.confidence", 1, "at a confidence of 1.0"),
    (f"{ENTRY}.versus.baseline", ..., "the key 'baseline' is missing"),
    (f"{BLOCK}.0", "ABAB", "a block 'ABAB' of 4 windows"),
    (f"{BLOCK}.1", [], "a block 'ABBA' of 0 windows"),
    (f"{BLOCK}.1.0.2", 0, "0 is not a finite number of 1 or more"),
    (f"{ENTRY}.quality.accuracy.value", "good", "'good' is not a finite number"),
    (f"{ENTRY}.quality.accuracy.floor", "good", "'good' is not a finite number"),
    (f"{ENTRY}.verdicts.0.verdict", "passed", "'passed' is not one of met, missed"),
    (f"{ENTRY}.verdicts.0.reason", None, "None is not a value of type str"),
    (f"{ENTRY}.warnings", [None], "None is not a value of type str"),
]


@pytest.mark.parametrize(("path", "value", "says"), BROKEN, ids=lambda value: repr(value)[:40])
def test_the_error_of_a_broken_run_names_the_problem(tmp_path, document, path, value, says):
    broken = change(document, path, value)
    if says is None:
        read(tmp_path, broken)  # of a later version, perhaps: it takes nothing away
    else:
        assert says in unreadable(tmp_path, broken)


# A schema cannot require that a name is one of a list elsewhere, or that a number is finite.
BEYOND_SCHEMA = [
    ("meters", []),
    ("name", "other"),
    ("provenance", "estimated"),
    ("name", "package-1"),
    ("1", {}),
    ("gpu-0", 1.0),
]


def within_schema(path: str, value: object) -> bool:
    return (path.rsplit(".", 1)[-1], value) not in BEYOND_SCHEMA and value not in (
        math.inf,
        math.nan,
    )


@pytest.mark.parametrize(
    ("path", "value"),
    [(path, value) for path, value, _ in BROKEN if within_schema(path, value)],
    ids=lambda value: repr(value)[:40],
)
def test_schema_refuses_broken_runs(document, path, value):
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(change(document, path, value))


# Only the schema refuses these: the reader ignores figures.
@pytest.mark.parametrize(
    ("path", "value"),
    [
        (f"{ENTRY}.joules", 0.2),
        (f"{ENTRY}.joules.unit", "J"),
        (f"{ENTRY}.joules.low", None),
        (f"{ENTRY}.seconds", None),
        (f"{ENTRY}.seconds.value", None),
        (f"{ENTRY}.versus.category", 9),
        (f"{ENTRY}.versus.category", 0),
        (f"{ENTRY}.versus.speedup", None),
        (f"{ENTRY}.quality.accuracy", 0.85),
        ("energy.machine.hostname", "box"),
        (f"{ENTRY}.accuracy", 0.85),
    ],
)
def test_schema_refuses_wrong_figures(document, path, value):
    VALIDATOR.validate(document)
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(change(document, path, value))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFO on this system")
def test_a_fifo_or_a_device_is_refused_at_once(tmp_path):
    fifo, device = tmp_path / "0001_fifo.json", tmp_path / "0002_device.json"
    os.mkfifo(fifo)
    device.symlink_to("/dev/zero")
    for path in (fifo, device):
        with pytest.raises(RunUnreadable, match="it is a FIFO, a socket or a device"):
            json_format.read_run(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not a run of pytest-benchmark"),
        ("null", "not a run of pytest-benchmark"),
        ('{"energy": {}}', "no key 'benchmarks'"),
        ('{"benchmarks": []}', "saved without --energy"),
        ('{"benchmarks": [], "energy": null}', "broken"),
        ('{"benchmarks": [], "energy": {}}', "the key 'schema' is missing"),
        ('{"benchmarks": 1, "energy": {"schema": 1, "meters": [], "machine": {}}}', "broken"),
        ('{"benchmarks": [1], "energy": {"schema": 1, "meters": [], "machine": {}}}', "broken"),
        (
            '{"benchmarks": [{"energy": 1}], "energy": {"schema": 1, "meters": [], "machine": {}}}',
            "broken",
        ),
    ],
    ids=lambda text: text[:40],
)
def test_text_that_is_not_a_run(tmp_path, text, says):
    assert says in unreadable(tmp_path, text)


def test_file_that_cannot_be_read(tmp_path):
    binary = tmp_path / "binary.json"
    binary.write_bytes(b"\xff\xfe{}")
    for path in (tmp_path, tmp_path / "none.json", binary, "nul\0.json"):
        with pytest.raises(RunUnreadable) as raised:
            json_format.read_run(path)
        assert str(raised.value).startswith(f"{path}: cannot be read: ")


def places(value: object, way: tuple = ()) -> list[tuple]:
    """The path to each value inside a JSON value."""
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [way] * bool(way) + [place for key, part in inner for place in places(part, (*way, key))]


oddities = st.one_of(
    st.sampled_from(
        [
            None,
            True,
            0,
            -1,
            10**400,
            1e308,
            5e-324,
            math.nan,
            math.inf,
            "",
            "ABBA",
            [],
            {},
            [[]],
            [1, {}, 1],
        ]
    ),
    st.integers(),
    st.floats(),
    texts,
)


@pytest.mark.slow
@one_folder
@given(made=results(), data=st.data())
def test_any_mutation_is_read_or_refused_with_the_files_name(tmp_path, made, data):
    document = saved(made, meter=made.measurement.meter)
    for _ in range(data.draw(st.integers(1, 3))):
        *way, last = data.draw(st.sampled_from(places(document)))
        inner = document
        for step in way:
            inner = inner[step]
        if data.draw(st.booleans()):
            inner[last] = data.draw(oddities)
        elif len(inner) > 1:
            del inner[last]
    try:
        run = read(tmp_path, document)
    except RunUnreadable as error:
        assert str(error).startswith(f"{tmp_path / 'run.json'}: ")
        return
    for result_read in run.results:  # what was let in can be used
        figures(result_read.measurement)
        Gate(Budget(1.0, 1.0, 1.0), gate_estimates=True).judge(result_read)


OTHER_TYPES = (None, True, 7, 0.5, "seven", [], [7], [[7]], {}, {"seven": 7})


def test_no_error_of_python_reaches_the_user(tmp_path, document):
    """Such as "'int' object is not iterable", where a value is of another type."""
    work = {"tool": "t", "events": {"instructions": 9}, "spread": 0.0, "counts": 1}
    work |= {"functions": {}, "bytecodes": {}, "notes": [], "conditions": {}}
    document["benchmarks"][0]["energy"]["work"] = {"candidate": work}
    ours = {key: document[key] for key in ("energy", "benchmarks")}
    firsts = [place for place in places(ours) if not any(type(i) is int and i for i in place)]
    for place in firsts:
        for other in OTHER_TYPES:
            changed = copy.deepcopy(document)
            inner = changed
            for step in place[:-1]:
                inner = inner[step]
            inner[place[-1]] = other
            try:
                read(tmp_path, changed)
            except RunUnreadable as error:
                for word in ("' object ", "unpack", "indices", "iterable", "argument"):
                    assert word not in str(error), (place, other)


json_texts = st.recursive(st.none() | st.booleans() | st.floats() | texts, st.lists).map(json.dumps)


@one_folder
@given(st.binary(max_size=100) | json_texts.map(str.encode))
def test_any_bytes_are_refused_with_the_files_name(tmp_path, content):
    file = tmp_path / "run.json"
    file.write_bytes(content)
    with pytest.raises(RunUnreadable, match="run.json: "):
        json_format.read_run(file)


def test_a_domain_inside_an_unknown_one_is_not_counted(tmp_path):
    meter = MeterInfo(
        "made-up",
        "measured",
        (Domain("package-0"), Domain("core-0", "gone"), Domain("dram-0")),
        0.001,
        1e-6,
    )
    run = read(tmp_path, saved(result(measurement(window(1.0, 4.0), meter=meter)), meter=meter))
    assert figures(run.results[0].measurement).joules.value == 4.0


def test_fingerprint(tmp_path):
    cpuinfo, meminfo = tmp_path / "cpuinfo", tmp_path / "meminfo"
    cpuinfo.write_text(
        "processor\t: 0\nmodel\t\t: 85\nmodel name\t: Xeon: Gold\n\nmodel name\t: other\n"
    )
    meminfo.write_text("MemTotal:       16314248 kB\nMemFree: 1 kB\n")
    seen = fingerprint(str(cpuinfo), str(meminfo))
    assert seen["cpu"] == "Xeon: Gold"
    assert seen["memory_gib"] == 16
    assert "device" not in seen


def test_fingerprint_has_the_boards_model(tmp_path):
    (tmp_path / "model").write_text("NVIDIA Jetson Orin Nano\0")
    seen = fingerprint(board_model=str(tmp_path / "model"))
    assert seen["device"] == "NVIDIA Jetson Orin Nano"
    schema = {**SCHEMA, "required": [], "properties": {}, "$ref": "#/$defs/machine"}
    jsonschema.Draft202012Validator(schema).validate(seen)


def test_fingerprint_without_proc(tmp_path):
    seen = fingerprint(str(tmp_path / "none"), str(tmp_path / "none"))
    assert seen["cpu"]
    assert seen["memory_gib"] is None
    schema = {**SCHEMA, "required": [], "properties": {}, "$ref": "#/$defs/machine"}
    jsonschema.Draft202012Validator(schema).validate(seen)


@pytest.mark.parametrize("confidence", [0, 1, -0.5, 1.5, 95])
def test_confidence_is_a_probability(tmp_path, document, confidence):
    document["benchmarks"][0]["energy"]["versus"]["confidence"] = confidence
    assert "confidence" in unreadable(tmp_path, document)


def test_intervals_use_the_saved_confidence(tmp_path, document):
    versus = document["benchmarks"][0]["energy"]["versus"]
    versus["confidence"] = 0.4
    for number, (_, windows) in enumerate(
        versus["blocks"]
    ):  # no two alike, so that an interval of another alpha is another
        windows[0][0] *= 1 + number / 10
    (result_read,) = read(tmp_path, document).results
    assert result_read.comparison.confidence == 0.4
    ratios = gps_up(result_read.comparison.blocks, result_read.measurement.meter, 0.6)
    assert (result_read.comparison.speedup, result_read.comparison.greenup) == (
        ratios.speedup,
        ratios.greenup,
    )


@pytest.mark.parametrize(
    "change", [lambda windows: windows.append(windows[0]), lambda windows: windows.pop()]
)
def test_a_block_has_four_windows(tmp_path, document, change):
    change(document["benchmarks"][0]["energy"]["versus"]["blocks"][0][1])
    assert "a block" in unreadable(tmp_path, document)


@pytest.mark.parametrize("schema", [0, json_format.SCHEMA + 1, None, "1"])
def test_another_schema_is_refused(tmp_path, document, schema):
    document["energy"]["schema"] = schema
    unreadable(tmp_path, document)


def test_a_schema_of_2_0_is_2(tmp_path, document):
    document["energy"]["schema"] = float(json_format.SCHEMA)
    assert len(read(tmp_path, document).results) == 1


@pytest.mark.parametrize(
    ("of_meter", "of_entry"), [("measured", "estimated"), ("estimated", "measured")]
)
def test_an_entry_with_another_provenance_than_its_meter_is_refused(
    tmp_path, document, of_meter, of_entry
):
    document["energy"]["meters"][0]["provenance"] = of_meter
    document["benchmarks"][0]["energy"]["provenance"] = of_entry
    unreadable(tmp_path, document)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("resolution_joules", -0.5),
        ("update_interval_s", -0.5),
        ("band", [-0.5, 0.5]),
        ("band", [0.0, -0.5]),
    ],
)
def test_negative_quantities_of_a_meter_are_refused(tmp_path, document, key, value):
    document["energy"]["meters"][0][key] = value
    assert "-0.5" in unreadable(tmp_path, document)


def test_a_small_band_is_read_unchanged(tmp_path, document):
    document["energy"]["meters"][0]["band"] = [0.25, 0.5]
    assert read(tmp_path, document).results[0].measurement.meter.band == (0.25, 0.5)


def test_a_journal_is_recognised_by_its_suffix(tmp_path, document):
    lines = [
        {key: value for key, value in document.items() if key != "benchmarks"},
        *document["benchmarks"],
    ]
    path = tmp_path / "unfinished_x_1.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf8")
    assert json_format.read_run(path).results == read(tmp_path, document).results


@pytest.mark.parametrize("name", ["run.txt", "run.zzz", "run"])
def test_other_suffixes_are_read_as_json(tmp_path, document, name):
    (tmp_path / name).write_text(json.dumps(document), encoding="utf8")
    assert len(json_format.read_run(tmp_path / name).results) == 1


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (window(0.0, 1.0), "division by zero"),
        (window(-2.5, 1.0), "-2.5 is not a finite number of 0 or more"),
        (window(1.0, -7.0), "-5.25 is not a finite number of 0 or more"),
        (window(1.0, math.nan), "nan is not a finite number"),
        (window(1.0, 1.0, calls=0), "division by zero"),
    ],
    ids=str,
)
def test_a_result_that_no_reader_accepts_is_refused_before_it_is_saved(broken, reason):
    made = result(measurement(window(1.0, 4.0), broken))
    with pytest.raises(RunUnreadable, match=reason):
        json_format.readable_json(made)


def test_idle_windows_that_no_reader_accepts_are_not_saved(tmp_path):
    idle = [window(0.5, 1.0, 0), window(0.0, 1.0, 0), window(0.5, -1.0, 0)]
    assert len(json_format.run_to_json(SENSOR, idle)["idle"]) == 1


def test_a_run_has_a_line_for_each_benchmark(document):
    text = json_format.document_text(document)
    assert json.loads(text) == document
    assert len(text.splitlines()) == 3 + len(document["benchmarks"])


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (f"{WINDOW}.0", 1e-40),
        (f"{WINDOW}.0", 1e40),
        (f"{WINDOW}.1.dram-0", 1e200),
        (f"{WINDOW}.1.dram-0", 1e-200),
        (f"{WINDOW}.2", 10**35),
        ("energy.meters.0.update_interval_s", 1e100),
        ("energy.meters.0.band", [0.5, 1e100]),
    ],
)
def test_quantities_that_no_machine_measures_are_refused(tmp_path, document, path, value):
    message = unreadable(tmp_path, change(document, path, value))
    assert "which no machine measures" in message or "or less" in message or "calls" in message


def test_an_integer_of_many_digits_is_refused_in_one_short_line(tmp_path, document):
    document["energy"]["machine"] = 10**4000
    message = unreadable(tmp_path, document)
    assert len(message) < 150 and "\n" not in message
