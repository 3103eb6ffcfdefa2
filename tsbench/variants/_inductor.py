"""Ahead-of-time compilation by inductor (AOTInductor), cached as a file.

torch.compile would compile in each process (10 to 75 s) and run Python guards on each call.
"""

from __future__ import annotations

import hashlib
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tsbench import requirements
from tsbench.variants.calibration import CALIBRATION_CASES, example

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tsbench.data.prepared import Prepared
    from tsbench.model import Classifier
    from tsbench.variants import Classify

# freezing folds the weights' quantization into constants; without it, inductor chooses no int8
# kernels. Autotuning lets it write matrix products in C++ where those beat a call of oneDNN: it
# takes a build from 13 s to 30 to 60 s, and T1 in int8 at batch 1 from 1.34 to 3.08 times the
# speed of eager fp32 (docs/limits.md).
INDUCTOR = {
    "freezing": True,
    "cpp.threads": 1,  # as the baseline; the default is torch's number at build time
    "max_autotune": True,
    "max_autotune_gemm_backends": "CPP,ATEN",
    "autotune_num_choices_displayed": 0,  # otherwise it prints every choice it tried
    "max_autotune_report_choices_stats": False,
}
BUILD_VERSION = 3  # increase it when the build's steps change: older cached builds are not used


def compiled(
    label: str,
    make_graph: Callable[[], nn.Module],
    model: Classifier,
    data: Prepared,
    batch_cases: int,
    **made_by: object,
) -> Classify:
    """`make_graph()`, a form of `model`, compiled for exactly this batch size; cached.

    `made_by` holds JSON values that the graph depends on besides model, data and batch size.
    """
    import torch

    from tsbench.data import cache

    key = _key(model, data, batch_cases, **made_by)
    path = cache.folder() / "compiled" / f"{data.name}-{label}-{key}.pt2"
    with known_warnings():
        if not path.is_file():
            cache.write_atomically(path, _compile(make_graph(), example(data, batch_cases)))
        return torch._inductor.aoti_load_package(str(path))


def _compile(graph: nn.Module, x: Tensor) -> bytes:
    import torch

    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        path = Path(folder) / "model.pt2"
        with torch._inductor.config.patch(INDUCTOR):
            program = torch.export.export(graph, (x,))
            torch._inductor.aoti_compile_and_package(program, package_path=str(path))
        return path.read_bytes()


def _key(model: Classifier, data: Prepared, batch_cases: int, **made_by: object) -> str:
    import torch

    from tsbench.training.load_or_train import cache_key, weights_sha256

    return cache_key(
        data,
        weights=weights_sha256(model),
        batch_cases=batch_cases,
        calibration_cases=CALIBRATION_CASES,
        build=BUILD_VERSION,
        libraries=[str(torch.__version__), requirements.found("torchao")],
        cpu=_cpu_flags_sha256(),  # on another CPU an instruction could be illegal
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
    """Silences warnings of torch 2.13 and torchao 0.18 about each other's code, and no others."""
    with warnings.catch_warnings():
        # torchao decorates functions with torch.jit at import.
        warnings.filterwarnings("ignore", "`torch.jit.*` is deprecated", DeprecationWarning)
        # Autotuning measures the size of the kernels it wrote.
        warnings.filterwarnings("ignore", "TypedStorage is deprecated", UserWarning)
        # inductor's lowering of quantized Linears copies zero points with torch.tensor.
        warnings.filterwarnings("ignore", "To copy construct from a tensor", UserWarning)
        yield
