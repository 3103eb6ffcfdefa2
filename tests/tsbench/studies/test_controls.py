"""The controls of retrained variants."""

from __future__ import annotations

import pytest

from studies import controls
from tsbench.training.recipes import Recipe


@pytest.fixture
def quick(monkeypatch, tmp_path):
    monkeypatch.setenv("TSBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr("tsbench.training.recipes.DEFAULT_RECIPE", Recipe(epochs=1))
    monkeypatch.setattr("tsbench.training.recipes.DEFAULT_COMPACT", Recipe(epochs=1))


def test_a_control_is_trained_as_its_variant_is(quick, capsys):
    arguments = ["synthetic:timepoints=32,cases=6", "student", "--seeds", "2"]
    assert controls.main([*arguments, "--variant", "l1_structured"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == [
        "| student",
        f"| {controls.AGAIN}",
        "| l1_structured",
    ]
    assert lines[3].endswith("|  |")  # a control has no control
    assert lines[4].count("(") == 3


def test_differences_are_taken_seed_by_seed():
    first, control, other = (
        controls.Row("t1", (0.5, 0.7)),
        controls.Row("again", (0.6, 0.8)),
        controls.Row("depth", (0.7, 0.75)),
    )
    assert other.cells(first, control)[2:] == (
        "+0.1250 (+0.2000, +0.0500)",
        "+0.0250 (+0.1000, -0.0500)",
    )
