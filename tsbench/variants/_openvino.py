"""Conversion to OpenVINO, saved models, and requests of one thread.

A model goes from torch.export straight to OpenVINO, without ONNX. Attention is converted as
single products: converted from torch's fused operator, it is wrong wherever there are as many
patches as heads.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsbench.errors import VariantUnavailable

if TYPE_CHECKING:
    import openvino
    from torch import Tensor

    from tsbench.data.prepared import Prepared
    from tsbench.model import Classifier
    from tsbench.variants import Classify

BUILD_VERSION = 2  # increase it when the steps change: older cached files are not used
THREADS = 1  # as the baseline


def check_bf16(variant: str) -> None:
    """Raises VariantUnavailable if the CPU has no bf16: OpenVINO would silently use fp32."""
    if "BF16" not in library().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise VariantUnavailable(
            variant, "OpenVINO finds no bf16 in this CPU", "run it on one with AVX-512 BF16 or AMX"
        )


def converted(model: Classifier, data: Prepared, batch_cases: int) -> openvino.Model:
    """The model as OpenVINO's, fp32, for exactly this batch size."""
    import torch

    from tsbench.model import to_plain
    from tsbench.variants.calibration import example

    plain = to_plain(model, fused_attention=False).eval()
    with torch.no_grad(), warnings.catch_warnings():
        # torch 2.13 copies its pytree specs in a way that its pytree deprecates.
        warnings.filterwarnings("ignore", ".*isinstance.treespec, LeafSpec.", FutureWarning)
        return library().convert_model(torch.export.export(plain, (example(data, batch_cases),)))


def save(path: Path, model: openvino.Model) -> None:
    """Writes the model with uncompressed weights. The .xml, which readers look for, comes last."""
    import tempfile

    from tsbench.data import cache

    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "model.xml"
        library().save_model(model, made, compress_to_fp16=False)
        for suffix in (".bin", ".xml"):
            cache.write_atomically(path.with_suffix(suffix), made.with_suffix(suffix).read_bytes())


def load(path: Path) -> openvino.Model:
    """The model of an .xml with its .bin beside it."""
    return library().Core().read_model(path)


def request(model: openvino.Model, precision: str) -> Classify:
    """The model on the CPU. What is not quantized runs in `precision`, "f32" or "bf16"."""
    run = request_of_many(model, precision)
    return lambda x: run(x)[0]


def request_of_many(model: openvino.Model, precision: str) -> Callable[..., list[Tensor]]:
    """The same for a model of any number of inputs and outputs."""
    import torch

    settings = {
        "INFERENCE_NUM_THREADS": THREADS,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        # By default OpenVINO computes in bf16 wherever the CPU can.
        "INFERENCE_PRECISION_HINT": precision,
    }
    made = library().Core().compile_model(model, "CPU", settings).create_infer_request()

    def run(*inputs: Tensor) -> list[Tensor]:
        arrays = [x.contiguous().numpy() for x in inputs]
        outputs = made.infer(arrays, share_inputs=True, share_outputs=True)
        # The next call overwrites the request's memory.
        return [torch.from_numpy(outputs[i]).clone() for i in range(len(outputs))]

    return run


def library() -> Any:
    """The module openvino, without its telemetry.

    OpenVINO and NNCF send usage statistics to a server from background threads, unless disabled.
    Nothing else may run in a measured window.
    """
    modules: dict[str, Any] = sys.modules
    modules.setdefault("openvino_telemetry", None)  # as if not installed, which both allow
    os.environ.setdefault("NNCF_CI", "1")
    import openvino

    return openvino
