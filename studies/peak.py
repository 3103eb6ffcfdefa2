"""The most that one core of this CPU reaches: operations and bytes per second, by data type.

Products of square matrices and copies are timed, and the best of several sizes and turns counts:
what a kernel reaches, which is less than the data sheet's peak. CPU time is measured, so other
processes on the core do not lower it; those that share its caches or clock still do.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tsbench.threads import one_thread

if TYPE_CHECKING:
    from torch import Tensor

SIZES = (
    128,
    256,
    384,
    512,
    768,
    1024,
)  # rows and columns; 256 is best in fp32 on an EPYC with 1 MiB of L2
TURNS = 15
MIN_TIMED_NS = 5_000_000  # per turn: reading the CPU clock takes about 1 us
COPY_BYTES = {"cache": 2**18, "memory": 2**27}  # in a 1 MiB L2 with its copy; beyond a 32 MiB L3


@dataclass(frozen=True)
class Peak:
    """The limits of one core."""

    operations_per_s: dict[str, float]  # by data type: fp32, bf16, int8; two a multiply-add
    bytes_per_s: dict[str, float]  # read and written, by where they are: cache, memory


def measure(sizes: tuple[int, ...] = SIZES, turns: int = TURNS) -> Peak:
    """Measures the limits, in about ten seconds."""
    import torch

    with one_thread(), torch.inference_mode():
        operations = {}
        for data_type, ways in {
            "fp32": (_fp32, _fp32_packed),
            "bf16": (_bf16,),
            "int8": (_int8,),
        }.items():
            reached = [
                _rate(matrices(size), 2 * size**3, turns) for size in sizes for matrices in ways
            ]
            operations[data_type] = max(reached)
        copied = {
            where: _rate(_copy(n_bytes), 2 * n_bytes, turns)
            for where, n_bytes in COPY_BYTES.items()
        }
    return Peak(operations, copied)


def _fp32(size: int) -> Callable[[], Tensor]:
    import torch

    a, b = torch.randn(2, size, size)
    return lambda: torch.mm(a, b)


def _fp32_packed(size: int) -> Callable[[], Tensor]:
    """oneDNN's product with packed weights. MKL's, torch.mm, reaches half of it on an EPYC."""
    import torch

    a, b = (matrix.to_mkldnn() for matrix in torch.randn(2, size, size))
    bias = torch.zeros(size).to_mkldnn()
    return lambda: torch._C._nn.mkldnn_linear(a, b, bias)


def _bf16(size: int) -> Callable[[], Tensor]:
    import torch

    a, b = torch.randn(2, size, size).to(torch.bfloat16)
    return lambda: torch.mm(a, b)


def _int8(size: int) -> Callable[[], Tensor]:
    import torch

    a, b = torch.randint(-128, 128, (2, size, size), dtype=torch.int8)
    return lambda: torch._int_mm(a, b)


def _copy(n_bytes: int) -> Callable[[], Tensor]:
    import torch

    source = torch.ones(n_bytes, dtype=torch.uint8)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def _rate(call: Callable[[], object], work: int, turns: int) -> float:
    """Work per CPU-second in the best turn."""
    call()  # the first one allocates, and lets oneDNN choose a kernel
    calls = 1
    while (taken := _timed_ns(call, calls)) < MIN_TIMED_NS:
        calls *= 2
    best = min(taken, *(_timed_ns(call, calls) for _ in range(turns)))
    return work * calls / best * 1e9


def _timed_ns(call: Callable[[], object], calls: int) -> int:
    started = time.process_time_ns()
    for _ in range(calls):
        call()
    return max(time.process_time_ns() - started, 1)
