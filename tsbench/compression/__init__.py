"""Every technique that fits, for any `nn.Module` or .onnx file.

    results = tsbench.compress(model, example, calibration=batches)
    for result in results.values():
        print(result)

Each result is a `Compressed` with a callable and its price, or an `Unavailable` with the reason.
What claims to be the model's function is checked against it on the calibration inputs.

The inputs of a model are one or several tensors, passed by position. Its output is a tensor, or
tensors in a tuple, list, mapping or dataclass, as Hugging Face models return.
"""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsbench import variants
from tsbench.compression.agreement import agreement
from tsbench.errors import TsbenchError, VariantUnavailable
from tsbench.threads import one_thread
from tsbench.variants.built import Built
from tsbench.variants.parity import largest_difference
from tsbench.variants.source import FileSource, Source

if TYPE_CHECKING:
    from torch import Tensor, nn

    Inputs = tuple[Tensor, ...]

ESCAPES = re.compile(r"\x1b\[[0-9;]*m")  # torch colours the messages of its exporter
MAX_REASON_CHARACTERS = 200
COMPARED_BATCHES = 32  # for agreement; more would take longer than most builds
# Of one data set: they need a trained classifier of tsbench. Of the same weights as another: l2.
NOT_BY_DEFAULT = ("student", "student_openvino_bf16", "depth", "depth_int8", "l2_unstructured")


@dataclass(frozen=True)
class Compressed:
    """A technique applied to a model."""

    name: str
    call: Callable[..., Any]
    """Takes the model's inputs and returns its outputs, in the same structure."""
    build_seconds: float
    size_bytes: int | None
    """Of the weights, as saved. None: unknown."""
    difference: float
    """The largest difference from the model's outputs, as a share of the largest output or of 1."""
    agreement: float
    """The share of cases for which both predict the same class, see agreement.py."""
    built: Built
    """What was changed: shares of the FLOPs and of the weights."""

    @property
    def int8_share(self) -> float:
        """The share of FLOPs that runs in int8."""
        return self.built.int8_share

    @property
    def changed(self) -> str:
        """What was quantized or removed, for a table."""
        return self.built.changed

    def __str__(self) -> str:
        size = "unknown size" if self.size_bytes is None else f"{self.size_bytes / 1024:.0f} KiB"
        changed = f", {self.changed}" if self.changed else ""
        return (
            f"{self.name}: {size}{changed}, built in {self.build_seconds:.1f} s, "
            f"agrees {self.agreement:.3f}, differs by {self.difference:.2g}"
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
    retrain: Callable[[nn.Module], object] | None = None,
    on_step: Callable[[str], None] = lambda name: None,
) -> dict[str, Compressed | Unavailable]:
    """The model compressed by each technique, by the technique's name.

    `model` is a module, or the path of an .onnx file in fp32. `example` is one batch of inputs: a
    tensor, or a sequence of tensors. A callable may accept only its shapes. `calibration` are
    further batches of the same shapes, for static quantization, for the check of parity and for
    the agreement; without any, `example` serves. `retrain` trains a module in place: without it,
    techniques that need training are unavailable. `names` are those of `tsbench variants`, with
    their settings. The model is never changed. `on_step` is called with each technique's name.

    Raises UnknownName for an unknown technique, and TsbenchError if the model rejects `example`.
    """
    of_file = isinstance(model, str | Path)
    chosen = tuple(default_names(of_file) if names is None else names)
    for name in chosen:  # before anything slow
        variants.get(name)
    return compress_source(source_of(model, example, calibration, retrain), chosen, on_step)


def compress_source(
    source: Source, names: Sequence[str], on_step: Callable[[str], None] = lambda name: None
) -> dict[str, Compressed | Unavailable]:
    """The same for a model with its inputs, see `source_of`."""
    results = {}
    with one_thread():
        for name in names:
            on_step(name)
            results[name] = apply_variant(variants.get(name), source)
    return results


def source_of(
    model: nn.Module | str | Path,
    example: Tensor | Sequence[Tensor],
    calibration: Iterable[Tensor | Sequence[Tensor]] = (),
    retrain: Callable[[nn.Module], object] | None = None,
) -> Source:
    """What techniques are applied to. Raises TsbenchError if the model rejects the inputs."""
    from copy import deepcopy

    inputs = _inputs(example)
    batches = tuple(_inputs(each) for each in calibration) or (inputs,)
    for batch in batches:
        if [x.shape for x in batch] != [x.shape for x in inputs]:
            raise TsbenchError(
                f"a calibration batch has the shapes {[tuple(x.shape) for x in batch]}, and the "
                f"example {[tuple(x.shape) for x in inputs]}: give batches of one size"
            )
    source: Source
    try:
        if isinstance(model, str | Path):
            source = FileSource(_file(model), inputs, batches)
        else:
            source = Source(deepcopy(model).eval(), inputs, batches, retrain)
        source.output  # noqa: B018 - runs the model
    except TsbenchError:
        raise
    except Exception as error:  # any error of the user's model
        raise TsbenchError(f"the model fails on the example: {one_line(error)}") from error
    return source


def default_names(of_file: bool) -> tuple[str, ...]:
    """The techniques that are tried if none is named."""
    if not of_file:
        return tuple(name for name in variants.names() if name not in NOT_BY_DEFAULT)
    return tuple(name for name in variants.names() if _takes_files(name))


def _takes_files(name: str) -> bool:
    try:
        return bool(variants.get(name).of_files)
    except VariantUnavailable:  # another package's, which cannot be imported
        return False


def apply_variant(variant: variants.Variant, source: Source) -> Compressed | Unavailable:
    """One technique applied: its result, or the reason why it is unavailable."""
    started_s = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of libraries, about their own deprecations
            built = variant.apply(source)
            built_s = time.perf_counter() - started_s
            compared = source.calibration[:COMPARED_BATCHES]
            reference = source.reference
            difference = largest_difference(built.call, reference, compared[:4])
            agrees = agreement(built.call, reference, compared)
    except VariantUnavailable as error:
        return Unavailable(variant.name, f"{error.reason}; {error.remedy}")
    except Exception as error:  # noqa: BLE001 - any technique may fail on an unknown model
        return Unavailable(variant.name, one_line(error))
    return Compressed(
        variant.name, built.call, built_s, built.size_bytes, difference, agrees, built
    )


def available(results: Mapping[str, Compressed | Unavailable]) -> dict[str, Compressed]:
    """The results that have a callable."""
    return {name: each for name, each in results.items() if isinstance(each, Compressed)}


def _file(model: str | Path) -> Path:
    path = Path(model)
    if not path.is_file():
        raise TsbenchError(f"{path}: the file does not exist")
    return path


def _inputs(value: Tensor | Sequence[Tensor]) -> Inputs:
    import torch

    inputs = (value,) if isinstance(value, torch.Tensor) else tuple(value)
    if not inputs or not all(isinstance(x, torch.Tensor) for x in inputs):
        raise TsbenchError(
            f"inputs must be a tensor or a sequence of tensors, got {type(value).__name__}"
        )
    return inputs


def one_line(error: Exception) -> str:
    """An error as one printable line."""
    lines = [line.strip() for line in ESCAPES.sub("", str(error)).splitlines() if line.strip()]
    # OpenVINO's errors begin with lines that name its source files.
    telling = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
    first = (telling or lines or [""])[0][:MAX_REASON_CHARACTERS]
    printable = "".join(char for char in first if char.isprintable())
    return f"{type(error).__name__}: {printable}"
