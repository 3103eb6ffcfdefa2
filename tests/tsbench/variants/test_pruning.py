"""Pruning reaches its sparsity or size, fine-tuning keeps it, and int8 can follow."""

from __future__ import annotations

import pytest
import torch

from studies.flops import flops
from tests.tsbench.conftest import TINY
from tsbench import checkpoints, variants
from tsbench.errors import VariantUnavailable
from tsbench.model import encoder_layers, parameter_count, to_plain
from tsbench.training.evaluate import agreement, batched_logits
from tsbench.training.recipes import Recipe
from tsbench.training.train import train
from tsbench.variants import (
    _inductor,
    depth,
    int8_static,
    l1_structured,
    tuning,
    unstructured,
)
from tsbench.variants.built import Built
from tsbench.variants.calibration import example
from tsbench.variants.classifier import of_classifier
from tsbench.variants.convolutions import fold_batch_norms
from tsbench.variants.unstructured import SCOPES


def groups(model, scope):
    return unstructured.groups(of_classifier(model, None, 1), scope)


@pytest.fixture(scope="module")
def trained(tiny_data):
    return train(tiny_data, TINY, Recipe(epochs=12, batch_cases=8)).model


@pytest.fixture
def uncompiled(monkeypatch):
    """int8 variants return their converted graph, which computes the same as its compiled form."""

    def graph(label, make_graph, *arguments, **made_by):
        with _inductor.known_warnings():
            return Built(make_graph())

    monkeypatch.setattr(_inductor, "compiled", graph)


def sparsity_of(weights):
    return (flat(weights) == 0).double().mean().item()


def flat(weights):
    return torch.cat([weight.detach().flatten() for weight in weights])


@pytest.mark.parametrize("method", SCOPES)
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.9, 1.0])
def test_the_smallest_weights_of_each_scope_become_zeros(method, sparsity, tiny_model):
    before = {name: tensor.clone() for name, tensor in tiny_model.state_dict().items()}
    pruned = variants.get(f"{method}@sparsity={sparsity}").build(tiny_model, None, 1)
    originals, now = groups(tiny_model, SCOPES[method]), groups(pruned, SCOPES[method])
    for old_group, new_group in zip(originals, now, strict=True):
        old, new = flat(old_group), flat(new_group)
        gone = new == 0
        assert gone.sum() == round(sparsity * len(new))
        assert torch.equal(new[~gone], old[~gone])
        if gone.any() and not gone.all():
            assert old[gone].abs().max() <= old[~gone].abs().min()
    assert all(
        torch.equal(before[name], tensor) for name, tensor in tiny_model.state_dict().items()
    )
    x = torch.randn(4, 2, 64)
    assert torch.equal(batched_logits(pruned, x), batched_logits(tiny_model, x)) == (sparsity == 0)


def test_scopes_differ_and_norms_of_single_weights_do_not(tiny_model):
    with torch.no_grad():  # one layer of small weights: only a threshold across layers sees that
        for weight in groups(tiny_model, "layer")[1]:
            weight *= 0.1
    by_method = {
        method: unstructured.prune(of_classifier(tiny_model, None, 1), 0.5, scope)
        for method, scope in SCOPES.items()
    }
    per_layer = {
        method: [sparsity_of(layer) for layer in groups(pruned, "layer")]
        for method, pruned in by_method.items()
    }
    assert per_layer["layerwise_magnitude"] == [0.5, 0.5]
    assert per_layer["global_magnitude"][1] > 0.9
    assert sum(per_layer["global_magnitude"]) == pytest.approx(1.0)
    per_matrix = [
        sparsity_of([weight]) for weight in groups(by_method["layerwise_magnitude"], "encoder")[0]
    ]
    assert len(set(per_matrix)) > 2
    l1, l2 = (
        dict(by_method[method].named_parameters())
        for method in ("l1_unstructured", "l2_unstructured")
    )
    assert all(torch.equal(l1[name], l2[name]) for name in l1)


def test_an_invalid_sparsity_is_an_error(tiny_model):
    with pytest.raises(ValueError, match=r"from 0 to 1, got 1\.1"):
        unstructured.prune(of_classifier(tiny_model, None, 1), 1.1, "matrix")


@pytest.mark.parametrize("name", ["l1_unstructured", "layerwise_magnitude", "global_magnitude"])
def test_fine_tuning_keeps_the_zeros_and_trains_the_rest(name, trained, tiny_data):
    untuned = variants.get(f"{name}@sparsity=0.6").build(trained, tiny_data, 1)
    tuned = variants.get(f"{name}@sparsity=0.6,tuned=yes").build(trained, tiny_data, 1)
    for (key, before), after in zip(untuned.named_parameters(), tuned.parameters(), strict=True):
        assert torch.equal(before == 0, after == 0), key
        assert not torch.equal(before, after), key
    assert sparsity_of(groups(tuned, "encoder")[0]) == pytest.approx(0.6, abs=1e-3)
    assert (
        agreement(
            batched_logits(tuned, tiny_data.test_x), batched_logits(trained, tiny_data.test_x)
        )
        >= 0.9
    )


def test_fine_tuning_removes_its_hooks(tiny_model):
    pruned = unstructured.prune(of_classifier(tiny_model, None, 1), 0.5, "matrix")
    weight = groups(pruned, "encoder")[0][0]
    with tuning.zeros_kept(pruned):
        pruned(torch.randn(2, 2, 64)).sum().backward()
    assert (weight.grad[weight == 0] == 0).all()
    weight.grad = None
    pruned(torch.randn(2, 2, 64)).sum().backward()
    assert (weight.grad[weight == 0] != 0).any()


def saved_bytes(model, path):
    checkpoints.save_weights(path, model, {})
    return path.stat().st_size


def test_which_prunings_make_a_smaller_model(tiny_model, tiny_data, tmp_path):
    def sizes(model):
        return (
            parameter_count(model),
            flops(model, 1).total,
            saved_bytes(model, tmp_path / "model.safetensors"),
        )

    plain = sizes(to_plain(tiny_model))
    assert parameter_count(tiny_model) == plain[0]
    for cut in (l1_structured.prune(tiny_model, 0.5), depth.prune(tiny_model, tiny_data, 0.5)):
        assert all(ours < theirs for ours, theirs in zip(sizes(cut), plain, strict=True))
    for scope in SCOPES.values():
        assert sizes(unstructured.prune(of_classifier(tiny_model, None, 1), 0.9, scope)) == sizes(
            tiny_model
        )


@pytest.mark.parametrize("plain", [False, True])
def test_depth_removes_a_layer_without_effect(plain, trained, tiny_data):
    model = to_plain(trained)
    with torch.no_grad():  # a residual layer whose two outputs are zeros passes its input on
        for linear in (encoder_layers(model)[0].out, encoder_layers(model)[0].ff2):
            linear.weight.zero_()
            linear.bias.zero_()
    if not plain:
        model = depth.with_layers(trained, (0, 1))
        with torch.no_grad():
            for linear in (
                encoder_layers(model)[0].self_attn.out_proj,
                encoder_layers(model)[0].linear2,
            ):
                linear.weight.zero_()
                linear.bias.zero_()
    assert depth.least_loss(model, tiny_data, 1) == (1,)
    cut = depth.prune(model, tiny_data, 0.5)
    assert cut.config.n_layers == len(encoder_layers(cut)) == 1
    assert len(encoder_layers(model)) == model.config.n_layers == 2
    torch.testing.assert_close(
        batched_logits(cut, tiny_data.test_x),
        batched_logits(model, tiny_data.test_x),
        atol=1e-5,
        rtol=1e-4,
    )


def test_a_shallow_model_can_be_saved_and_loaded(trained, tiny_data, tmp_path):
    cut = depth.prune(trained, tiny_data, 0.5)
    checkpoints.save(tmp_path / "shallow.safetensors", cut, {})
    loaded = checkpoints.load(tmp_path / "shallow.safetensors").model
    assert torch.equal(
        batched_logits(loaded, tiny_data.test_x), batched_logits(cut, tiny_data.test_x)
    )


@pytest.mark.parametrize("name", ["l1_structured", "depth"])
def test_nothing_removed_is_the_same_model(name, trained, tiny_data):
    same = variants.get(f"{name}@removed=0,tuned=no").build(trained, tiny_data, 4)
    torch.testing.assert_close(
        batched_logits(same, tiny_data.test_x),
        batched_logits(trained, tiny_data.test_x),
        atol=1e-5,
        rtol=1e-4,
    )


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("l1_structured_int8", "l1_structured"),
        ("depth_int8", "depth"),
        ("l1_int8_static", "l1_unstructured"),
    ],
)
@pytest.mark.slow
def test_a_hybrid_is_pruning_then_int8(name, first, trained, tiny_data, uncompiled):
    try:
        hybrid = variants.get(name).build(trained, tiny_data, 4)
    except VariantUnavailable as error:
        pytest.skip(str(error))
    smaller = variants.get(first).build(trained, tiny_data, 4)
    with _inductor.known_warnings():
        expected = batched_logits(
            int8_static.quantize(of_classifier(smaller, tiny_data, 4)), tiny_data.test_x, 4
        )
    logits = batched_logits(hybrid, tiny_data.test_x, 4)
    assert torch.equal(logits, expected)
    assert agreement(logits, batched_logits(smaller, tiny_data.test_x)) >= 0.9
    assert variants.get(name).settings == variants.get(first).settings


@pytest.mark.slow
def test_int8_qat(trained, tiny_data, uncompiled, monkeypatch):
    before = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    try:
        built = variants.get("int8_qat").build(trained, tiny_data, 4)
    except VariantUnavailable as error:
        pytest.skip(str(error))
    assert all(torch.equal(before[name], tensor) for name, tensor in trained.state_dict().items())
    expected = batched_logits(trained, tiny_data.test_x)
    logits = batched_logits(built, tiny_data.test_x, 4)
    assert agreement(logits, expected) >= 0.9
    int8 = [tensor for tensor in built.state_dict().values() if tensor.dtype == torch.int8]
    assert len(int8) == 4 * TINY.n_layers + 1  # four Linears a layer, and the head
    with _inductor.known_warnings():
        untuned = batched_logits(
            int8_static.quantize(of_classifier(trained, tiny_data, 4)), tiny_data.test_x, 4
        )
    assert not torch.equal(logits, untuned)
    # The training serves other batch sizes, and a later process, without being done again.
    monkeypatch.setattr("tsbench.training.train.fit", fit_never)
    again = variants.get("int8_qat").build(trained, tiny_data, 1)
    torch.testing.assert_close(
        batched_logits(again, tiny_data.test_x, 1), logits, atol=1e-4, rtol=1e-4
    )
    with (
        _inductor.known_warnings(),
        torch.no_grad(),
    ):  # what compiling for one batch size starts with
        torch.export.export(again, (example(tiny_data, 1),))


def fit_never(*arguments):
    raise AssertionError("trained again")


def test_folding_batch_norms_changes_nothing(tiny_model):
    folded = fold_batch_norms(to_plain(tiny_model))
    assert not any(isinstance(module, torch.nn.BatchNorm1d) for module in folded.modules())
    x = torch.randn(4, 2, 64)
    torch.testing.assert_close(folded(x), tiny_model(x), atol=1e-5, rtol=1e-4)
