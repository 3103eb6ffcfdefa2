"""OpenVINO: fp32, bf16, and int8 with scales from calibration by NNCF.

int8 leaves convolutions (the stem and the patches) in fp32. With convolutions, and without NNCF's
mode for transformers, PLAID's T1 had .886 and .873 at batch 1 and 32; as it is here, .890 and
.892, for 6 and 8 % of the speed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tsbench.variants import Variant, _openvino
from tsbench.variants.calibration import CALIBRATION_CASES, calibration_batches

if TYPE_CHECKING:
    import openvino

    from tsbench.data.prepared import Prepared
    from tsbench.model import Classifier
    from tsbench.variants import Classify

INT8_REQUIREMENTS = ("torch", "openvino", "nncf")


def make_fp32(model: Classifier, data: Prepared, batch_cases: int) -> Classify:
    """The model in fp32, for exactly this batch size."""
    return _openvino.request(_openvino.converted(model, data, batch_cases), "f32")


def make_bf16(model: Classifier, data: Prepared, batch_cases: int) -> Classify:
    """The model in bf16, for exactly this batch size; its weights stay fp32 in the file."""
    return _openvino.request(_openvino.converted(model, data, batch_cases), "bf16")


def make_int8(model: Classifier, data: Prepared, batch_cases: int) -> Classify:
    """The model with int8 products, for exactly this batch size; cached."""
    from importlib.metadata import version

    from tsbench.data import cache
    from tsbench.training.load_or_train import cache_key, weights_sha256

    key = cache_key(
        data,
        weights=weights_sha256(model),
        batch_cases=batch_cases,
        build=_openvino.BUILD_VERSION,
        calibration_cases=CALIBRATION_CASES,
        libraries=[version(name) for name in INT8_REQUIREMENTS],
    )
    path = cache.folder() / "openvino" / f"{data.name}-int8-{key}.xml"
    if not path.is_file():
        converted = _openvino.converted(model, data, batch_cases)
        _openvino.save(path, quantize(converted, data, batch_cases))
    return _openvino.request(_openvino.load(path), "f32")


def quantize(model: openvino.Model, data: Prepared, batch_cases: int) -> openvino.Model:
    """The model with int8 products, its scales from calibration cases."""
    import contextlib
    import io
    import logging

    _openvino.library()  # disables telemetry before NNCF is imported
    import nncf

    nncf.set_log_level(logging.ERROR)
    convolutions = [
        op.get_friendly_name() for op in model.get_ops() if op.get_type_name() == "Convolution"
    ]
    batches = list(calibration_batches(data, batch_cases))
    with contextlib.redirect_stdout(io.StringIO()):  # NNCF prints three progress bars
        return nncf.quantize(
            model,
            nncf.Dataset(batches),
            subset_size=len(batches),
            model_type=nncf.ModelType.TRANSFORMER,
            ignored_scope=nncf.IgnoredScope(names=convolutions),
        )


FP32 = Variant(
    "openvino_fp32", "OpenVINO, fp32", ("torch", "openvino"), make_fp32, same_function=True
)
BF16 = Variant(
    "openvino_bf16",
    "OpenVINO, bf16",
    ("torch", "openvino"),
    make_bf16,
    check_machine=_openvino.check_bf16,
)
INT8 = Variant(
    "openvino_int8",
    "OpenVINO, int8 weights and activations, calibrated",
    INT8_REQUIREMENTS,
    make_int8,
)
