"""Several seeds: the arithmetic against SciPy, and the command line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_ind

from studies import seeds
from tsbench.training.recipes import Recipe

accuracies = st.lists(st.integers(0, 100).map(lambda n: n / 100), min_size=2, max_size=6)


@given(first=accuracies, second=accuracies)
def test_the_interval_is_welchs(first, second):
    a, b = (seeds.Seeds("made", tuple(values), (), 0) for values in (first, second))
    if 0 in (a.std, b.std):  # SciPy warns that it cannot tell, and warnings are errors here
        return
    value, low, high = seeds.difference(a, b)
    oracle = ttest_ind(second, first, equal_var=False).confidence_interval(seeds.CONFIDENCE)
    assert (low, high) == pytest.approx((oracle.low, oracle.high), abs=1e-9)
    assert value == pytest.approx(b.mean - a.mean)


def test_one_seed_has_no_interval():
    one = seeds.Seeds("made", (0.5,), (), 0)
    with pytest.raises(ValueError, match="needs two of each"):
        seeds.difference(one, one)


def test_the_command_prints_a_markdown_table_and_the_difference(capsys, monkeypatch):
    arguments = ["synthetic:timepoints=64,cases=6", "student", "student", "--seeds", "2"]
    monkeypatch.setattr("tsbench.training.recipes.DEFAULT_COMPACT", Recipe(epochs=1))
    assert seeds.main(arguments) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("| config | accuracy | std (each seed) | parameters |")
    assert printed.count("| student | 0.") == 2
    assert "student less student: +0.0000 [" in printed


def test_variants_are_made_from_the_model_of_each_seed(capsys, monkeypatch):
    arguments = [
        "synthetic:timepoints=64,cases=6",
        "student",
        "--seeds",
        "2",
        "--variant",
        "fp32",
    ]
    monkeypatch.setattr("tsbench.training.recipes.DEFAULT_COMPACT", Recipe(epochs=1))
    assert seeds.main(arguments) == 0
    table, variants_table = capsys.readouterr().out.split("Variants of student:")
    assert "| fp32 | 0." in variants_table and "| +0.0000 (+0.0000, +0.0000) |" in variants_table
    # The same models: the accuracies of the first table are those of the second.
    assert table.split("(")[2].split(")")[0] in variants_table


def test_an_unknown_variant_is_an_error_in_one_line(capsys, monkeypatch):
    monkeypatch.setattr("tsbench.training.recipes.DEFAULT_COMPACT", Recipe(epochs=1))
    arguments = [
        "synthetic:timepoints=64,cases=6",
        "student",
        "--seeds",
        "1",
        "--variant",
        "int1",
    ]
    with pytest.raises(SystemExit) as caught:
        seeds.main(arguments)
    assert caught.value.code == 2
    assert "error: unknown variant 'int1'" in capsys.readouterr().err.splitlines()[-1]
