"""A session of ONNX Runtime as a callable on tensors, with bound memory where shapes are fixed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsbench.outputs import like

if TYPE_CHECKING:
    from torch import Tensor

THREADS = 1  # as the baseline; a second one doubles the CPU time at batch 1
NUMPY_TYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(bool)": "bool",
}


def session(path: Path, output: Any) -> Callable[..., Any]:
    """The file's model; each call returns new tensors in the structure of `output`.

    Outputs that are not numbers, such as class names of scikit-learn, are left out.
    """
    import torch

    loaded = _loaded(path)
    kept = [each for each in loaded.get_outputs() if each.type in NUMPY_TYPES]
    every = (*loaded.get_inputs(), *kept)
    fixed = all(
        each.type in NUMPY_TYPES and all(isinstance(size, int) for size in each.shape)
        for each in every
    )
    run = _bound(loaded, kept) if fixed else _unbound(loaded, kept)
    if isinstance(output, torch.Tensor):
        if fixed and len(loaded.get_inputs()) == len(kept) == 1:
            return _bound_one(loaded, kept)
        return lambda *inputs: run(*inputs)[0]
    return lambda *inputs: like(output, run(*inputs))


def outputs_of(path: Path, inputs: Sequence[Tensor]) -> list[Tensor]:
    """The outputs of one call that are numbers."""
    loaded = _loaded(path)
    return _unbound(loaded, [o for o in loaded.get_outputs() if o.type in NUMPY_TYPES])(*inputs)


def _loaded(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = THREADS
    options.log_severity_level = 3  # errors: warnings are advice to the authors of exporters
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _unbound(loaded: Any, kept: Sequence[Any]) -> Callable[..., list[Tensor]]:
    import torch

    names, outputs = [each.name for each in loaded.get_inputs()], [each.name for each in kept]

    def run(*inputs: Tensor) -> list[Tensor]:
        feed = {name: x.contiguous().numpy() for name, x in zip(names, inputs, strict=True)}
        return [torch.from_numpy(each) for each in loaded.run(outputs, feed)]

    return run


def _bind(loaded: Any, kept: Sequence[Any]) -> tuple[Any, list[Tensor], list[Tensor]]:
    """A binding to memory of its own: the input tensors and the output tensors."""
    import numpy as np
    import torch

    binding = loaded.io_binding()
    buffers: tuple[list[Tensor], list[Tensor]] = ([], [])
    with torch.inference_mode(False):  # or nothing outside of inference mode may fill them
        for each_side, bind, memory in (
            (loaded.get_inputs(), binding.bind_input, buffers[0]),
            (kept, binding.bind_output, buffers[1]),
        ):
            for each in each_side:
                dtype = np.dtype(NUMPY_TYPES[each.type])
                memory.append(torch.from_numpy(np.zeros(each.shape, dtype)))
                bind(each.name, "cpu", 0, dtype.type, each.shape, memory[-1].data_ptr())
    return binding, *buffers


def _bound(loaded: Any, kept: Sequence[Any]) -> Callable[..., list[Tensor]]:
    binding, into, out = _bind(loaded, kept)

    def run(*inputs: Tensor) -> list[Tensor]:
        for memory, x in zip(into, inputs, strict=True):
            _require_shape(memory, x)
            memory.copy_(x)
        loaded.run_with_iobinding(binding)
        return [memory.clone() for memory in out]

    return run


def _bound_one(loaded: Any, kept: Sequence[Any]) -> Callable[[Tensor], Tensor]:
    """One input and one output: without the loops, which a small model's call would notice."""
    binding, (into,), (out,) = _bind(loaded, kept)
    run, shape = loaded.run_with_iobinding, into.shape

    def call(x: Tensor) -> Tensor:
        if x.shape != shape:
            _require_shape(into, x)
        into.copy_(x)
        run(binding)
        return out.clone()

    return call


def _require_shape(memory: Tensor, x: Tensor) -> None:
    """Raises ValueError: `copy_` would repeat a smaller batch without a word."""
    if x.shape != memory.shape:
        raise ValueError(
            f"an input has the shape {tuple(x.shape)}, and the model was built for "
            f"{tuple(memory.shape)}"
        )
