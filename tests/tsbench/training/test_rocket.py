"""MultiRocket as a teacher: its answers, and a model that learns from them."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.tsbench.conftest import TINY
from tsbench import cli
from tsbench.cli.train import OUTSIDE_TEACHER
from tsbench.errors import TeacherUnavailable
from tsbench.training import rocket, train
from tsbench.training.load_or_train import teacher_sha256
from tsbench.training.recipes import Recipe

RECIPE = Recipe(epochs=20, batch_cases=8)
needs_aeon = pytest.mark.skipif(
    find_spec("aeon") is None, reason='aeon is not installed: pip install "tsbench[teacher]"'
)


@given(st.lists(st.integers(0, 3), min_size=5, max_size=80), st.integers(1, 5), st.integers(0, 9))
def test_each_case_is_left_out_once_with_its_whole_block(labels, block_cases, seed):
    labels = np.array(labels)
    seen = []
    for rest, left_out in rocket.folds(labels, block_cases, np.random.default_rng(seed)):
        assert sorted([*rest, *left_out]) == list(range(len(labels)))
        seen += list(left_out)
        for label in np.unique(labels):
            members = np.flatnonzero(labels == label)
            for start in range(0, len(members), block_cases):
                block = members[start : start + block_cases]
                assert np.isin(block, left_out).all() or not np.isin(block, left_out).any()
    assert sorted(seen) == list(range(len(labels)))


def test_probabilities_match_how_often_the_margins_are_right():
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=300)
    margins = np.eye(3)[labels] * 2 - 1
    right = rocket.calibrated(margins, labels)
    np.testing.assert_allclose(right.sum(axis=1), 1, rtol=1e-5)
    assert right[np.arange(300), labels].min() > 0.99
    wrong = rocket.calibrated(margins, rng.permutation(labels))
    assert wrong.max() < 0.6  # says nothing, and knows it


def test_a_model_learns_a_teachers_answers(tiny_data):
    """The answers name the classes in another order than the labels do."""
    told = np.eye(3, dtype=np.float32)[(tiny_data.train_y + 1) % 3]
    alone, taught = (
        train.train(tiny_data, TINY, RECIPE, teacher=teacher).model for teacher in (None, told)
    )

    def probability(model):
        with torch.inference_mode():
            answers = model(torch.from_numpy(tiny_data.train_x)).softmax(1).numpy()
        return answers[np.arange(len(told)), told.argmax(1)].mean()

    assert probability(taught) > probability(alone) + 0.1
    assert teacher_sha256(told) != teacher_sha256(told[::-1].copy())


def test_without_aeon_the_error_says_how_to_install_it(capsys, monkeypatch):
    monkeypatch.setattr(rocket, "LIBRARIES", ("aeon_that_is_not_there",))
    with pytest.raises(TeacherUnavailable):
        rocket.require()
    assert (
        cli.main(["train", "synthetic:timepoints=64,cases=12", "student", "--teacher", rocket.NAME])
        == 2
    )
    said = capsys.readouterr().err
    assert (
        "teacher multirocket_hydra is not available" in said
        and 'pip install "tsbench[teacher]"' in said
    )


def test_the_teachers_name_is_the_commands():
    assert rocket.NAME == OUTSIDE_TEACHER


@needs_aeon
@pytest.mark.filterwarnings(
    "default"
)  # of aeon's, numba's and scikit-learn's, in each other's code
def test_answers_are_for_unseen_cases(tiny_data):
    recipe = replace(RECIPE, validation_share=0.25)
    answers = rocket.answers(tiny_data, recipe)
    kept, held_out = train.kept_and_held_out(tiny_data.train_y, recipe, np.random.default_rng(0))
    assert np.isnan(answers[held_out]).all()
    np.testing.assert_allclose(answers[kept].sum(axis=1), 1, rtol=1e-5)
    assert (answers[kept].argmax(axis=1) == tiny_data.train_y[kept]).mean() > 0.9
    assert train.train(tiny_data, TINY, recipe, teacher=answers).validation_accuracy > 0.5
