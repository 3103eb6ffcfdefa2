"""What claims to be the model's function is checked against it, and refused if it is another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.tsbench.conftest import TINY
from tsbench import variants
from tsbench.errors import VariantUnavailable
from tsbench.model import Classifier
from tsbench.variants.classifier import of_classifier
from tsbench.variants.parity import TOLERANCE, largest_difference


def off_by(model, error):
    """A make function whose callable adds `error` to the first logit of the last case."""

    def make(source):
        def classify(x):
            logits = model(x).clone()
            logits[-1, 0] += error * max(1.0, logits.abs().max().item())
            return logits

        return classify

    return make


@pytest.mark.parametrize("error", [2 * TOLERANCE, -0.9, float("nan"), float("inf")])
def test_another_function_is_unavailable_with_the_difference(tiny_model, tiny_data, error):
    made = off_by(tiny_model, error)
    wrong = variants.Variant("wrong", "off", ("torch",), made, same_function=True)
    with pytest.raises(VariantUnavailable, match=r"wrong .*differ .* by up to .* is allowed"):
        wrong.build(tiny_model, tiny_data, 4)
    assert replace(wrong, same_function=False).build(tiny_model, tiny_data, 4)


def test_rounding_errors_are_no_difference(tiny_model, tiny_data):
    close = variants.Variant(
        "close", "", ("torch",), off_by(tiny_model, TOLERANCE / 10), same_function=True
    )
    assert close.build(tiny_model, tiny_data, 4)


def test_the_variants_that_claim_it():
    claiming = {name for name in variants.BUILT_IN if variants.get(name).same_function}
    assert claiming == {"compiled", "onnx_fp32", "openvino_fp32"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["onnx_fp32", "openvino_fp32"])
@pytest.mark.parametrize(
    ("n_heads", "n_patches"), [(2, 1), (2, 2), (2, 3), (4, 4), (8, 8), (8, 7), (16, 16), (16, 17)]
)
def test_engines_compute_the_same_for_any_heads_and_patches(name, n_heads, n_patches, tiny_data):
    try:
        variants.get(name).check()
    except VariantUnavailable as error:
        pytest.skip(str(error))
    torch.manual_seed(0)
    config = replace(TINY, d_model=32, n_heads=n_heads, n_layers=1, timepoints=16 * n_patches)
    model = Classifier(config)
    x = np.random.default_rng(0).normal(size=(8, 2, config.timepoints)).astype(np.float32)
    model(torch.from_numpy(x))  # statistics for its batch norms
    data = replace(tiny_data, train_x=x, fingerprint=str(config))
    classify = variants.get(name).build(model.eval(), data, 2)  # refused if it differs
    source = of_classifier(model, data, 2)
    assert largest_difference(classify, source.reference, source.calibration) <= 1e-4
