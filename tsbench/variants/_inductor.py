"""Ahead-of-time compilation by inductor (AOTInductor).

torch.compile would compile in each process (10 to 75 s) and run Python guards on each call.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsbench.outputs import flat_outputs, like
from tsbench.variants.built import Built, copying

if TYPE_CHECKING:
    from torch import nn

    from tsbench.variants.source import Source

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


def compiled(
    label: str,
    make_graph: Callable[[], nn.Module],
    source: Source,
    int8: bool = False,
    **made_by: Any,
) -> Built:
    """`make_graph()`, a form of the source's model, compiled for exactly these shapes of inputs.

    `made_by` holds JSON values that the graph depends on besides the source. With `int8` the share
    of the FLOPs in int8 is counted, and none is a ValueError: the name would lie.
    """
    import torch

    share = [0.0]

    def write(path: Path) -> None:
        graph = make_graph()
        if int8:
            share[0] = int8_share(graph, source)
            path.with_suffix(".txt").write_text(repr(share[0]), encoding="ascii")
        settings = {**INDUCTOR, "max_autotune": source.autotuned}
        with torch.no_grad(), torch._inductor.config.patch(settings):
            program = torch.export.export(graph, source.inputs)
            torch._inductor.aoti_compile_and_package(program, package_path=str(path))

    with known_warnings():
        path = source.cached(label, write, ".pt2", **made_by)
        loaded: Any = torch._inductor.aoti_load_package(str(path))
    if int8:
        share = [float(path.with_suffix(".txt").read_text(encoding="ascii"))]
    output = source.output
    call = (
        loaded
        if isinstance(output, torch.Tensor)
        else lambda *inputs: like(output, flat_outputs(loaded(*inputs)))
    )
    return Built(call, path.stat().st_size, int8_share=share[0], save=copying(path, source))


def int8_share(graph: Any, source: Source) -> float:
    """The share of a converted graph's FLOPs in int8. Raises ValueError if there is none."""
    from tsbench.variants.shares import graph_int8_share

    share = graph_int8_share(graph, source.inputs)
    if not share:
        raise ValueError("the model has no operator that this technique quantizes")
    return share


def cpu_flags_sha256() -> str:
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
