"""The command line, as a user sees it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest
import torch

from tsbench import checkpoints, cli
from tsbench.errors import TsbenchError


def test_variants_are_listed(capsys):
    assert cli.main(["variants"]) == 0
    listed = capsys.readouterr().out
    for name in ("fp32", "int8_dynamic", "int8_static", "l1_unstructured", "l1_structured"):
        assert name in listed


def test_listing_variants_shows_versions_and_loads_no_torch():
    script = (
        "import sys; from tsbench import cli; cli.main(['variants'])\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert f"torch {torch.__version__}" in done.stdout


def test_a_missing_library_is_listed_with_the_line_that_installs_it(capsys, monkeypatch):
    monkeypatch.setattr(
        "tsbench.requirements.found", lambda name: None if name == "nncf" else "1.0"
    )
    assert cli.main(["variants"]) == 0
    listed = capsys.readouterr().out
    assert "nncf missing" in listed
    assert 'nncf: pip install "tsbench[openvino]"' in listed


@pytest.fixture
def tiny_found(tiny_model, tiny_data, monkeypatch):
    monkeypatch.setattr("tsbench.measure.find_model", lambda *arguments: (tiny_model, tiny_data))


def test_measure_prints_a_table_of_80_columns_and_writes_json(
    tiny_found, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "80")
    path = tmp_path / "measured.json"
    arguments = [
        "measure",
        "waves",
        "t1",
        "--variant",
        "layerwise_magnitude",
        "l1_unstructured",
        "--batch",
        "1",
        "3",
        "--max-time",
        "0.2",
        "--json",
        str(path),
    ]
    assert cli.main(arguments) == 0
    printed = capsys.readouterr().out
    assert max(len(line) for line in printed.splitlines()) <= 80
    assert "l1_unstructured" in printed and "Greenup" in printed  # a longer name may be folded
    found = json.loads(path.read_text())
    assert [(row["variant"], row["batch"]) for row in found["rows"]] == [
        ("layerwise_magnitude", 1),
        ("l1_unstructured", 1),
        ("layerwise_magnitude", 3),
        ("l1_unstructured", 3),
    ]
    for row in found["rows"]:
        low, value, high = (row["speedup"][key] for key in ("low", "value", "high"))
        # A busy machine may leave too few blocks for an upper bound.
        assert low <= value and (high is None or value <= high)
        assert row["provenance"] in ("measured", "estimated")
        assert row["blocks"] >= 4 and 0 <= row["accuracy"] <= 1 and 0 <= row["agreement"] <= 1
    by_batch = [
        row["seconds_per_inference"] for row in found["rows"] if row["variant"] == "l1_unstructured"
    ]
    assert by_batch[1] < by_batch[0]  # per case, not per call


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--variant", "int4"], "unknown variant 'int4'; known: fp32"),
        (["--variant", "fp32", "--meter", "sundial"], "no meter is called 'sundial'"),
        (["--variant", "fp32", "--json", "/nowhere/x.json"], "folder /nowhere does not exist"),
    ],
)
def test_errors_of_measure_are_one_line(tiny_found, arguments, problem, capsys):
    assert cli.main(["measure", "waves", "t1", *arguments]) == 2
    assert problem in capsys.readouterr().err


def test_models_are_listed(capsys):
    assert cli.main(["models"]) == 0
    assert "PLAID-t1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["train", "Nowhere", "t1"], "dataset Nowhere is not on this machine"),
        (["train", "PLAID", "t9"], "unknown config 't9'"),
        (["train", "PLAID", "t1", "--output", "model.pt"], "must end in .safetensors"),
    ],
)
def test_errors_of_the_user_are_one_line_and_exit_code_2(arguments, problem, capsys):
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("tsbench: error: ")
    assert problem in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("raised", "problem"),
    [
        (OSError(28, "No space left on device", "a\x1b[1m/file"), "a\\x1b[1m/file: No space left"),
        (RuntimeError("a\nb"), "a fault of tsbench: RuntimeError: a b"),
        (TsbenchError("class \x1b]0;x\x07"), "class \\x1b]0;x\\x07"),
    ],
)
def test_no_fault_is_a_traceback_an_escape_sequence_or_exit_code_1(
    raised, problem, monkeypatch, capsys
):
    def fail(options):
        raise raised

    monkeypatch.setattr(cli.listing, "list_models", fail)
    assert cli.main(["models"]) == 2
    error = capsys.readouterr().err
    assert problem in error and error.count("\n") == 1 and "\x1b" not in error


def test_a_closed_pipe_ends_in_its_own_code():
    command = f"{sys.executable} -m tsbench variants | :; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert int(done.stdout) == 141 and not done.stderr


@pytest.mark.parametrize(
    "arguments", [[], ["fly"], ["train"], ["train", "PLAID", "t1", "--epochs", "0"]]
)
def test_a_wrong_command_line_is_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2


@pytest.mark.slow
def test_train_writes_model_and_card(capsys, tmp_path):
    output = tmp_path / "made.safetensors"
    arguments = ["train", "ItalyPowerDemand", "t1", "--epochs", "1", "--output", str(output)]
    assert cli.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "epoch 1/1" in printed and "test accuracy 0." in printed
    assert checkpoints.load(output).about["dataset"] == "ItalyPowerDemand"
    assert "--epochs 1" in output.with_suffix(".md").read_text()
    assert cli.main(arguments) == 0
    assert "from the cache" in capsys.readouterr().out


def test_choosing_a_recipe_does_not_show_the_test_split(capsys):
    assert cli.main(["train", "ItalyPowerDemand", "t1", "--epochs", "1", "--validate"]) == 0
    printed = capsys.readouterr().out
    assert "validation accuracy" in printed
    assert "test accuracy" not in printed


@pytest.mark.slow
def test_train_prints_its_cost(capsys):
    assert cli.main(["train", "ItalyPowerDemand", "t1", "--epochs", "1"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"CPU-seconds, \d+ J (measured|estimated)", printed)


@pytest.mark.slow
def test_a_killed_training_resumes_to_the_same_weights(tmp_path):
    """Kills a real process; test_train.py has the finer cases."""
    command = [
        sys.executable,
        "-m",
        "tsbench",
        "train",
        "synthetic:classes=2,timepoints=64,cases=16",
        "student",
        "--epochs",
        "30",
        "--output",
    ]

    def environment(name):
        return {**os.environ, "TSBENCH_CACHE": str(tmp_path / name)}

    subprocess.run(
        [*command, tmp_path / "whole.safetensors"],
        env=environment("whole"),
        check=True,
        capture_output=True,
    )
    output = tmp_path / "resumed.safetensors"
    with subprocess.Popen(
        [*command, output], env=environment("killed"), stdout=subprocess.PIPE, text=True
    ) as running:
        lines = iter(running.stdout.readline, "")
        assert any(line.startswith("epoch 20/30") for line in lines)
        running.kill()
    assert not output.exists()
    resumed = subprocess.run(
        [*command, output], env=environment("killed"), check=True, capture_output=True, text=True
    )
    assert (
        re.search(r"resuming after epoch \d+\n", resumed.stdout) and "epoch 30/30" in resumed.stdout
    )
    whole, again = (
        checkpoints.load(path).model.state_dict()
        for path in (tmp_path / "whole.safetensors", output)
    )
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_early_stopping_and_a_teacher(capsys, tmp_path):
    teacher = tmp_path / "teacher.safetensors"
    arguments = ["train", "synthetic:timepoints=64,cases=12", "student", "--epochs", "2"]
    assert cli.main([*arguments, "--output", str(teacher)]) == 0
    assert "generated, not measured" in capsys.readouterr().out
    assert cli.main([*arguments, "--teacher", str(teacher)]) == 0
    assert "from the cache" not in capsys.readouterr().out
    assert cli.main([*arguments, "--patience", "1"]) == 2
    assert "--patience requires --validate" in capsys.readouterr().err
    assert cli.main([*arguments, "--validate", "--patience", "1"]) == 0
    other = ["train", "synthetic:timepoints=128,cases=12", "student", "--teacher", str(teacher)]
    assert cli.main(other) == 2
    assert "its timepoints is 64, this dataset has 128" in capsys.readouterr().err


def test_ctrl_c_prints_that_the_same_command_resumes(capsys, monkeypatch):
    def interrupt(*arguments, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr("tsbench.data.datasets.load", interrupt)
    assert cli.main(["train", "PLAID", "t1"]) == 130
    assert "run the same command again to resume" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["train", "models", "variants", "measure", "sweep", "table"])
def test_each_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])
    assert ended.value.code == 0
    assert f"tsbench {command}" in capsys.readouterr().out
