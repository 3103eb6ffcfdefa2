"""`tsbench sweep` on this machine: errors, results, and no task twice."""

from __future__ import annotations

import html
import json
import re
from dataclasses import asdict, replace

import pytest

from tsbench.cli import main
from tsbench.errors import TsbenchError
from tsbench.sweep import run_local
from tsbench.sweep.forecast import forecast
from tsbench.sweep.results import Results
from tsbench.sweep.table import JOULES_APART, page, places
from tsbench.sweep.task import Done, Failed, Task

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
    assert "2 tasks, 1 already finished; left: 1 trainings" in capsys.readouterr().out
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
        "left: 1 trainings, 1 measurements" in said and "time and joules of 1 are unknown" in said
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


def test_results_go_to_any_url_that_fsspec_knows():
    pytest.importorskip("fsspec", reason="fsspec is not installed: pip install 'tsbench[ray]'")
    results = Results("memory://sweep/results")
    training = Task("train", "a", "0", "t1", 0, 1)
    assert training not in results and list(results.records()) == []
    record = {"task": asdict(training), "cpu_seconds": 1.0, "joules": None}
    results.save(Done(training, record, b"model"))
    assert training in results and results.weights(training) == b"model"
    (found,) = results.records()
    assert found == {**record, "task": {**record["task"], "variants": []}}
    with pytest.raises(TsbenchError, match="nonesuch"):
        Results("nonesuch://sweep")


def test_a_failed_training_does_not_stop_the_others_and_is_not_measured():
    tasks = [Task("train", "a", "0", "t1", seed, 1) for seed in range(3)]
    tasks += [replace(task, kind="measure", device="any") for task in tasks]
    done = {each.task: each for each in run_local.run(tasks, unlucky, lambda training: b"model", 2)}
    assert set(done) == set(tasks)
    reasons = {task: each.reason for task, each in done.items() if isinstance(each, Failed)}
    assert reasons == {tasks[1]: "ValueError: no luck", tasks[4]: "its training failed"}


def unlucky(task, weights):
    if task.seed == 1:
        raise ValueError("no luck\nat all")
    return Done(task, {})


def test_a_forecast_lists_measured_and_estimated_joules_apart(tmp_path):
    trainings = [Task("train", dataset, "0", "t1", 7, 1) for dataset in "abcd"]
    results = Results(str(tmp_path))
    for dataset, joules, provenance in (
        ("a", 10.0, "measured"),
        ("b", 5.0, "estimated"),
        ("b", 7.0, "estimated"),
        (
            "b",
            None,
            "estimated",
        ),  # it went on from a state of which the joules were counted otherwise
        ("c", None, ""),
    ):
        seed = {7.0: 1, 5.0: 2}.get(joules, 0)
        task = Task("train", dataset, "0", "t1", seed, 1)
        results.save(
            Done(
                task,
                {
                    "task": asdict(task),
                    "cpu_seconds": 2.0,
                    "joules": joules,
                    "provenance": provenance,
                },
                b"model",
            )
        )
    assert list(forecast(trainings, trainings, results))[1:] == [
        "training, estimated from finished ones: 6 s of CPU, 6 J estimated, 10 J measured",
        "training: time and joules of 1 are unknown until a similar one finishes",
    ]
    assert list(forecast(trainings, trainings[2:3], results))[1] == (
        "training, estimated from finished ones: 2 s of CPU, joules not counted"
    )
