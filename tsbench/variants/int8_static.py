"""Static quantization: int8 weights and activations, scales from calibration, compiled.

torchao's PT2E flow for x86: export, insert observers, run calibration cases, convert, and let
inductor fuse the quantized operators into oneDNN's int8 kernels. Compiled ahead of time
(AOTInductor) rather than by torch.compile, so that the result can be cached as a file and a
call runs no Python guards.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from tsbench.errors import VariantUnavailable
from tsbench.variants import Variant

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from tsbench.data.prepared import Prepared
    from tsbench.model import Classifier
    from tsbench.variants import Classify

# What inductor compiles with. freezing folds the weights' quantization into constants, which is what lets it choose int8 kernels
# at all. Autotuning lets it write matrix products in C++ where those are faster than a call of oneDNN: for one case's q, k and v 1 us
# instead of 33. T1 on PLAID in int8, batch 1 and 32: 3.08 and 1.76 times as fast as eager fp32 with it, 1.34 and 1.65 without; three quarters
# pruned, batch 1, 5.96 and 1.60 (medians of 40 rounds). It takes 30 to 60 s for a build, 13 without.
INDUCTOR = {
    "freezing": True,
    "cpp.threads": 1,  # as the baseline; else as many as torch has when it is built
    "max_autotune": True,
    "max_autotune_gemm_backends": "CPP,ATEN",
    "autotune_num_choices_displayed": 0,  # it would print all that it tried
    "max_autotune_report_choices_stats": False,
}
# Shuffled, because UCR files are sorted by class and the first cases would all be of one.
CALIBRATION_CASES = 256
CALIBRATION_SEED = 0
BUILD_VERSION = 3  # counts up when the steps below change: older cached builds are left alone


def check(variant: str = "int8_static") -> None:
    """Raises VariantUnavailable, in the variant's name, without torchao, a C++ compiler or an x86 CPU."""
    if find_spec("torchao") is None:
        raise VariantUnavailable(variant, "torchao is not installed", "pip install torchao")
    if platform.machine().lower() not in ("x86_64", "amd64"):
        raise VariantUnavailable(
            variant,
            f"its kernels are for x86, this is {platform.machine()}",
            "run it on an x86 machine",
        )
    check_compiler(variant)


def check_compiler(variant: str) -> None:
    """Raises VariantUnavailable, in the variant's name, without a C++ compiler."""
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise VariantUnavailable(
            variant,
            f"inductor needs a C++ compiler and {compiler} is not on the PATH",
            "apt-get install g++, or set CXX",
        )


def make(model: Classifier, data: Prepared, batch_cases: int) -> Classify:
    """The quantized model, compiled for exactly this batch size; from the cache if it is there."""
    return compiled(
        "int8_static", lambda: quantize(model, data, batch_cases), model, data, batch_cases
    )


def compiled(
    label: str,
    quantized: Callable[[], nn.Module],
    model: Classifier,
    data: Prepared,
    batch_cases: int,
    **made_by: object,
) -> Classify:
    """What `quantized()` makes of the model, compiled; from the cache if it is there.

    `made_by` is what it depends on besides model, data and batch size, as JSON values.
    """
    import torch

    from tsbench.data import cache

    key = _key(model, data, batch_cases, **made_by)
    path = cache.folder() / "compiled" / f"{data.name}-{label}-{key}.pt2"
    with known_warnings():
        if not path.is_file():
            cache.write_atomically(path, _compile(quantized(), example(data, batch_cases)))
        return torch._inductor.aoti_load_package(str(path))


def quantize(model: Classifier, data: Prepared, batch_cases: int) -> nn.Module:
    """The converted graph, before compiling: quantize and dequantize around every operator."""
    import torch
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
        X86InductorQuantizer,
        get_default_x86_inductor_quantization_config,
    )

    from tsbench.model import to_plain
    from tsbench.training.evaluate import batched_logits

    with torch.no_grad():
        exported = torch.export.export(
            to_plain(model, fused_attention=False).eval(), (example(data, batch_cases),)
        )
        quantizer = X86InductorQuantizer()
        quantizer.set_global(get_default_x86_inductor_quantization_config())
        observed = prepare_pt2e(exported.module(), quantizer)
        batched_logits(observed, calibration_x(data), batch_cases)
        return convert_pt2e(observed)


def calibration_x(data: Prepared) -> Tensor:
    """Training cases to calibrate with, (cases, in_channels, timepoints)."""
    import numpy as np
    import torch

    order = np.random.default_rng(CALIBRATION_SEED).permutation(len(data.train_x))
    return torch.from_numpy(data.train_x[order[:CALIBRATION_CASES]])


def calibration_batches(data: Prepared, batch_cases: int) -> Iterator[np.ndarray]:
    """The same cases in batches of exactly this size, the last one filled up with the first cases."""
    import numpy as np

    cases = calibration_x(data).numpy()
    for start in range(0, len(cases), batch_cases):
        yield np.ascontiguousarray(cases[np.arange(start, start + batch_cases) % len(cases)])


def _compile(converted: nn.Module, x: Tensor) -> bytes:
    import torch

    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        path = Path(folder) / "model.pt2"
        with torch._inductor.config.patch(INDUCTOR):
            program = torch.export.export(converted, (x,))
            torch._inductor.aoti_compile_and_package(program, package_path=str(path))
        return path.read_bytes()


def example(data: Prepared, batch_cases: int) -> Tensor:
    """An input of the shape that the model is compiled for."""
    import torch

    return torch.from_numpy(data.train_x[:1]).expand(batch_cases, -1, -1).contiguous()


def _key(model: Classifier, data: Prepared, batch_cases: int, **made_by: object) -> str:
    """Differs with the weights, the data, the batch, the libraries, and what the CPU can do."""
    import torch

    from tsbench import requirements
    from tsbench.training.load_or_train import cache_key, weights_sha256

    return cache_key(
        data,
        weights=weights_sha256(model),
        batch_cases=batch_cases,
        calibration_cases=CALIBRATION_CASES,
        build=BUILD_VERSION,
        libraries=[str(torch.__version__), requirements.found("torchao")],
        cpu=_cpu_flags_sha256(),  # compiled for this CPU: elsewhere it could be an illegal instruction
        **made_by,
    )


def _cpu_flags_sha256() -> str:
    import torch

    cpuinfo = Path("/proc/cpuinfo")
    flags = ""
    if cpuinfo.is_file():
        flags = next((s for s in cpuinfo.read_text().splitlines() if s.startswith("flags")), "")
    capability = torch.backends.cpu.get_cpu_capability()
    return hashlib.sha256(f"{capability} {flags}".encode()).hexdigest()


@contextmanager
def known_warnings() -> Iterator[None]:
    """Silences what torch 2.13 and torchao 0.18 warn of in each other's code, and only that."""
    with warnings.catch_warnings():
        # torchao decorates functions with torch.jit when it is imported.
        warnings.filterwarnings("ignore", "`torch.jit.*` is deprecated", DeprecationWarning)
        # Autotuning asks for the sizes of what it has just written.
        warnings.filterwarnings("ignore", "TypedStorage is deprecated", UserWarning)
        # inductor's lowering of quantized Linears copies zero points with torch.tensor.
        warnings.filterwarnings("ignore", "To copy construct from a tensor", UserWarning)
        yield


VARIANT = Variant(
    "int8_static",
    "int8 weights and activations, calibrated, compiled by inductor",
    ("torch", "torchao", "g++"),
    check,
    make,
)
