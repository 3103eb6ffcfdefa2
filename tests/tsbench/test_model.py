"""The classifier, with torch's own layers as oracle."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.tsbench.conftest import TINY
from tsbench.errors import UnknownName
from tsbench.model import (
    CONFIGS,
    MIN_VARIANCE,
    Classifier,
    ModelConfig,
    PatchStatistics,
    PlainEncoderLayer,
    config_for,
    parameter_count,
    to_plain,
)

# float32 sums of up to 128 terms in another order.
TOLERANCE = {"atol": 2e-5, "rtol": 1e-4}


@pytest.mark.parametrize("stem", [{}, {"residual_stem": True}, {"window_stem": True}])
def test_the_forward_is_stock_encoder_and_head(stem):
    """The logits, from torch's layers and our state_dict, without our forward."""
    c = replace(TINY, **stem)
    tiny_model = Classifier(c)
    tiny_model(torch.randn(32, 2, 64))  # gives the batch norms some statistics
    tiny_model.eval()
    layer = nn.TransformerEncoderLayer(
        c.d_model, c.n_heads, c.ff_dim, 0.0, "gelu", batch_first=True, norm_first=True
    )
    oracle = nn.TransformerEncoder(layer, c.n_layers, enable_nested_tensor=False).eval()
    oracle.load_state_dict(tiny_model.encoder.state_dict())
    x = torch.randn(5, 2, 64)
    with torch.no_grad():
        patches = tiny_model.patch(tiny_model.stem(x)).mT
        assert patches.shape == (5, c.n_patches, c.d_model)
        features = tiny_model.norm(oracle(patches + tiny_model.position).mean(1))
        expected = features @ tiny_model.head.weight.T + tiny_model.head.bias
        torch.testing.assert_close(tiny_model(x), expected, **TOLERANCE)
    with torch.inference_mode():  # the fast path
        torch.testing.assert_close(tiny_model(x), expected, **TOLERANCE)


def test_the_forerunners_layout_has_its_parameter_count():
    """Its notebooks print 264 137 for T2 (UniMiB SHAR: 4 channels, 151 timepoints, 9 classes)."""
    shape = {"in_channels": 4, "timepoints": 152, "n_classes": 9}  # it pads 151 to whole patches
    assert parameter_count(Classifier(replace(CONFIGS["t1_2024"], **shape))) == 180_041
    assert parameter_count(Classifier(replace(CONFIGS["t2_2024"], **shape))) == 264_137


def test_the_forerunners_forward_is_stock_encoder_and_head():
    c = replace(CONFIGS["t1_2024"], in_channels=3, timepoints=40, n_classes=4, n_layers=2)
    model = Classifier(c).eval()
    layer = nn.TransformerEncoderLayer(c.d_model, c.n_heads, c.ff_dim, batch_first=True)
    oracle = nn.TransformerEncoder(layer, c.n_layers, enable_nested_tensor=False).eval()
    oracle.load_state_dict(model.encoder.state_dict())
    x = torch.randn(5, 3, 40)
    at, column = np.arange(6)[:, None], np.arange(32)[None]
    angle = at / 10_000 ** (column // 2 * 2 / 32)
    position = np.where(column % 2, np.cos(angle), np.sin(angle))
    position = (position - position.mean()) / (10 * position.std(ddof=1))
    with torch.no_grad():
        patches = nn.functional.conv1d(x, model.patch.weight, model.patch.bias, stride=8).mT
        tokens = torch.cat([model.class_token.expand(5, 1, 32), patches], 1)
        hidden, last = model.head
        features = oracle(tokens + torch.from_numpy(position).float())[:, 0]
        expected = last(hidden(features))
        torch.testing.assert_close(model(x), expected, **TOLERANCE)
        torch.testing.assert_close(to_plain(model)(x), expected, **TOLERANCE)
        torch.testing.assert_close(to_plain(model, False)(x), expected, **TOLERANCE)


def test_patch_statistics_equal_numpys():
    x = torch.randn(3, 2, 24) * 10
    x[0, 0] = 1.0  # a constant has no variance to take the logarithm of
    windows = x.numpy().reshape(3, 2, 4, 6)
    variance = windows.astype(float).var(axis=3)
    expected = [windows.mean(3), windows.max(3), windows.min(3), np.log10(variance + MIN_VARIANCE)]
    torch.testing.assert_close(
        PatchStatistics(6)(x),
        torch.from_numpy(np.concatenate(expected, axis=1)).float(),
        **TOLERANCE,
    )


def test_a_config_with_two_stems_is_an_error():
    with pytest.raises(ValueError, match="one stem"):
        replace(TINY, residual_stem=True, window_stem=True)


@pytest.mark.parametrize(("timepoints", "patch"), [(720, 30), (512, 16), (96, 8), (101, 1)])
def test_statistics_patches_fit_the_timepoints(timepoints, patch):
    assert config_for("statistics", 2, timepoints, 3).patch_timepoints == patch


def test_stock_layers_start_from_different_weights():
    first, second = Classifier(TINY).encoder.layers
    assert not torch.equal(first.linear1.weight, second.linear1.weight)


@settings(deadline=None, max_examples=25)
@given(
    n_heads=st.sampled_from([1, 2, 4, 8]),
    head_dim=st.integers(1, 8),
    ff_dim=st.integers(1, 20),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 9)),
    seed=st.integers(0, 1000),
)
def test_a_plain_layer_equals_the_stock_layer(n_heads, head_dim, ff_dim, shape, seed):
    torch.manual_seed(seed)
    d_model = n_heads * head_dim
    stock = nn.TransformerEncoderLayer(
        d_model, n_heads, ff_dim, 0.0, "gelu", batch_first=True, norm_first=True
    )
    plain = PlainEncoderLayer.from_stock(stock)
    x = torch.randn(*shape, d_model)
    torch.testing.assert_close(plain(x), stock(x), **TOLERANCE)
    plain.fused_attention = False
    torch.testing.assert_close(plain(x), stock(x), **TOLERANCE)
    assert parameter_count(plain) == parameter_count(stock)


@pytest.mark.parametrize("fused_attention", [True, False])
def test_to_plain_computes_the_same_and_shares_nothing(tiny_model, fused_attention):
    plain = to_plain(to_plain(tiny_model), fused_attention)
    assert {layer.fused_attention for layer in plain.encoder} == {fused_attention}
    x = torch.randn(4, 2, 64)
    with torch.inference_mode():
        before = tiny_model(x)
        torch.testing.assert_close(plain(x), before, **TOLERANCE)
        for parameter in plain.parameters():
            parameter.zero_()
        assert torch.equal(tiny_model(x), before)
    assert parameter_count(plain) == parameter_count(tiny_model)


@pytest.mark.parametrize(("name", "n_layers", "n_heads"), [("t1", 8, 8), ("T2", 12, 16)])
def test_the_configs_of_the_paper(name, n_layers, n_heads):
    config = config_for(name, 2, 512, 11)
    model = Classifier(config)
    assert len(model.encoder.layers) == n_layers
    assert model.encoder.layers[0].self_attn.num_heads == n_heads
    assert model.eval()(torch.zeros(1, 2, 512)).shape == (1, 11)


@pytest.mark.parametrize(
    ("timepoints", "patch"), [(512, 32), (720, 48), (96, 8), (496, 16), (8, 8)]
)
def test_the_students_patches_fit_the_timepoints(timepoints, patch):
    assert config_for("student", 2, timepoints, 3).patch_timepoints == patch


def test_timepoints_that_no_patch_fits_are_an_error():
    with pytest.raises(ValueError, match="multiple of 8"):
        config_for("student", 2, 100, 3)


def test_an_unknown_config_names_the_known_ones():
    with pytest.raises(UnknownName, match=", ".join(CONFIGS)):
        config_for("t9", 2, 512, 11)


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("timepoints", 500, "multiple of patch_timepoints"),
        ("n_heads", 7, "multiple of n_heads"),
        ("patch_timepoints", 2, "stem_stride"),
    ],
)
def test_shapes_that_do_not_divide_are_errors(field, value, problem):
    with pytest.raises(ValueError, match=problem):
        ModelConfig(**{field: value})
