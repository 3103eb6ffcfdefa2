"""Conversion to OpenVINO, saved models, and requests of one thread.

A module goes from torch.export straight to OpenVINO, or through ONNX where the direct converter
refuses it. Attention is converted as single products: converted from torch's fused operator, it is
wrong wherever there are as many patches as heads.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsbench.errors import VariantUnavailable
from tsbench.outputs import like
from tsbench.variants._onnx_export import exported
from tsbench.variants.source import FileSource

if TYPE_CHECKING:
    import openvino
    from torch import Tensor

    from tsbench.variants.source import Source

THREADS = 1  # as the baseline


def check_bf16(variant: str) -> None:
    """Raises VariantUnavailable if the CPU has no bf16: OpenVINO would silently use fp32."""
    if "BF16" not in library().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise VariantUnavailable(
            variant, "OpenVINO finds no bf16 in this CPU", "run it on one with AVX-512 BF16 or AMX"
        )


def converted(source: Source) -> openvino.Model:
    """The model as OpenVINO's, fp32, for exactly these shapes of inputs."""
    import torch

    if isinstance(source, FileSource):
        return load(source.fixed())
    module = source.exportable(source.plain(fused_attention=False))
    try:
        with torch.no_grad(), warnings.catch_warnings():
            # torch 2.13 copies its pytree specs in a way that its pytree deprecates.
            warnings.filterwarnings("ignore", ".*isinstance.treespec, LeafSpec.", FutureWarning)
            made = library().convert_model(torch.export.export(module, source.inputs))
    except Exception:  # noqa: BLE001 - its errors have no common class; the detour names its own
        return load(exported(source))
    _fix_shapes(made, source)
    return made


def _fix_shapes(model: openvino.Model, source: Source) -> None:
    """The converter leaves shapes open. Raises ValueError if it dropped or added inputs."""
    if len(model.inputs) != len(source.inputs):
        raise ValueError(
            f"OpenVINO's model has {len(model.inputs)} inputs, and the model {len(source.inputs)}"
        )
    shapes = {port: list(x.shape) for port, x in zip(model.inputs, source.inputs, strict=True)}
    model.reshape(shapes)


def save(path: Path, model: openvino.Model) -> None:
    """Writes the model, an .xml with its .bin, with uncompressed weights."""
    library().save_model(model, path, compress_to_fp16=False)


def save_as(model: openvino.Model, to: Path) -> Path:
    """The same for a path without a suffix; returns the .xml."""
    path = to.with_name(f"{to.name}.xml")
    save(path, model)
    return path


def load(path: Path) -> openvino.Model:
    """The model of an .xml with its .bin beside it."""
    return library().Core().read_model(path)


def request(model: openvino.Model, precision: str, output: Any) -> Callable[..., Any]:
    """The model on the CPU; each call returns new tensors in the structure of `output`.

    What is not quantized runs in `precision`, "f32" or "bf16".
    """
    import torch

    settings = {
        "INFERENCE_NUM_THREADS": THREADS,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        # By default OpenVINO computes in bf16 wherever the CPU can.
        "INFERENCE_PRECISION_HINT": precision,
    }
    made = library().Core().compile_model(model, "CPU", settings).create_infer_request()

    single = isinstance(output, torch.Tensor)

    def run(*inputs: Tensor) -> Any:
        arrays = [x.contiguous().numpy() for x in inputs]
        outputs = made.infer(arrays, share_inputs=True, share_outputs=True)
        # The next call overwrites the request's memory.
        if single:
            return torch.from_numpy(outputs[0]).clone()
        found = (torch.from_numpy(outputs[i]).clone() for i in range(len(outputs)))
        return like(output, list(found))

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
