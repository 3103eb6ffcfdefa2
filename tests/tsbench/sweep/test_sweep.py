"""`tsbench sweep` on this machine: errors, results, and no task twice."""

from __future__ import annotations

import html
import json
import re
from contextlib import contextmanager
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest

from tests.tsbench.sweep.fake_tasks import slow_or_killed, unlucky
from tsbench.cli import main
from tsbench.errors import TsbenchError
from tsbench.sweep import run_local
from tsbench.sweep.forecast import Capacity, Durations, TimeLeft, forecast
from tsbench.sweep.results import Results
from tsbench.sweep.spec import Spec
from tsbench.sweep.table import JOULES_APART, page, places
from tsbench.sweep.task import KINDS, Done, Failed, Task, execute, expand, still_to_do

GOOD = """
datasets = ["synthetic:timepoints=32,cases=6"]
configs = ["student"]
seeds = [0, 1]
epochs = 1
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD.replace("[0, 1]", "[-1]"), "seeds must be at least 0, got -1"),
        (GOOD + f"max_time_s = 1{'0' * 400}\n", "max_time_s must be more than 0 seconds"),
        (
            GOOD.replace("synthetic:timepoints=32,cases=6", "Nowhere"),
            "Nowhere is not on this machine",
        ),
        (GOOD.replace("student", "t9"), "unknown config 't9'"),
        (GOOD + "colour = 1\n", "unknown key 'colour'"),
        (GOOD + 'variants = ["nonesuch"]\n', "unknown variant 'nonesuch'"),
        ("datasets = [", "cannot be read as TOML"),
        (f"datasets = {'[' * 10_000}", "cannot be read as TOML"),
    ],
)
def test_a_bad_spec_is_one_line_before_anything_starts(tmp_path, capsys, text, said):
    spec = tmp_path / "spec.toml"
    spec.write_text(text)
    assert main(["sweep", str(spec), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_finished_tasks_are_not_repeated(tmp_path, capsys):
    spec, out = tmp_path / "spec.toml", tmp_path / "out"
    spec.write_text(GOOD)
    assert main(["sweep", str(spec), "--out", str(out)]) == 0
    records = {path: path.read_bytes() for path in out.glob("*.json")}
    assert sorted(json.loads(content)["task"]["seed"] for content in records.values()) == [0, 1]
    next(iter(records)).unlink()
    capsys.readouterr()
    assert main(["sweep", str(spec), "--out", str(out)]) == 0
    assert "2 tasks, 1 already finished; left: 1 trainings, 0 builds" in capsys.readouterr().out
    again = {path: json.loads(path.read_bytes())["weights_sha256"] for path in out.glob("*.json")}
    assert again == {
        path: json.loads(content)["weights_sha256"] for path, content in records.items()
    }


MEASURING = (
    GOOD.replace("[0, 1]", "[0]")
    + 'variants = ["onnx_fp32", "fp32"]\nbatches = [1]\nmax_time_s = 0.3\nmeter = "estimate"\n'
)


@pytest.mark.slow
def test_a_sweep_is_measured_and_its_table_shown(tmp_path, capsys):
    spec, out = tmp_path / "spec.toml", tmp_path / "out"
    spec.write_text(MEASURING)
    assert main(["sweep", str(spec), "--out", str(out), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert (
        "left: 1 trainings, 2 builds, 1 measurements" in said
        and "time and joules of 1 are unknown" in said
    )
    assert not out.exists()
    assert main(["sweep", str(spec), "--out", str(out)]) == 0
    (record,) = (
        each
        for each in map(json.loads, (path.read_text() for path in out.glob("*.json")))
        if each["task"]["kind"] == "measure"
    )
    assert (
        record["started_s"]
        < record["measured_from_s"]
        < record["measured_until_s"]
        < record["ended_s"]
    )
    assert [row["variant"] for row in record["rows"]] == ["onnx_fp32", "fp32"]
    capsys.readouterr()
    assert main(["table", str(out)]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert "joules estimated by estimate" in " ".join(shown.split())
    page = tmp_path / "page.html"
    assert main(["table", str(out), "--markdown", "--html", str(page)]) == 0
    assert "| student | onnx&#95;fp32 |" in capsys.readouterr().out
    assert "onnx_fp32" in page.read_text(encoding="utf8")


def test_a_missing_device_is_refused_before_anything_starts(tmp_path, capsys):
    spec = tmp_path / "spec.toml"
    spec.write_text(MEASURING + 'devices = ["jetson-orin"]\n')
    assert main(["sweep", str(spec), "--out", str(tmp_path / "out")]) == 2
    assert (
        "device 'jetson-orin': without --ray ADDRESS the only device is 'any'"
        in capsys.readouterr().err
    )


def record(variant, config, seed=0, device="any", **row):
    ratio = {"value": 2.0, "low": 1.5, "high": 2.5}
    made = {
        "variant": variant,
        "batch": 1,
        "speedup": ratio,
        "greenup": ratio,
        "powerup": ratio,
        "joules_per_inference": 0.5,
        "accuracy": 0.5,
    }
    return {
        "task": {
            "kind": "measure",
            "dataset": "D",
            "config": config,
            "seed": seed,
            "device": device,
        },
        "fingerprint": {"cpu": "C", "cores": 4},
        "meter": "m",
        "rows": [{**made, "provenance": "measured", **row}],
    }


def test_seeds_are_combined_and_devices_kept_apart():
    found = places(
        [
            record("a", "t1", 0, accuracy=0.5),
            record("a", "t1", 1, accuracy=0.7, greenup={"value": 4.0, "low": 3.0, "high": None}),
            record("a", "t1", 0, "board"),
        ],
        "folder",
    )
    assert [place.device for place in found] == ["C, 4 CPUs", "board (C)"]
    (line,) = found[0].lines
    assert (line.seeds, line.accuracy, str(line.greenup), str(line.speedup)) == (
        2,
        0.6,
        "3.00 [unknown]",
        "2.00 [1.50, 2.50]",
    )
    assert JOULES_APART in text_of(page(found))
    assert JOULES_APART not in text_of(page(found[:1]))


def text_of(shown):
    return " ".join(html.unescape(re.sub("<[^>]*>", "", shown)).split())


def test_the_front_and_the_winners():
    least, middle, beaten, most = (
        record("least", "t1", joules_per_inference=0.1, accuracy=0.5),
        record(
            "middle",
            "t1",
            joules_per_inference=0.2,
            accuracy=0.8,
            greenup={"value": 9.0, "low": 8.0, "high": 10.0},
        ),
        record(
            "beaten",
            "t1",
            joules_per_inference=0.3,
            accuracy=0.7,
            greenup={"value": 8.5, "low": 7.5, "high": 9.5},
        ),
        record("most", "t2", joules_per_inference=0.4, accuracy=0.9, greenup=None),
    )
    (place,) = places(
        [
            least,
            middle,
            beaten,
            most,
            record("still", "t2", joules_per_inference=None, accuracy=1.0),
        ],
        "folder",
    )
    assert [(line.variant, line.on_front) for line in place.lines] == [
        ("least", True),
        ("middle", True),
        ("beaten", False),
        ("most", True),
        ("still", False),
    ]
    assert place.winners == (
        "least energy: t1 least, 100 mJ per inference",
        "most accurate: t2 still, 1.000",
        "greenest of t1: middle, 9.00 [8.00, 10.00] times; may equal beaten",
        "greenest of t2: still, 2.00 [1.50, 2.50] times",
    )


def test_a_folder_with_nothing_measured_is_one_line(tmp_path, capsys):
    assert main(["table", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    (tmp_path / "a.json").write_text("{")
    assert main(["table", str(tmp_path)]) == 2
    assert "a.json: invalid JSON" in capsys.readouterr().err


TRAINING = Task("train", "a", "0", "t1", 0, 1)
MEASUREMENT = replace(
    TRAINING, kind="measure", device="any", variants=("x", "y"), batch_cases=1, max_time_s=2.0
)


def built(measurement=MEASUREMENT):
    """The builds that a measurement needs."""
    return measurement.needs[1:]


def test_results_go_to_any_url_that_fsspec_knows():
    pytest.importorskip("fsspec", reason="fsspec is not installed: pip install 'tsbench[ray]'")
    results = Results("memory://sweep/results")
    assert results.finished([TRAINING]) == [] and list(results.records()) == []
    record = {"task": asdict(TRAINING), "cpu_seconds": 1.0, "joules": None}
    results.save(Done(TRAINING, record, b"model"))
    for build in built():
        results.save(Done(build, {**record, "task": asdict(build)}, build.variants[0].encode()))
    tasks = [TRAINING, *built(), MEASUREMENT]
    assert results.finished(tasks) == tasks[:3]
    assert results.inputs(MEASUREMENT) == (b"model", b"x", b"y")
    assert [each["task"]["kind"] for each in results.records()].count("build") == 2
    with pytest.raises(TsbenchError, match="nonesuch"):
        Results("nonesuch://sweep")


def test_object_storage_is_asked_in_bulk(monkeypatch):
    memory = pytest.importorskip(
        "fsspec.implementations.memory",
        reason="fsspec is not installed: pip install 'tsbench[ray]'",
    ).MemoryFileSystem
    results = Results("memory://sweep/bulk")
    tasks = [replace(TRAINING, seed=seed) for seed in range(50)]
    for task in tasks:
        record = {"task": asdict(task), "cpu_seconds": 1.0, "joules": None}
        results.save(Done(task, record, b"model"))
    asked, inside = [], []
    for name in ("find", "ls", "exists", "info", "cat"):
        monkeypatch.setattr(memory, name, counting(getattr(memory, name), name, asked, inside))
    assert len(Results("memory://sweep/bulk").finished(tasks)) == 50
    assert asked == ["find"]
    assert len(list(results.records())) == 50
    assert asked == ["find", "find", "cat"]


def counting(method, name, asked, inside):
    """The method, which notes its name in `asked` unless another such method calls it."""

    def noted(*args, **named):
        if not inside:
            asked.append(name)
        inside.append(name)
        try:
            return method(*args, **named)
        finally:
            inside.pop()

    return noted


def test_a_failed_task_does_not_stop_the_others_and_what_needs_it_fails():
    trainings = [Task("train", "a", "0", "t1", seed, 1) for seed in range(3)]
    measuring = [replace(task, kind="measure", device="any", variants=("x",)) for task in trainings]
    builds = [build for task in measuring for build in built(task)]
    tasks = [*trainings, *builds, *measuring]
    done = {each.task: each for each in run_local.run(tasks, unlucky, inputs_of, 2, 60.0)}
    assert set(done) == set(tasks)
    reasons = {task: each.reason for task, each in done.items() if isinstance(each, Failed)}
    assert reasons == {
        trainings[1]: "ValueError: no luck",
        builds[1]: "a task that it needs failed: train a t1 seed 1",
        measuring[1]: "a task that it needs failed: train a t1 seed 1",
        measuring[2]: "ValueError: no luck",
    }
    assert done[measuring[0]].record == {"inputs": ["train a t1 seed 0", str(builds[0])]}


def inputs_of(task):
    return tuple(str(need).encode() for need in task.needs)


@pytest.mark.slow
def test_a_task_over_its_limit_is_ended_and_a_killed_one_tried_again(tmp_path):
    """The others are finished, and nothing of either is left."""
    tasks = [Task("train", str(tmp_path), "0", "t1", seed, 1) for seed in range(4)]
    done = {each.task.seed: each for each in run_local.run(tasks, slow_or_killed, inputs_of, 2, 3)}
    assert done[0].reason == "it took more than 3 s and was ended; set task_limit_s in the spec"
    assert done[1].reason.startswith("its process was killed 4 times")
    assert [done[seed].record for seed in (2, 3)] == [{"tries": 1}, {"tries": 0}]


def test_builds_are_tasks_and_needless_once_their_measurement_is_done():
    spec = Spec(
        ("synthetic:timepoints=32,cases=6",), ("t1",), (0, 1), ("fp32", "onnx_fp32"), (1, 32)
    )
    tasks, unreadable = expand(spec)
    assert [[task.kind for task in tasks].count(kind) for kind in KINDS] == [2, 8, 4]
    assert unreadable == []
    measured = [task for task in tasks if task.kind == "measure"][:1]
    left = still_to_do(tasks, measured)
    assert [[task.kind for task in left].count(kind) for kind in KINDS] == [2, 6, 3]
    assert still_to_do(tasks, [task for task in tasks if task.kind != "build"]) == []


def test_a_measurement_holds_the_lock_only_while_it_measures(monkeypatch):
    happened = []

    class Meter:
        name = "fake"

        def read(self):
            return SimpleNamespace(at_s=0.0)

    @contextmanager
    def noting(name, value=None):
        happened.append(name)
        yield value
        happened.append(f"end of {name}")

    monkeypatch.setattr("tsbench.sweep.task._prepared", lambda task: None)
    monkeypatch.setattr("tsbench.sweep.task._model", lambda task, weights: weights)
    monkeypatch.setattr("tsbench.data.cache.unpack", lambda packed: happened.append(packed))
    monkeypatch.setattr("tsbench.measure.build", lambda *args: happened.append("build"))
    monkeypatch.setattr("tsbench.measure.measure_built", lambda *a: happened.append("time") or [])
    monkeypatch.setattr("pytest_energy.machine_lock", lambda *args: noting("lock"))
    monkeypatch.setattr("pytest_energy.open_meter", lambda name: noting("meter", Meter()))
    execute(MEASUREMENT, (b"model", b"x", b"y"))
    assert happened == [
        *(b"x", b"y", "build", "lock", "meter", "time"),
        *("end of meter", "end of lock"),
    ]


def test_an_unreadable_dataset_is_named_and_the_others_are_done(tmp_path, capsys, monkeypatch):
    spec = tmp_path / "spec.toml"
    spec.write_text(GOOD.replace('["synth', '["Nowhere", "synth'))
    monkeypatch.setattr("tsbench.sweep.task.execute", at_once)
    assert main(["sweep", str(spec), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().out
    assert "left out: dataset Nowhere is not on this machine" in said
    assert "1/2 train synthetic" in said and "2/2 train synthetic" in said
    assert main(["sweep", str(spec), "--out", str(tmp_path / "out"), "--dry-run"]) == 2
    assert "left: 0 trainings" in capsys.readouterr().out


def at_once(task, inputs):
    return Done(task, {"task": asdict(task), "cpu_seconds": 1.0, "joules": None})


def finished(task, seconds, **more):
    return {
        "task": asdict(task),
        "started_s": 100.0,
        "ended_s": 100.0 + seconds,
        "cpu_seconds": 2.0,
        "joules": None,
        **more,
    }


def test_a_forecast_lists_measured_and_estimated_joules_apart():
    trainings = [Task("train", dataset, "0", "t1", 7, 1) for dataset in "abcd"]
    records = [
        finished(Task("train", dataset, "0", "t1", seed, 1), 4, joules=joules, provenance=how)
        for seed, (dataset, joules, how) in enumerate(
            (
                ("a", 10.0, "measured"),
                ("b", 5.0, "estimated"),
                ("b", 7.0, "estimated"),
                ("b", None, "estimated"),  # resumed, with joules of two kinds of meter
                ("c", None, ""),
            )
        )
    ]
    assert list(forecast(trainings, trainings, records, Capacity(2)))[1:] == [
        "training, estimated from finished ones: 6 s of CPU, 6 J estimated, 10 J measured",
        "training: time and joules of 1 are unknown until a similar one finishes",
        "in all, estimated from finished tasks: about 8 s left",
    ]
    assert list(forecast(trainings, trainings[2:3], records, Capacity(2)))[1] == (
        "training, estimated from finished ones: 2 s of CPU, joules not counted"
    )


def test_the_time_left_follows_the_pace_of_the_finished_tasks(monkeypatch):
    """Starting a task takes time too, and a node may be lost."""
    clock_s = [0.0]
    monkeypatch.setattr(
        "tsbench.sweep.forecast.time", SimpleNamespace(monotonic=lambda: clock_s[0])
    )
    time_left = TimeLeft([TRAINING] * 60, Durations([]), Capacity(2))

    def finish(times, seconds_apart):
        for _ in range(times):
            clock_s[0] += seconds_apart
            time_left.finish(TRAINING, finished(TRAINING, 10.0))

    finish(14, 10.0)  # on two CPUs, tasks of 10 s should take 5 s each
    assert time_left.seconds() == (pytest.approx(46 * 5.0), 0), "too few show no pace"
    finish(2, 10.0)
    assert time_left.seconds() == (pytest.approx(44 * 10.0), 0)
    finish(16, 20.0)  # after the loss of a node, only the later half counts
    assert time_left.seconds() == (pytest.approx(28 * 20.0), 0)


def test_the_time_left_is_that_of_similar_tasks_at_once():
    other = replace(TRAINING, dataset="b")
    left = [TRAINING, TRAINING, other, *built(), MEASUREMENT]
    time_left = TimeLeft(left, Durations([]), Capacity(2))
    assert str(time_left) == "0 s and the time of 6 tasks left"
    time_left.finish(TRAINING, finished(TRAINING, 10.0))
    time_left.finish(other, finished(other, 30.0))
    assert str(time_left) == "5 s and the time of 3 tasks left"
    time_left.finish(built()[0], finished(built()[0], 6.0))
    assert time_left.seconds() == (8.0, 1)
    time_left.finish(MEASUREMENT)
    assert str(time_left) == "about 8 s left"
    # A measurement keeps the two CPUs of its node, one of two nodes, from the others.
    records = [finished(TRAINING, 10.0), finished(MEASUREMENT, 20.0)]
    whole = TimeLeft([TRAINING, MEASUREMENT], Durations(records), Capacity(4, 2, 2.0))
    assert whole.seconds() == ((10.0 + 2 * 20.0) / 4, 0)
    boards = TimeLeft([MEASUREMENT] * 3, Durations(records), Capacity(4, 1, 1.0))
    assert boards.seconds() == (60.0, 0)
