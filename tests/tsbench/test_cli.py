"""The command, as a user sees it."""

from __future__ import annotations

import re

import pytest

from tsbench import checkpoints, cli


def test_variants_are_listed(capsys):
    assert cli.main(["variants"]) == 0
    listed = capsys.readouterr().out
    for name in ("fp32", "int8_dynamic", "int8_static", "l1_unstructured", "l1_structured"):
        assert name in listed


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
def test_what_the_user_can_put_right_is_one_line_and_exit_code_2(arguments, problem, capsys):
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("tsbench: error: ")
    assert problem in error
    assert "Traceback" not in error


@pytest.mark.parametrize("arguments", [[], ["fly"], ["train"], ["train", "PLAID", "t1", "--epochs", "0"]])
def test_a_wrong_command_line_is_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2


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


def test_training_says_what_it_cost(capsys, monkeypatch):
    assert cli.main(["train", "ItalyPowerDemand", "t1", "--epochs", "1"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"CPU-seconds, \d+ J (measured|estimated)", printed)
    monkeypatch.setattr("tsbench.joules.find_spec", lambda name: None)
    assert cli.main(["train", "ItalyPowerDemand", "t1", "--epochs", "1", "--seed", "1"]) == 0
    assert " J " not in capsys.readouterr().out
