"""OpenVINO, int8 with scales from calibration by NNCF; what is not quantized is fp32.

The convolutions (the stem and the patches) are left out: with them, and without NNCF's mode for
transformers, PLAID's T1 had .886 and .873 at batch 1 and 32, and agreed with fp32 in 98 and 97 % of
cases; with both as they are here .890 and .892, 99.6 and 100 %. It costs 6 and 8 % of the speed (one run).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tsbench.requirements import require
from tsbench.variants import Variant, _openvino

if TYPE_CHECKING:
    import openvino

    from tsbench.data.prepared import Prepared
    from tsbench.model import Classifier
    from tsbench.variants import Classify

NAME, NEEDS = "openvino_int8", ("torch", "openvino", "nncf")


def make(model: Classifier, data: Prepared, batch_cases: int) -> Classify:
    """The quantized model on OpenVINO, for exactly this batch size; from the cache if it is there."""
    from importlib.metadata import version

    from tsbench.data import cache
    from tsbench.training.load_or_train import cache_key, weights_sha256
    from tsbench.variants.int8_static import CALIBRATION_CASES

    key = cache_key(
        data,
        weights=weights_sha256(model),
        batch_cases=batch_cases,
        build=_openvino.BUILD_VERSION,
        calibration_cases=CALIBRATION_CASES,
        libraries=[version(name) for name in NEEDS],
    )
    path = cache.folder() / "openvino" / f"{data.name}-int8-{key}.xml"
    if not path.is_file():
        _openvino.saved(
            path, quantize(_openvino.converted(model, data, batch_cases), data, batch_cases)
        )
    return _openvino.request(_openvino.read(path), "f32")


def quantize(model: openvino.Model, data: Prepared, batch_cases: int) -> openvino.Model:
    """The model with int8 products, its scales from the shuffled calibration cases."""
    import contextlib
    import io
    import logging

    import nncf

    from tsbench.variants.int8_static import calibration_batches

    nncf.set_log_level(logging.ERROR)
    convolutions = [
        op.get_friendly_name() for op in model.get_ops() if op.get_type_name() == "Convolution"
    ]
    batches = list(calibration_batches(data, batch_cases))
    with contextlib.redirect_stdout(
        io.StringIO()
    ):  # three bars of progress, in the midst of somebody else's table
        return nncf.quantize(
            model,
            nncf.Dataset(batches),
            subset_size=len(batches),
            model_type=nncf.ModelType.TRANSFORMER,
            ignored_scope=nncf.IgnoredScope(names=convolutions),
        )


VARIANT = Variant(
    NAME,
    "OpenVINO, int8 weights and activations, calibrated",
    NEEDS,
    partial(require, NAME, NEEDS),
    make,
)
