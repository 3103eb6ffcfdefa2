"""FLOPs against torch's counter, measured peaks, and lower bounds."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from studies import limits, peak
from studies.flops import flops
from tests.tsbench.conftest import TINY
from tsbench.model import Classifier, config_for, parameter_count, to_plain
from tsbench.variants import depth, l1_structured, unstructured
from tsbench.variants.classifier import of_classifier

CORE = peak.Peak({"fp32": 1e9, "bf16": 2e9, "int8": 4e9}, {"cache": 1e12, "memory": 1e10})


def counted(plain, n_cases):
    """Torch's count by operator. Its counter does not know fused attention on a CPU."""
    c = plain.config
    x = torch.randn(n_cases, c.in_channels, c.timepoints)
    with (
        torch.inference_mode(),
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False) as counter,
    ):
        plain(x)
    return {str(op): n for op, n in counter.get_flop_counts()["Global"].items()}


@pytest.mark.parametrize("name", ["t1", "t2", "student", "statistics"])
@pytest.mark.parametrize("n_cases", [1, 3])
def test_flops_equal_torchs_count(name, n_cases):
    model = Classifier(config_for(name, 2, 720, 5)).eval()
    ours, theirs = flops(model, n_cases), counted(to_plain(model), n_cases)
    assert ours.stem == theirs["aten.convolution"]
    assert ours.products == theirs["aten.bmm"]
    assert ours.projections + ours.feed_forward + ours.head == theirs["aten.addmm"]
    assert ours.total == sum(theirs.values()) == sum(ours.parts().values())


def test_flops_of_pruned_models(tiny_model, tiny_data):
    whole = flops(tiny_model, 2)
    slim, shallow = l1_structured.prune(tiny_model, 0.5), depth.prune(tiny_model, tiny_data, 0.5)
    assert flops(slim, 2).total == sum(counted(slim, 2).values())
    for cut in (slim, shallow):
        assert flops(cut, 2).projections == whole.projections / 2
        assert flops(cut, 2).feed_forward == whole.feed_forward / 2
        assert flops(cut, 2).stem == whole.stem
    assert (
        flops(unstructured.prune(of_classifier(tiny_model, None, 1), 0.9, "matrix"), 2) == whole
    )  # dense kernels multiply by zeros


def test_a_peak_is_above_any_single_size():
    core = peak.measure(sizes=(32, 64), turns=3)
    assert set(core.operations_per_s) == {"fp32", "bf16", "int8"}
    assert all(rate > 1e8 for rate in core.operations_per_s.values())
    assert core.bytes_per_s["cache"] > core.bytes_per_s["memory"] > 1e8


def test_int8_product_is_right():
    torch.manual_seed(0)
    a, b = torch.randint(-128, 128, (2, 32, 32), dtype=torch.int8)
    assert torch.equal(torch._int_mm(a, b), (a.long() @ b.long()).int())


def test_bound_adds_up_by_data_type(tiny_model):
    work = flops(tiny_model, 1)
    fp32 = limits.bound_ms(work, 0, limits._ALL_FP32, CORE)
    assert fp32 == pytest.approx(work.total / 1e9 * 1e3)
    assert limits.bound_ms(work, 0, limits.DATA_TYPES["bf16"], CORE) == pytest.approx(fp32 / 2)
    in_int8 = work.projections + work.feed_forward + work.head
    expected = (work.stem + work.products) / 1e9 + in_int8 / 4e9
    assert limits.bound_ms(work, 0, limits.DATA_TYPES["int8_static"], CORE) == pytest.approx(
        expected * 1e3
    )
    slow = peak.Peak(CORE.operations_per_s, {"cache": 1.0, "memory": 1.0})
    n_weights = parameter_count(tiny_model)
    assert limits.bound_ms(work, n_weights, limits._ALL_FP32, slow) == pytest.approx(
        4e3 * n_weights
    )


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("l1_structured", 0.25),
        ("l1_structured_int8", 0.25),
        ("depth_int8", 0.5),
        ("depth@removed=0.5,tuned=yes", 0.5),
    ],
)
def test_shape_of_a_pruned_variant(name, left, tiny_model, tiny_data):
    shape = limits.shape_of(name, tiny_model, tiny_data)
    assert flops(shape, 1).feed_forward == flops(tiny_model, 1).feed_forward * left


def test_measured_limits_survive_saving(tmp_path, tiny_model, tiny_data, capsys, monkeypatch):
    monkeypatch.setattr(limits, "MIN_TIMED_NS", 1_000_000)
    found = limits.measure(
        tiny_model, tiny_data, ("l1_unstructured",), CORE, batches=(1, 4), rounds=3
    )
    assert [(limit.variant, limit.batch_cases) for limit in found] == [
        ("fp32", 1),
        ("l1_unstructured", 1),
        ("fp32", 4),
        ("l1_unstructured", 4),
    ]
    assert found[2].bound_ms == pytest.approx(4 * found[0].bound_ms)
    assert all(
        limit.cpu_ms > 0 and limit.times_bound == limit.cpu_ms / limit.bound_ms for limit in found
    )
    assert found[0].speedup == 1
    path = tmp_path / "limits.json"
    path.write_text(
        json.dumps(
            {
                "title": "Waves tiny",
                "peak": asdict(CORE),
                "limits": [asdict(each) for each in found],
            }
        )
    )
    assert limits.main(["--from", str(path)]) == 0
    printed = capsys.readouterr().out
    assert printed.strip() == limits.report("Waves tiny", CORE, found)
    assert f"| all | {flops(Classifier(TINY), 1).total / 1e6:.2f} | 100% |" in printed


def test_several_runs_become_one(tiny_model):
    def run(cpu_ms, fastest):
        core = peak.Peak({"fp32": fastest}, {"cache": 1.0})
        return core, [
            limits.Limit("fp32", 1, flops(tiny_model, 1).parts(), 1 / fastest, cpu_ms, 1.0)
        ]

    core, (limit,) = limits.median_of([run(3.0, 1.0), run(9.0, 2.0), run(4.0, 1.5)])
    assert core.operations_per_s == {"fp32": 2.0}
    assert (limit.cpu_ms, limit.bound_ms) == (4.0, 0.5)
    other = run(3.0, 1.0)[0], [limits.Limit("bf16", 1, {}, 1.0, 1.0, 1.0)]
    with pytest.raises(ValueError, match="differ in models or variants"):
        limits.median_of([run(3.0, 1.0), other])


def test_an_unshipped_model_is_refused(capsys):
    with pytest.raises(SystemExit):
        limits.main(["PLAID", "t9"])
    assert "PLAID-t1" in capsys.readouterr().err
