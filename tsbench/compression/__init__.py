"""Techniques that need no more than a model and its inputs, for any `nn.Module` or .onnx file.

    results = tsbench.compress(model, example, calibration=batches)
    for result in results.values():
        print(result)

Each result is a `Compressed` with a callable and its price, or an `Unavailable` with the reason.
What claims to be the model's function is checked against it on the calibration inputs.

The inputs of a model are one or several tensors, passed by position. Its output is a tensor, or
tensors in a tuple, list, mapping or dataclass, as Hugging Face models return.
"""

from __future__ import annotations

import copy
import re
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsbench import requirements
from tsbench.compression.outputs import flat_outputs
from tsbench.compression.techniques import (
    MODULE_TECHNIQUES,
    ONNX_FILE_TECHNIQUES,
    Technique,
    onnx_session,
)
from tsbench.errors import TsbenchError, UnknownName, VariantUnavailable
from tsbench.threads import one_thread

if TYPE_CHECKING:
    from torch import Tensor, nn

    Inputs = tuple[Tensor, ...]

ESCAPES = re.compile(r"\x1b\[[0-9;]*m")  # torch colours the messages of its exporter
MAX_REASON_CHARACTERS = 200
TOLERANCE = 1e-3  # of the largest output, or of 1 if that is larger


@dataclass(frozen=True)
class Compressed:
    """A technique applied to a model."""

    name: str
    call: Callable[..., Any]
    """Takes the model's inputs and returns its outputs, in the same structure."""
    build_seconds: float
    size_bytes: int
    """Of the weights, as saved."""
    difference: float
    """The largest difference from the model's outputs, as a share of the largest output."""

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.size_bytes / 1024:.0f} KiB, built in {self.build_seconds:.1f} s, "
            f"differs by {self.difference:.2g}"
        )


@dataclass(frozen=True)
class Unavailable:
    """A technique that cannot be applied, and the reason in one line."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: unavailable: {self.reason}"


def compress(
    model: nn.Module | str | Path,
    example: Tensor | Sequence[Tensor],
    calibration: Iterable[Tensor | Sequence[Tensor]] = (),
    names: Sequence[str] | None = None,
) -> dict[str, Compressed | Unavailable]:
    """The model compressed by each technique, by the technique's name.

    `model` is a module, or the path of an .onnx file in fp32. `example` is one batch of inputs: a
    tensor, or a sequence of tensors. A callable may accept only its batch size. `calibration` are
    further batches of the same shapes, for static quantization and for the check of parity;
    without any, `example` serves. The model is never changed.

    Raises UnknownName for an unknown technique, and TsbenchError if the model rejects `example`.
    """
    techniques = ONNX_FILE_TECHNIQUES if isinstance(model, str | Path) else MODULE_TECHNIQUES
    chosen = tuple(techniques) if names is None else tuple(names)
    for name in chosen:
        if name not in techniques:
            raise UnknownName("technique", name, techniques)
    inputs = _inputs(example)
    batches = [_inputs(each) for each in calibration] or [inputs]
    with one_thread():
        reference = _reference(model, inputs)
        return {
            name: _apply(name, techniques[name], model, reference, inputs, batches)
            for name in chosen
        }


def _reference(model: Any, inputs: Inputs) -> Callable[..., Any]:
    """The callable that techniques are compared with. Raises TsbenchError if it fails."""
    import torch

    try:
        reference = (
            onnx_session(Path(model))
            if isinstance(model, str | Path)
            else copy.deepcopy(model).eval()
        )
        with torch.inference_mode():
            flat_outputs(reference(*inputs))
    except Exception as error:  # any error of the user's model
        raise TsbenchError(f"the model fails on the example: {_one_line(error)}") from error
    return reference


def _apply(
    name: str,
    technique: Technique,
    model: Any,
    reference: Callable[..., Any],
    inputs: Inputs,
    batches: Sequence[Inputs],
) -> Compressed | Unavailable:
    import torch

    started_s = time.perf_counter()
    try:
        requirements.require(name, technique.requirements)
        original = copy.deepcopy(model).eval() if hasattr(model, "eval") else model
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of libraries, about their own deprecations
            built = technique.build(original, inputs, batches)
            built_s = time.perf_counter() - started_s
            with torch.inference_mode():
                difference = _difference(built.call, reference, batches[:4])
    except VariantUnavailable as error:
        return Unavailable(name, f"{error.reason}; {error.remedy}")
    except Exception as error:  # noqa: BLE001 - any technique may fail on an unknown model
        return Unavailable(name, _one_line(error))
    if technique.same_function and not difference <= TOLERANCE:
        return Unavailable(
            name, f"its outputs differ by {difference:.2g}, and {TOLERANCE:g} is allowed"
        )
    return Compressed(name, built.call, built_s, built.size_bytes, difference)


def _difference(
    call: Callable[..., Any], reference: Callable[..., Any], batches: Sequence[Inputs]
) -> float:
    """The largest difference of two outputs, as a share of the largest output or of 1."""
    worst = 0.0
    for inputs in batches:
        expected, found = flat_outputs(reference(*inputs)), flat_outputs(call(*inputs))
        if [t.shape for t in expected] != [t.shape for t in found]:
            raise ValueError(
                f"outputs have the shapes {[tuple(t.shape) for t in found]}, not "
                f"{[tuple(t.shape) for t in expected]}"
            )
        for one, other in zip(expected, found, strict=True):
            scale = max(1.0, one.abs().max().item())
            share = (other.to(one.dtype) - one).abs().max().item() / scale
            worst = share if not share <= worst else worst  # nan is a difference
    return worst


def _inputs(value: Tensor | Sequence[Tensor]) -> Inputs:
    import torch

    inputs = (value,) if isinstance(value, torch.Tensor) else tuple(value)
    if not inputs or not all(isinstance(x, torch.Tensor) for x in inputs):
        raise TsbenchError(
            f"inputs must be a tensor or a sequence of tensors, got {type(value).__name__}"
        )
    return inputs


def _one_line(error: Exception) -> str:
    first = ESCAPES.sub("", str(error)).strip().partition("\n")[0][:MAX_REASON_CHARACTERS]
    printable = "".join(char for char in first if char.isprintable())
    return f"{type(error).__name__}: {printable}"
