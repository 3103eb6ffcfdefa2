"""Every variant leaves the model unchanged, agrees with it, and does what its name says."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from tsbench import variants
from tsbench.errors import BadSetting, UnknownName, VariantUnavailable
from tsbench.model import Classifier, parameter_count, to_plain
from tsbench.training.evaluate import agreement, batched_logits
from tsbench.variants import int8_dynamic, int8_static, l1_structured
from tsbench.variants.classifier import of_classifier

# Compiling C++ takes half a minute, so these tests check graphs before compiling, and one compiled
# form. test_engines.py tests the engines.
EAGER = [name for name in variants.names() if variants.get(name).requirements == ("torch",)]
COMPILED = [name for name in variants.names() if "g++" in variants.get(name).requirements]


@pytest.fixture(scope="module")
def trained(tiny_data):
    from tests.tsbench.conftest import TINY
    from tsbench.training.recipes import Recipe
    from tsbench.training.train import train

    return train(tiny_data, TINY, Recipe(epochs=12, batch_cases=8)).model


def without_machine_check(name, model, data):
    """torch emulates bf16 on CPUs that do not have it, where `build` would refuse."""
    return variants.get(name).make(of_classifier(model, data, 4)).call


@pytest.mark.parametrize("name", EAGER)
def test_a_variant_does_not_change_the_model(name, trained, tiny_data):
    before = {key: tensor.clone() for key, tensor in trained.state_dict().items()}
    built = without_machine_check(name, trained, tiny_data)
    logits = batched_logits(built, tiny_data.test_x, 4)
    assert logits.shape == (30, 3)
    assert not trained.training
    assert all(torch.equal(before[key], tensor) for key, tensor in trained.state_dict().items())
    ours = {tensor.data_ptr() for tensor in trained.state_dict().values()}
    assert not ours & {tensor.data_ptr() for tensor in built.parameters()}


@pytest.mark.parametrize("name", EAGER)
def test_a_variant_agrees_with_the_model_on_most_cases(name, trained, tiny_data):
    built = without_machine_check(name, trained, tiny_data)
    expected = batched_logits(trained, tiny_data.test_x)
    assert agreement(batched_logits(built, tiny_data.test_x, 4), expected) >= 0.9


def test_fp32_is_the_stock_model(trained, tiny_data):
    built = variants.get("fp32").build(trained, tiny_data, 1)
    assert isinstance(built.encoder, nn.TransformerEncoder)
    assert torch.backends.mha.get_fastpath_enabled()


def test_int8_dynamic_holds_int8_weights(trained, tiny_data):
    built = variants.get("int8_dynamic").build(trained, tiny_data, 1)
    quantized = torch.ao.nn.quantized.dynamic.Linear
    linears = [module for module in built.modules() if isinstance(module, quantized)]
    assert len(linears) == 4 * 2 + 1  # four a layer, and the head
    assert {linear.weight().dtype for linear in linears} == {torch.qint8}
    assert not any(type(module) is nn.Linear for module in built.modules())


def with_zeros_instead(model, removed_share):
    """The same pruning with zeros in place of what `l1_structured.prune` removes."""
    plain = to_plain(model)
    with torch.no_grad():
        for layer in plain.encoder:
            heads, channels = l1_structured.importances(layer)
            # A head adds to the output only through its columns of `out`, a channel through `ff2`.
            head_mask = mask(heads, removed_share).repeat_interleave(layer.head_dim)
            layer.out.weight *= head_mask
            layer.ff2.weight *= mask(channels, removed_share)
    return plain.eval()


def mask(scores, removed_share):
    """1 for the highest scores, at least one; 0 for the others."""
    n_kept = max(len(scores) - round(removed_share * len(scores)), 1)
    kept = torch.zeros(len(scores))
    kept[scores.argsort(descending=True)[:n_kept]] = 1
    return kept


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75, 1.0])
def test_l1_structured_equals_the_masked_model(trained, tiny_data, share):
    slim = l1_structured.prune(trained, share)
    masked = with_zeros_instead(trained, share)
    torch.testing.assert_close(
        batched_logits(slim, tiny_data.test_x),
        batched_logits(masked, tiny_data.test_x),
        atol=1e-5,
        rtol=1e-4,
    )


def test_l1_structured_has_no_batch_norms_left(trained, tiny_data):
    built = variants.get("l1_structured@removed=0,tuned=no").build(trained, tiny_data, 4)
    assert not any(isinstance(module, nn.BatchNorm1d) for module in built.modules())
    assert any(isinstance(module, nn.BatchNorm1d) for module in trained.modules())


def test_l1_structured_has_fewer_parameters(trained):
    c = trained.config
    slim = l1_structured.prune(trained, 0.5)
    # Each layer loses half of: q, k, v rows with biases; output columns; both feed-forward halves.
    per_layer = 3 * c.d_model * (c.d_model + 1) + c.d_model**2 + c.ff_dim * (2 * c.d_model + 1)
    expected = parameter_count(trained) - c.n_layers * per_layer // 2
    assert parameter_count(slim) == expected
    assert [layer.n_heads for layer in slim.encoder] == [c.n_heads // 2] * c.n_layers
    assert all(layer.ff1.weight.shape == (c.ff_dim // 2, c.d_model) for layer in slim.encoder)


def test_l1_structured_removes_the_weakest_head_and_channel(trained):
    plain = to_plain(trained)
    layer = plain.encoder[0]
    with torch.no_grad():
        layer.qkv.weight.view(3, layer.n_heads, layer.head_dim, -1)[:, 2] *= 1e-3
        layer.out.weight.view(-1, layer.n_heads, layer.head_dim)[:, 2] *= 1e-3
        layer.ff1.weight[5] *= 1e-3
        layer.ff2.weight[:, 5] *= 1e-3
    heads, channels = l1_structured.importances(layer)
    assert heads.argmin() == 2
    assert channels.argmin() == 5


def test_l1_structured_is_retrained_once(trained, tiny_data, monkeypatch):
    from tsbench.training import train

    first = variants.get("l1_structured").build(trained, tiny_data, 1)

    def never(*arguments):
        raise AssertionError("trained once more")

    monkeypatch.setattr(train, "fit", never)
    second = variants.get("l1_structured").build(trained, tiny_data, 32)
    logits = batched_logits(first, tiny_data.test_x)
    assert torch.equal(logits, batched_logits(second, tiny_data.test_x))
    untuned = l1_structured.prune(trained, l1_structured.REMOVED_SHARE)
    assert not torch.equal(logits, batched_logits(untuned, tiny_data.test_x))


@pytest.mark.slow
def test_int8_static_compiled(trained, tiny_data, monkeypatch):
    before = {key: tensor.clone() for key, tensor in trained.state_dict().items()}
    variant = variants.get("int8_static")
    try:
        built = variant.build(trained, tiny_data, 4)
    except VariantUnavailable as error:
        pytest.skip(str(error))
    expected = batched_logits(trained, tiny_data.test_x)
    logits = batched_logits(built, tiny_data.test_x, 4)
    assert agreement(logits, expected) >= 0.9
    assert not torch.equal(logits, expected)
    assert all(torch.equal(before[key], tensor) for key, tensor in trained.state_dict().items())
    monkeypatch.setattr(int8_static, "quantize", None)  # not called a second time
    again = variant.build(trained, tiny_data, 4)
    assert torch.equal(batched_logits(again, tiny_data.test_x, 4), logits)


@pytest.mark.parametrize("name", COMPILED)
def test_compiled_variants_without_a_compiler(name, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda program: None)
    problem = rf"variant {name} .*g\+\+ not installed; apt-get install g\+\+, or set CXX"
    with pytest.raises(VariantUnavailable, match=problem):
        variants.get(name).check()


def test_another_compiler_is_named_by_cxx(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda program: program if program == "clang++" else None)
    monkeypatch.setenv("CXX", "clang++")
    variants.get("compiled").check()


def test_int8_static_without_torchao(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchao", None)  # as if it were not installed
    with pytest.raises(VariantUnavailable, match="torchao not installed; pip install torchao"):
        variants.get("int8_static").check()


def test_int8_static_on_another_cpu(monkeypatch):
    monkeypatch.setattr(int8_static.platform, "machine", lambda: "aarch64")
    with pytest.raises(VariantUnavailable, match="aarch64"):
        variants.get("int8_static").check()


def test_int8_dynamic_without_engines(monkeypatch):
    monkeypatch.setattr(int8_dynamic, "ENGINES", ())
    with pytest.raises(VariantUnavailable, match="quantized engines"):
        variants.get("int8_dynamic").check()


def test_bf16_computes_in_bf16_and_returns_fp32(trained, tiny_data):
    built = without_machine_check("bf16", trained, tiny_data)
    assert {parameter.dtype for parameter in built.parameters()} == {torch.bfloat16}
    logits, expected = (
        batched_logits(built, tiny_data.test_x, 4),
        batched_logits(trained, tiny_data.test_x),
    )
    assert logits.dtype == torch.float32
    # 8 bits of mantissa: one part in 256 lost in each rounding.
    torch.testing.assert_close(logits, expected, atol=0.1, rtol=0.05)
    assert not torch.equal(logits, expected)


def test_settings_follow_the_at_sign():
    asked = variants.get("global_magnitude@sparsity=0.7,tuned=yes")
    assert asked.name == "global_magnitude@sparsity=0.7,tuned=yes"
    assert asked.settings == {"sparsity": 0.7, "tuned": True, "only": ""}
    unset = {"sparsity": 0.3, "tuned": False, "only": ""}
    assert variants.get("global_magnitude").settings == unset
    assert variants.get("global_magnitude@only=head.*").settings == {**unset, "only": "head.*"}
    assert variants.get("depth_int8@removed=0.25").settings == {"removed": 0.25, "tuned": True}


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("fp32@sparsity=0.5", "no setting 'sparsity'; it has: none"),
        ("depth@", "no setting ''; it has: removed, tuned"),
        ("depth@tuned", "tuned must be yes or no, got ''"),
        ("depth@removed=half", "removed must be a share from 0 to 1, got 'half'"),
        ("l1_unstructured@sparsity=1.5", "got '1.5'"),
        ("l1_unstructured@sparsity=nan", "got 'nan'"),
    ],
)
def test_bad_settings_are_named(name, problem):
    with pytest.raises(BadSetting, match=problem):
        variants.get(name)


def test_an_unknown_variant_names_the_known_ones():
    with pytest.raises(UnknownName, match="int8_dynamic"):
        variants.get("int4")


def test_variants_of_a_model_in_training_mode_are_in_eval_mode(tiny_data):
    from tests.tsbench.conftest import TINY

    model = Classifier(TINY)  # in training mode, as made
    for name in ("fp32", "int8_dynamic", "l1_unstructured"):
        assert not variants.get(name).build(model, tiny_data, 1).training
    assert model.training
