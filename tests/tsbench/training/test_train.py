"""Training is deterministic, cached, resumable, and does not use the test split."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from tests.tsbench.conftest import TINY
from tsbench import checkpoints
from tsbench.data import cache
from tsbench.data.prepared import prepare
from tsbench.errors import CheckpointError
from tsbench.training import resume, train
from tsbench.training.evaluate import accuracy, agreement, batched_logits
from tsbench.training.load_or_train import cached_path, load_or_train
from tsbench.training.recipes import Recipe, prepare_by_plan

RECIPE = Recipe(epochs=6, batch_cases=8)


def _weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def _equal(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def test_weights_depend_on_the_seed_alone(tiny_data):
    first = _weights(train.train(tiny_data, TINY, RECIPE).model)
    torch.manual_seed(99)  # what happened before must not matter
    torch.rand(3)
    assert _equal(first, _weights(train.train(tiny_data, TINY, RECIPE).model))
    assert not _equal(first, _weights(train.train(tiny_data, TINY, replace(RECIPE, seed=1)).model))


def test_dropout_is_deterministic(tiny_data):
    config = replace(TINY, dropout=0.2)
    first, second = (_weights(train.train(tiny_data, config, RECIPE).model) for _ in range(2))
    assert _equal(first, second)


def test_training_learns_separable_classes(tiny_data):
    model = train.train(tiny_data, TINY, replace(RECIPE, epochs=20)).model
    assert not model.training
    assert accuracy(batched_logits(model, tiny_data.test_x), tiny_data.test_y) > 0.9


def test_the_test_split_does_not_matter(tiny_data):
    blind = replace(tiny_data, test_x=tiny_data.test_x * 0, test_y=tiny_data.test_y * 0)
    assert _equal(
        _weights(train.train(tiny_data, TINY, RECIPE).model),
        _weights(train.train(blind, TINY, RECIPE).model),
    )


def test_threads_and_generator_are_restored(tiny_data):
    n_threads = torch.get_num_threads()
    state = torch.get_rng_state()
    train.train(tiny_data, TINY, replace(RECIPE, epochs=1))
    assert torch.get_num_threads() == n_threads
    assert torch.equal(torch.get_rng_state(), state)


def test_each_epoch_is_reported(tiny_data):
    reports = []
    recipe = replace(RECIPE, validation_share=0.25)
    result = train.train(tiny_data, TINY, recipe, reports.append)
    assert [report.epoch for report in reports] == [1, 2, 3, 4, 5, 6]
    assert reports[-1].loss < reports[0].loss
    assert result.validation_accuracy == reports[-1].validation_accuracy
    assert 0 <= result.validation_accuracy <= 1


def test_training_learns_from_spliced_cases(tiny_data):
    model = train.train(tiny_data, TINY, replace(RECIPE, epochs=20, splice=0.2)).model
    assert accuracy(batched_logits(model, tiny_data.test_x), tiny_data.test_y) > 0.9
    assert not _equal(
        _weights(model), _weights(train.train(tiny_data, TINY, replace(RECIPE, epochs=20)).model)
    )


def test_blocks_of_cases_are_held_out_together(tiny_data, monkeypatch):
    seen = []
    monkeypatch.setattr(
        train, "batched_logits", lambda model, x: (seen.append(x), batched_logits(model, x))[1]
    )
    train.train(
        tiny_data, TINY, replace(RECIPE, epochs=1, validation_share=0.25, validation_block=4)
    )
    train_x = torch.from_numpy(tiny_data.train_x)
    held_out = {i for i in range(48) if (train_x[i] == seen[0]).flatten(1).all(dim=1).any()}
    # Labels go 0, 1, 2, 0, ...: a block of 4 of a class spans 12 cases.
    assert len(held_out) == 12
    blocks = [
        {i for i in range(12 * span, 12 * span + 12) if i % 3 == label}
        for span in range(4)
        for label in range(3)
    ]
    assert all(len(block & held_out) in (0, 4) for block in blocks)


def test_the_second_training_is_loaded_from_the_cache(tiny_data):
    first = load_or_train(tiny_data, TINY, RECIPE)
    path = cached_path(tiny_data, TINY, RECIPE)
    assert [file.name for file in path.parent.iterdir()] == [path.name]  # and nothing half-written
    again = load_or_train(tiny_data, TINY, RECIPE)
    assert (first.cached, again.cached) == (False, True)
    assert replace(again, model=None, cached=False) == replace(first, model=None)  # its cost too
    assert _equal(_weights(first.model), _weights(again.model))


class Killed(Exception):
    """Stands for a kill: nothing runs after it."""


@pytest.mark.parametrize(
    "recipe",
    [replace(RECIPE, splice=0.2), replace(RECIPE, validation_share=0.25, patience=2, epochs=12)],
)
@pytest.mark.parametrize("killed_after", [1, 3])
def test_an_interrupted_training_ends_with_the_same_weights(
    tiny_data, recipe, killed_after, monkeypatch
):
    monkeypatch.setattr(resume, "SAVING_SHARE", 1e9)  # after each epoch
    config = replace(TINY, dropout=0.2)
    whole = train.train(tiny_data, config, recipe)

    def kill(report):
        if report.epoch == killed_after:
            raise Killed

    with pytest.raises(Killed):
        load_or_train(tiny_data, config, recipe, kill)
    epochs = []
    resumed = load_or_train(tiny_data, config, recipe, lambda report: epochs.append(report.epoch))
    assert epochs[0] == killed_after + 1
    assert _equal(_weights(whole.model), _weights(resumed.model))
    assert (resumed.epochs, resumed.validation_accuracy) == (
        whole.epochs,
        whole.validation_accuracy,
    )
    assert resumed.joules > 0
    assert not list((cache.folder() / "partial").iterdir())


def test_another_trainings_state_is_named_and_not_resumed(tiny_data, tiny_model):
    path = cached_path(tiny_data, TINY, RECIPE)
    partial = cache.folder() / "partial" / path.name
    checkpoints.save(partial, tiny_model, {})
    with pytest.raises(
        CheckpointError, match=rf"{path.name}: training cannot resume from it .*delete it"
    ):
        load_or_train(tiny_data, TINY, RECIPE)
    partial.write_bytes(partial.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=rf"{path.name}: corrupt"):
        load_or_train(tiny_data, TINY, RECIPE)


def test_early_stopping_returns_the_best_epochs_weights(tiny_data):
    reports = []
    recipe = replace(RECIPE, epochs=40, validation_share=0.25, patience=3)
    result = train.train(tiny_data, TINY, recipe, reports.append)
    accuracies = [report.validation_accuracy for report in reports]
    assert result.epochs == len(reports) == accuracies.index(max(accuracies)) + 1 + 3 < 40
    assert result.validation_accuracy == max(accuracies)
    with pytest.raises(ValueError, match="validation_share"):
        replace(RECIPE, patience=3)


def test_a_student_learns_its_teachers_answers(tiny_data):
    """The teacher names the classes in another order than the labels do."""
    x = torch.from_numpy(tiny_data.train_x)
    teacher = train.train(
        replace(tiny_data, train_y=(tiny_data.train_y + 1) % 3), TINY, replace(RECIPE, epochs=20)
    ).model
    alone = train.train(tiny_data, TINY, replace(RECIPE, epochs=20)).model
    taught = train.train(tiny_data, TINY, replace(RECIPE, epochs=20), teacher=teacher).model

    def probability(model):
        with torch.inference_mode():
            return model(x).softmax(1).gather(1, teacher(x).argmax(1, keepdim=True)).mean()

    assert probability(taught) > probability(alone) + 0.1


def test_the_distillation_loss_is_0_for_the_teachers_own_answer(tiny_model, tiny_data):
    x = torch.from_numpy(tiny_data.train_x)
    with torch.no_grad():
        logits = tiny_model(x)
        assert train.distillation_loss(logits, tiny_model, x).abs() < 1e-6
        expected = nn.functional.kl_div(
            torch.zeros_like(logits).log_softmax(1), (logits / 2).softmax(1), reduction="batchmean"
        )
        torch.testing.assert_close(train.distillation_loss(logits * 0, tiny_model, x), expected * 4)


def test_the_cache_key_depends_on_data_config_and_recipe(tiny_data):
    paths = {
        cached_path(tiny_data, TINY, RECIPE),
        cached_path(replace(tiny_data, fingerprint="other"), TINY, RECIPE),
        cached_path(tiny_data, replace(TINY, n_layers=1), RECIPE),
        cached_path(tiny_data, TINY, replace(RECIPE, seed=1)),
    }
    assert len(paths) == 4


def test_the_learning_rate_rises_then_falls_to_almost_nothing():
    rates = [train.learning_rate(step, 100, Recipe()) for step in range(100)]
    peak = int(np.argmax(rates))
    assert peak in (9, 10)
    assert max(rates) == pytest.approx(Recipe().learning_rate)
    assert (np.diff(rates[:10]) > 0).all() and (np.diff(rates[10:]) < 0).all()
    assert 0 < rates[-1] < 1e-3 * max(rates)


@pytest.mark.parametrize("batch_cases", [1, 7, 30, 64])
def test_batched_logits_are_those_of_one_batch(tiny_model, tiny_data, batch_cases):
    seen = []

    def classify(x):
        seen.append(len(x))
        return tiny_model(x)

    with torch.inference_mode():
        expected = tiny_model(tiny_data.test_x)
    logits = batched_logits(classify, tiny_data.test_x, batch_cases)
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-4)
    assert set(seen) == {batch_cases}


def test_accuracy_and_agreement():
    logits = torch.tensor([[1.0, 0.0], [0.0, 1.0], [3.0, 2.0], [0.0, 0.1]])
    assert accuracy(logits, torch.tensor([0, 1, 1, 1])) == 0.75
    assert agreement(logits, -logits) == 0
    assert agreement(logits, logits * 2) == 1


@pytest.mark.parametrize(("config", "floor"), [("t1", 0.88), ("t2", 0.87), ("student", 0.90)])
def test_a_shipped_model_is_as_good_as_its_card_says(plaid, config, floor):
    path = checkpoints.shipped("plaid", config)
    saved = checkpoints.load(path)
    assert saved.about["data_sha256"] == plaid.fingerprint
    data = prepare(plaid, saved.model.config.timepoints)
    reached = accuracy(batched_logits(saved.model, data.test_x), data.test_y)
    assert f"| test accuracy | {reached:.4f} " in path.with_suffix(".md").read_text()
    assert reached >= floor


@pytest.mark.parametrize("config", ["t1", "t2", "student", "statistics"])
def test_the_shipped_refrigeration_model_is_as_good_as_its_card_says(refrigeration_devices, config):
    path = checkpoints.shipped("RefrigerationDevices", config)
    saved = checkpoints.load(path)
    data = prepare_by_plan(refrigeration_devices)
    reached = accuracy(batched_logits(saved.model, data.test_x), data.test_y)
    assert f"| test accuracy | {reached:.4f} " in path.with_suffix(".md").read_text()
