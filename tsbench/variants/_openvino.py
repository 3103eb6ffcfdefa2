"""What the OpenVINO variants share: conversion, int8 by NNCF, and a request of one thread.

The model goes from torch.export straight to OpenVINO; neither ONNX nor its exporter is needed.

Heads of 4 with only four patches come out wrong: fp32 logits off by 0.1 with OpenVINO 2026.4.1, where
heads of 8 or 16, or 16 patches, are off by 5e-7. Ours have heads of 8 or wider, and 15 patches or more.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsbench.errors import VariantUnavailable
from tsbench.requirements import require

if TYPE_CHECKING:
    import openvino

    from tsbench.data.prepared import Prepared
    from tsbench.model import Classifier
    from tsbench.variants import Classify

BUILD_VERSION = 1  # counts up when the steps change: older cached files are left alone
THREADS = 1  # as the baseline


def check_bf16(variant: str, needs: tuple[str, ...]) -> None:
    """Raises VariantUnavailable where a library is missing, or bf16: OpenVINO would take fp32 in silence."""
    require(variant, needs)
    if "BF16" not in _library().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise VariantUnavailable(
            variant, "OpenVINO finds no bf16 in this CPU", "run it on one with AVX-512 BF16 or AMX"
        )


def converted(model: Classifier, data: Prepared, batch_cases: int) -> openvino.Model:
    """The model as OpenVINO's, fp32, for exactly this batch size."""
    import torch

    from tsbench.model import to_plain
    from tsbench.variants.int8_static import example

    x = example(data, batch_cases)
    with torch.no_grad(), warnings.catch_warnings():
        # torch 2.13 copies its own pytree specs in a way that its pytree has deprecated.
        warnings.filterwarnings("ignore", ".*isinstance.treespec, LeafSpec.", FutureWarning)
        return _library().convert_model(torch.export.export(to_plain(model).eval(), (x,)))


def saved(path: Path, model: openvino.Model) -> None:
    """Writes the model, weights uncompressed, whole or not at all: what reads it looks for the .xml."""
    import tempfile

    from tsbench.data import cache

    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "model.xml"
        _library().save_model(model, made, compress_to_fp16=False)
        for suffix in (".bin", ".xml"):
            cache.write_atomically(path.with_suffix(suffix), made.with_suffix(suffix).read_bytes())


def read(path: Path) -> openvino.Model:
    """The model of an .xml with its .bin beside it."""
    return _library().Core().read_model(path)


def request(model: openvino.Model, precision: str) -> Classify:
    """The model on the CPU, in `f32` or `bf16` where it is not quantized."""
    import torch

    compiled = (
        _library()
        .Core()
        .compile_model(
            model,
            "CPU",
            {
                "INFERENCE_NUM_THREADS": THREADS,
                "NUM_STREAMS": 1,
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_PRECISION_HINT": precision,
            },
        )
    )
    made = compiled.create_infer_request()

    def classify(x: torch.Tensor) -> torch.Tensor:
        outputs = made.infer([x.contiguous().numpy()], share_inputs=True, share_outputs=True)
        # The request's own memory, which the next call overwrites.
        return torch.from_numpy(outputs[0]).clone()

    return classify


def _library() -> Any:
    """The module openvino, without its telemetry.

    It, and NNCF, send statistics of their use to a server from threads in the background, unless told
    not to. Whoever measures joules wants nothing else to run; and nobody was asked.
    """
    modules: dict[str, Any] = sys.modules
    modules.setdefault(
        "openvino_telemetry", None
    )  # as if it were not installed, which both allow for
    os.environ.setdefault("NNCF_CI", "1")
    import openvino

    return openvino
