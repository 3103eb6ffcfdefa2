"""tsbench.compress on models that are not ours."""

from __future__ import annotations

import warnings
from collections import OrderedDict, namedtuple
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import nn

import tsbench
from tsbench import variants
from tsbench.compression import Compressed, Unavailable, apply_variant, source_of
from tsbench.compression.agreement import agreement
from tsbench.errors import TsbenchError, UnknownName
from tsbench.outputs import flat_outputs, like
from tsbench.training.evaluate import batched_logits
from tsbench.variants import _inductor, int8_qat, onnx_runtime
from tsbench.variants._onnx_export import quiet
from tsbench.variants.parity import largest_difference

QUICK = ("fp32", "int8_dynamic", "l1_unstructured")
ONNX = ("onnx_fp32", "onnx_int8_dynamic", "onnx_int8_static")
Pair = namedtuple("Pair", "first second")


@dataclass
class Output:
    logits: torch.Tensor
    hidden: torch.Tensor | None = None


class Cnn(nn.Module):
    """A 1-D CNN with a linear head."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(2, 16, 5, padding=2), nn.BatchNorm1d(16), nn.ReLU(), nn.Conv1d(16, 16, 3)
        )
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.body(x).mean(dim=2))


class TwoInputs(nn.Module):
    """Two inputs, one of integers, and a mapping as its output."""

    def __init__(self):
        super().__init__()
        self.embed, self.linear = nn.Embedding(10, 8), nn.Linear(8 + 4, 2)

    def forward(self, tokens, features):
        hidden = torch.cat([self.embed(tokens).mean(dim=1), features], dim=1)
        return OrderedDict(logits=self.linear(hidden), hidden=hidden)


class Structured(nn.Module):
    """A dataclass as its output."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 4)

    def forward(self, x):
        return Output(self.linear(x))


def seeded(module):
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module


CNN_X, MLP_X = torch.randn(4, 2, 40), torch.randn(4, 6)
PAIR_X = (torch.randint(0, 10, (4, 5)), torch.randn(4, 4))
MLP = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 3))
MODELS = {
    "cnn": (Cnn(), CNN_X),
    "mlp": (MLP, MLP_X),
    "two inputs": (TwoInputs(), PAIR_X),
    "dataclass": (Structured(), MLP_X),
}


@pytest.mark.parametrize("kind", MODELS)
def test_eager_techniques_work_and_leave_the_model_alone(kind):
    model, example = seeded(MODELS[kind][0]), MODELS[kind][1]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    results = tsbench.compress(model, example, names=QUICK)
    assert list(results) == list(QUICK)
    inputs = (example,) if isinstance(example, torch.Tensor) else example
    with torch.inference_mode():
        expected = model.eval()(*inputs)
        for name, result in results.items():
            assert isinstance(result, Compressed), str(result)
            output = result.call(*inputs)
            assert type(output) is type(expected), name
            assert len(flat_outputs(output)) == len(flat_outputs(expected))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert results["fp32"].difference == 0


def test_bf16_halves_the_weights_of_any_module():
    anywhere = replace(variants.get("bf16"), check_machine=None)  # torch emulates it on other CPUs
    source = source_of(MLP, MLP_X)
    whole, halved = (apply_variant(each, source) for each in (variants.get("fp32"), anywhere))
    assert isinstance(halved, Compressed), str(halved)
    assert 0 < halved.difference < 0.1
    assert halved.size_bytes < whole.size_bytes


@pytest.mark.slow
@pytest.mark.parametrize("kind", MODELS)
def test_onnx_techniques_work(kind):
    pytest.importorskip("onnxruntime", reason='not installed: pip install "tsbench[onnx]"')
    model, example = seeded(MODELS[kind][0]).eval(), MODELS[kind][1]
    inputs = (example,) if isinstance(example, torch.Tensor) else example
    results = tsbench.compress(model, example, calibration=[example] * 3, names=ONNX)
    for name, result in results.items():
        assert isinstance(result, Compressed), f"{name}: {result}"
        with torch.inference_mode():
            assert type(result.call(*inputs)) is type(model(*inputs))
        assert result.difference < (1e-4 if name == "onnx_fp32" else 0.2)
    assert results["onnx_int8_static"].difference > 0


def test_static_int8_quantizes_convolutions_and_names_do_not_lie(tmp_path):
    pytest.importorskip("onnxruntime", reason='not installed: pip install "tsbench[onnx]"')
    convolution = seeded(nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU()))
    results = tsbench.compress(convolution, CNN_X, names=("int8_dynamic", *ONNX))
    assert isinstance(results["onnx_int8_static"], Compressed)
    assert 0 < results["onnx_int8_static"].difference < 0.2
    for name in ("onnx_int8_static", "onnx_int8_dynamic"):
        assert results[name].int8_share == 1 and "100 % of FLOPs in int8" in str(results[name])
    assert isinstance(results["int8_dynamic"], Unavailable)
    assert "no nn.Linear" in results["int8_dynamic"].reason


@pytest.mark.parametrize(("saturate", "largest"), [(False, 127), (True, 64)])
def test_weights_have_7_bits_where_products_saturate(saturate, largest, monkeypatch, tmp_path):
    pytest.importorskip("onnxruntime", reason='not installed: pip install "tsbench[onnx]"')
    import onnx

    monkeypatch.setattr(onnx_runtime, "products_saturate", lambda: saturate)
    convolution = seeded(nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU()))
    built = variants.get("onnx_int8_static").make(source_of(convolution, CNN_X))
    graph = onnx.load(built.save(tmp_path / "model")).graph
    stored = [onnx.numpy_helper.to_array(weight) for weight in graph.initializer]
    (weights,) = (w for w in stored if w.dtype == "int8" and w.ndim == 3)
    assert abs(weights.astype(int)).max() == largest


def test_an_onnx_file(tmp_path):
    pytest.importorskip("onnxruntime", reason='not installed: pip install "tsbench[onnx]"')
    path = tmp_path / "mlp.onnx"
    model = seeded(MLP).eval()
    with quiet():
        torch.onnx.export(model, (MLP_X,), path, dynamo=True, verbose=False)
    torch.manual_seed(0)
    # The input is among them: static int8 cuts values beyond the range that it was calibrated on.
    calibration = [MLP_X, *(torch.randn(4, 6) for _ in range(3))]
    results = tsbench.compress(path, MLP_X, calibration, names=ONNX)
    with torch.inference_mode():
        expected = model(MLP_X)
    for name in ONNX:
        assert isinstance(results[name], Compressed), str(results[name])
        assert (results[name].call(MLP_X) - expected).abs().max() < 0.2


@pytest.mark.slow
@pytest.mark.parametrize("kind", MODELS)
def test_compiled_and_openvino_compute_the_same(kind):
    model, example = seeded(MODELS[kind][0]).eval(), MODELS[kind][1]
    names = ("compiled", "openvino_fp32")
    results = tsbench.compress(model, example, names=names)
    for name in names:
        if isinstance(results[name], Unavailable):
            assert "not installed" in results[name].reason, str(results[name])
        else:
            assert results[name].difference < 1e-4


def test_a_model_that_fails_is_one_error_and_a_technique_that_fails_one_line():
    with pytest.raises(TsbenchError, match="the model fails on the example: RuntimeError"):
        tsbench.compress(MLP, torch.randn(4, 7))
    with pytest.raises(TsbenchError, match="must be a tensor or a sequence of tensors, got list"):
        tsbench.compress(MLP, [1, 2])
    with pytest.raises(UnknownName, match="unknown variant 'int4'; known: fp32"):
        tsbench.compress(MLP, MLP_X, names=["int4"])
    attention = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    (result,) = tsbench.compress(attention, torch.randn(2, 5, 16), names=["int8_dynamic"]).values()
    assert "MultiheadAttention" in str(result) and "\n" not in str(result)


def test_outputs_are_flattened_and_restored():
    a, b = torch.zeros(1), torch.ones(2)
    for output in (a, (a, b), [a, [b]], {"x": a, "y": (b,)}, Output(a), Output(a, b), Pair(a, b)):
        tensors = flat_outputs(output)
        restored = like(output, [tensor + 1 for tensor in tensors])
        assert type(restored) is type(output)
        flat = flat_outputs(restored)
        assert all(torch.equal(x, y + 1) for x, y in zip(flat, tensors, strict=True))
    assert like(Output(a), [b]).hidden is None
    with pytest.raises(TypeError, match="got str"):
        flat_outputs("logits")


def test_a_technique_that_trains_asks_for_a_training():
    (without,) = tsbench.compress(MLP, MLP_X, names=["l1_structured"]).values()
    assert "pass retrain=" in str(without) and "l1_structured@tuned=no" in str(without)
    (qat,) = tsbench.compress(MLP, MLP_X, names=["int8_qat"]).values()
    assert "pass retrain=" in str(qat)


def test_channels_are_removed_and_trained_again():
    pytest.importorskip("torch_pruning", reason='not installed: pip install "tsbench[pruning]"')
    trained = []
    model = seeded(Cnn())
    (result,) = tsbench.compress(
        model, CNN_X, names=["l1_structured"], retrain=trained.append
    ).values()
    assert isinstance(result, Compressed), str(result)
    assert trained == [result.call] and not result.call.training
    assert 0.8 < result.built.removed_share < 1
    assert result.call.head.out_features == 3 and result.call.body[0].out_channels == 4
    assert model.body[0].out_channels == 16


def test_weights_are_pruned_by_the_names_of_a_pattern():
    (result,) = tsbench.compress(MLP, MLP_X, names=["l1_unstructured@sparsity=1,only=2.*"]).values()
    assert (result.call[2].weight == 0).all() and not (result.call[0].weight == 0).any()
    (none,) = tsbench.compress(MLP, MLP_X, names=["l1_unstructured@only=head.*"]).values()
    assert "no weight of two dimensions has a name like 'head.*'" in str(none)


def test_agreement_is_of_classes_or_of_numbers():
    model = nn.Sequential(nn.Linear(6, 1))
    x = torch.randn(64, 6)
    (same,) = tsbench.compress(model, x, names=["int8_dynamic"]).values()
    assert 0.99 < same.agreement <= 1
    assert agreement(lambda x: -model(x), model, [(x,)]) == 0
    classes = nn.Linear(6, 2)
    assert agreement(lambda x: -classes(x), classes, [(x,)]) == 0
    assert agreement(lambda x: 2 * classes(x), classes, [(x,)]) == 1


def test_what_differs_from_its_claim_is_unavailable(monkeypatch):
    wrong = variants.Variant("wrong", "", ("torch",), lambda source: torch.neg, same_function=True)
    monkeypatch.setattr(variants, "get", lambda name: wrong)
    (result,) = tsbench.compress(nn.Identity(), torch.ones(2, 3), names=["wrong"]).values()
    assert "differ from the model's by up to 2 of the largest output" in str(result)


def test_calibration_of_another_size_is_one_error():
    with pytest.raises(TsbenchError, match=r"a calibration batch has the shapes \[\(3, 6\)\]"):
        tsbench.compress(MLP, MLP_X, calibration=[torch.randn(3, 6)])


def test_what_numpy_models_return(tiny_data):
    x = tiny_data.test_x

    def probabilities(batch):
        return np.asarray(batch)[:, 0, :3].astype("float64")

    def session(batch):  # as ONNX Runtime: class names, then probabilities
        return [np.array(["a"] * len(batch)), probabilities(batch)]

    expected = x[:, 0, :3].double()
    for classify in (probabilities, session):
        assert torch.equal(batched_logits(classify, x, 4), expected)
    with pytest.raises(TypeError, match="the model returned list, without a tensor or array"):
        batched_logits(lambda batch: [np.array(["a"])], x, 4)


def test_labels_of_scikit_learn_are_left_out(tmp_path):
    onnx = pytest.importorskip("onnx", reason='not installed: pip install "tsbench[onnx]"')
    pytest.importorskip("onnxruntime", reason='not installed: pip install "tsbench[onnx]"')
    from onnx import TensorProto, helper, numpy_helper

    node, value = helper.make_node, helper.make_tensor_value_info
    weights = {"w": np.eye(3, dtype="float32"), "classes": np.array([5, 6, 7])}
    graph = helper.make_graph(
        [
            node("MatMul", ["x", "w"], ["scores"], "product"),
            node("ArgMax", ["scores"], ["top"], axis=1, keepdims=0),
            node("ArrayFeatureExtractor", ["classes", "top"], ["label"], domain="ai.onnx.ml"),
        ],
        "classifier",
        [value("x", TensorProto.FLOAT, ["n", 3])],
        [
            value("label", TensorProto.INT64, None),
            value("scores", TensorProto.FLOAT, ["n", 3]),
        ],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    path = tmp_path / "labels.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    x = torch.randn(4, 3)
    (result,) = tsbench.compress(path, x, names=["onnx_fp32"]).values()
    assert torch.equal(result.call(x), x), str(result)


@pytest.mark.slow
def test_qat_of_any_module_trains_and_quantizes_its_graph():
    pytest.importorskip("torchao", reason="torchao is not installed")
    steps = []

    def retrain(module):
        loss = module(torch.randn(32, 2, 40)).square().mean()
        loss.backward()
        steps.append(loss.item())

    source = source_of(seeded(Cnn()), CNN_X, [CNN_X] * 3, retrain)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = int8_qat.quantize(source)
        share = _inductor.int8_share(graph, source)
    assert len(steps) == 1
    assert share == 1  # the convolutions too
    assert largest_difference(graph, source.reference, [(CNN_X,)]) < 0.2
