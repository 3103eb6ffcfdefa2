"""Other engines compared with torch: equal logits in fp32, most predictions below it.

An engine that is not installed skips its tests with the line that installs it.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tsbench import requirements, variants
from tsbench.data import cache
from tsbench.errors import VariantUnavailable
from tsbench.training.evaluate import agreement, batched_logits
from tsbench.variants import _onnx_export, _openvino, onnx_runtime, openvino_engine
from tsbench.variants.calibration import calibration_batches
from tsbench.variants.classifier import of_classifier

ROOT = Path(__file__).parents[3]
FP32 = ("onnx_fp32", "openvino_fp32")
LOWER = ("onnx_int8_dynamic", "onnx_int8_static", "openvino_bf16", "openvino_int8")
# Of logits of about 1: fused operators add up in another order. A T1 was off by 9e-6 at most.
FP32_TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(folder, monkeypatch):
    """One cache for this module: exporting a model takes seconds."""
    monkeypatch.setenv(cache.CACHE_FOLDER_VARIABLE, str(folder))


@pytest.fixture(scope="module")
def trained(tiny_data):
    from tests.tsbench.conftest import TINY
    from tsbench.training.recipes import Recipe
    from tsbench.training.train import train

    # As many heads as patches (4), see _openvino.py.
    return train(tiny_data, replace(TINY, n_layers=1), Recipe(epochs=12, batch_cases=8)).model


@pytest.fixture(scope="module")
def built(trained, tiny_data):
    """Builds a variant once for this module, or skips with the line that installs it."""
    made = {}

    def build(name, batch_cases=4):
        if (name, batch_cases) not in made:
            try:
                made[name, batch_cases] = variants.get(name).build(trained, tiny_data, batch_cases)
            except VariantUnavailable as error:
                pytest.skip(str(error))
        return made[name, batch_cases]

    return build


@pytest.mark.parametrize("batch_cases", [1, 4])
@pytest.mark.parametrize("name", FP32)
def test_fp32_logits_are_torchs(name, batch_cases, built, trained, tiny_data):
    before = {key: tensor.clone() for key, tensor in trained.state_dict().items()}
    logits = batched_logits(built(name, batch_cases), tiny_data.test_x, batch_cases)
    expected = batched_logits(trained, tiny_data.test_x)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, expected, atol=FP32_TOLERANCE, rtol=FP32_TOLERANCE)
    assert all(torch.equal(before[key], tensor) for key, tensor in trained.state_dict().items())


@pytest.mark.parametrize("name", LOWER)
def test_lower_precision_agrees_on_most_cases(name, built, trained, tiny_data):
    before = {key: tensor.clone() for key, tensor in trained.state_dict().items()}
    logits = batched_logits(built(name), tiny_data.test_x, 4)
    expected = batched_logits(trained, tiny_data.test_x)
    assert agreement(logits, expected) >= 0.9
    # It is not fp32 under another name.
    assert (logits - expected).abs().max() > 10 * FP32_TOLERANCE
    assert all(torch.equal(before[key], tensor) for key, tensor in trained.state_dict().items())


@pytest.mark.parametrize("name", ["onnx_fp32", "openvino_fp32"])
def test_a_call_overwrites_neither_earlier_logits_nor_its_input(name, built, tiny_data):
    classify = built(name)
    first_x, second_x = tiny_data.test_x[:4].clone(), tiny_data.test_x[4:8].clone()
    first = classify(first_x)
    kept = first.clone()
    second = classify(second_x)
    assert not torch.equal(first, second)
    assert torch.equal(first, kept)
    assert torch.equal(first_x, tiny_data.test_x[:4])
    second += 1
    assert torch.equal(classify(second_x) + 1, second)


@pytest.mark.parametrize("name", ["onnx_fp32", "openvino_fp32"])
def test_x_need_not_be_contiguous(name, built, tiny_data):
    classify = built(name)
    x = tiny_data.test_x[:4]
    turned = x.transpose(1, 2).contiguous().transpose(1, 2)
    assert not turned.is_contiguous()
    assert torch.equal(classify(turned), classify(x))


@pytest.mark.parametrize("name", ["onnx_int8_static", "openvino_int8"])
def test_calibrated_int8_is_built_once(name, built, trained, tiny_data, monkeypatch):
    first = batched_logits(built(name), tiny_data.test_x, 4)

    def never(*arguments):
        raise AssertionError("made again")

    monkeypatch.setattr(onnx_runtime, "quantize_static", never)
    monkeypatch.setattr(openvino_engine, "quantize", never)
    again = batched_logits(variants.get(name).build(trained, tiny_data, 4), tiny_data.test_x, 4)
    assert torch.equal(first, again)


def test_onnx_static_quantizes_products_with_weights_and_no_others(built, trained, tiny_data):
    built("onnx_int8_static")
    import onnx

    fp32 = _onnx_export.exported(of_classifier(trained, tiny_data, 4))
    excluded = onnx_runtime.products_of_activations(fp32)
    assert len(excluded) == 2 * trained.config.n_layers  # q with k, and that with v, in each layer
    quantized = onnx.load(next(fp32.parent.glob("*int8_static*.onnx"))).graph
    made_by = {output: node.op_type for node in quantized.node for output in node.output}
    for node in quantized.node:
        inputs = {made_by.get(name) for name in node.input}
        if node.name in excluded or node.op_type == "Conv":
            assert "DequantizeLinear" not in inputs
        elif node.op_type in ("MatMul", "Gemm"):
            assert "DequantizeLinear" in inputs


def test_openvino_int8_does_not_quantize_convolutions(built, trained, tiny_data):
    built("openvino_int8")
    source = of_classifier(trained, tiny_data, 4)
    made = openvino_engine.quantize(_openvino.converted(source), source)

    def kinds_before(operator):
        return [
            operator.input_value(i).get_node().get_type_name()
            for i in range(operator.get_input_size())
        ]

    convolutions = [op for op in made.get_ops() if op.get_type_name() == "Convolution"]
    assert len(convolutions) == 3  # two of the stem, and the patches
    assert all("FakeQuantize" not in kinds_before(op) for op in convolutions)
    products = [op for op in made.get_ops() if op.get_type_name() == "MatMul"]
    assert sum("FakeQuantize" in kinds_before(op) for op in products) >= 4 * trained.config.n_layers


def test_calibration_cases_are_shuffled_and_fill_the_last_batch(tiny_data):
    batches = list(calibration_batches(tiny_data, 5))
    assert [len(batch) for batch in batches] == [5] * 10  # 48 cases
    rows = [case.tobytes() for batch in batches for case in batch]
    assert rows[48:] == rows[:2]
    assert set(rows) == {case.tobytes() for case in tiny_data.train_x}
    assert rows[:48] != [case.tobytes() for case in tiny_data.train_x]


@pytest.mark.parametrize(
    ("module", "name", "line"),
    [
        ("onnxruntime", "onnx_fp32", 'pip install "tsbench[onnx]"'),
        ("onnxscript", "onnx_int8_dynamic", 'pip install "tsbench[onnx]"'),
        ("openvino", "openvino_bf16", 'pip install "tsbench[openvino]"'),
        ("nncf", "openvino_int8", 'pip install "tsbench[openvino]"'),
    ],
)
def test_a_missing_library_is_named_with_the_line_that_installs_it(module, name, line, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    with pytest.raises(VariantUnavailable) as caught:
        variants.get(name).check()
    assert f"{module} not installed; {line}" in str(caught.value)


def test_a_library_without_an_extra_is_installed_by_its_name():
    assert requirements.found("no-such-package") is None
    assert requirements.remedy("no-such-package") == "pip install no-such-package"
    assert requirements.found("torch") == torch.__version__
    assert requirements.remedy("torch") == "pip install torch"


@pytest.mark.parametrize(
    ("name", "tolerance"), [("student", FP32_TOLERANCE), ("student_openvino_bf16", 0.05)]
)
def test_the_student_is_the_datasets_compact_model(
    name, tolerance, trained, tiny_data, monkeypatch
):
    try:
        variants.get(name).check()
    except VariantUnavailable as error:
        pytest.skip(str(error))
    from tsbench.training.load_or_train import trained_model
    from tsbench.training.recipes import Recipe

    monkeypatch.setattr("tsbench.training.recipes.DEFAULT_COMPACT", Recipe(epochs=1))
    logits = batched_logits(variants.get(name).build(trained, tiny_data, 4), tiny_data.test_x, 4)
    expected = batched_logits(trained_model(tiny_data, "student"), tiny_data.test_x)
    torch.testing.assert_close(logits, expected, atol=tolerance, rtol=tolerance)


def operators_of(path):
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    return [node.op_type for node in onnx.load(path).graph.node]


def test_attention_runs_as_one_operator_of_the_runtime(trained, tiny_data):
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    source = of_classifier(trained, tiny_data, 4)
    operators = operators_of(_onnx_export.exported_to_run(source))
    assert operators.count("Attention") == trained.config.n_layers
    assert "Softmax" not in operators and "LayerNormalization" not in operators
    assert "Softmax" in operators_of(_onnx_export.exported(source))


# Two heads of half of d_model: attention as products with merged weights. Four: as one operator.
@pytest.mark.parametrize(
    ("config", "changes"),
    [
        ("t1", {"n_heads": 2, "n_layers": 2}),
        ("t1", {"n_heads": 4, "n_layers": 2}),
        ("student", {}),
        ("statistics", {}),
        ("t1_2024", {"n_heads": 2, "n_layers": 2}),
        ("t1_2024", {"n_layers": 2}),
    ],
)
def test_a_model_for_the_runtime_is_the_same_function(config, changes):
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    from studies.parity_scan import Uncached
    from tsbench.model import Classifier, config_for

    torch.manual_seed(0)
    timepoints = 720 if config == "statistics" else 192
    shape = replace(config_for(config, 2, timepoints, 3), **changes)
    model = Classifier(shape).train()
    x = torch.randn(4, 2, timepoints)
    with torch.no_grad():
        model(x)  # statistics for the batch norms
        for parameter in model.parameters():  # no norm is the identity, no bias is 0
            parameter += 0.1 * torch.randn_like(parameter)
    source = Uncached(model.eval(), (x,), ((x,),))
    call = onnx_runtime.make_fp32(source).call
    with torch.inference_mode():
        torch.testing.assert_close(call(x), model(x), atol=1e-5, rtol=1e-5)
    operators = operators_of(_onnx_export.exported_to_run(source))
    assert operators.count("Attention") == (0 if shape.n_heads == 2 else shape.n_layers)


def test_only_attention_gets_the_mode_for_transformers(trained, tiny_data):
    pytest.importorskip("openvino", reason='not installed: pip install "tsbench[openvino]"')
    from tsbench.compression import source_of

    def attentions(source):
        ops = _openvino.converted(source).get_ops()
        return sum(openvino_engine._is_attention(op) for op in ops)

    assert attentions(of_classifier(trained, tiny_data, 4)) == trained.config.n_layers
    plain = torch.nn.Sequential(torch.nn.Linear(6, 3), torch.nn.Softmax(dim=1))
    assert attentions(source_of(plain, torch.randn(2, 6))) == 0
