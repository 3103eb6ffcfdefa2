"""A model's output as a flat list of tensors, and back; its scores of classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def flat_outputs(output: Any) -> list[Tensor]:
    """The tensors in a tensor, tuple, list, mapping or dataclass, in order; None is skipped.

    Arrays of numpy become tensors; those that hold no numbers, such as class names, are skipped.

    >>> import torch
    >>> [t.item() for t in flat_outputs({"a": torch.tensor(1), "b": [torch.tensor(2), None]})]
    [1, 2]
    """
    import numpy as np
    import torch

    if isinstance(output, torch.Tensor):
        return [output]
    if isinstance(output, np.ndarray | np.generic):
        array = np.asarray(output)
        return [torch.from_numpy(array)] if array.dtype.kind in "biufc" else []
    if output is None:
        return []
    return [tensor for part in _parts(output).values() for tensor in flat_outputs(part)]


def scores(output: Any) -> Tensor:
    """The scores of classes in a model's output: its first floats of (cases, at least 2 classes).

    If there are none, the first floats. Raises TypeError without any number.
    """
    import torch

    leaves = [torch.atleast_1d(leaf) for leaf in flat_outputs(output)]
    if not leaves:
        raise TypeError(f"the model returned {type(output).__name__}, without a tensor or array")
    floats = [leaf for leaf in leaves if leaf.is_floating_point()] or leaves
    of_classes = [leaf for leaf in floats if leaf.dim() == 2 and leaf.shape[1] > 1]
    return (of_classes or floats)[0]


def like(output: Any, tensors: Sequence[Tensor]) -> Any:
    """`tensors` in the structure of `output`: the inverse of `flat_outputs`."""
    return _like(output, iter(tensors))


def _like(output: Any, left: Iterator[Tensor]) -> Any:
    import torch

    kind: Any = type(output)

    if isinstance(output, torch.Tensor):
        return next(left)
    if output is None:
        return None
    parts = {key: _like(part, left) for key, part in _parts(output).items()}
    if isinstance(output, Mapping):
        try:
            return kind(**parts)  # Hugging Face's outputs take keywords only
        except TypeError:
            return kind(parts)
    if is_dataclass(output) and not isinstance(output, type):
        return replace(output, **parts)
    if hasattr(output, "_fields"):  # a named tuple
        return kind(*parts.values())
    return kind(parts.values())


def _parts(output: Any) -> dict[Any, Any]:
    if isinstance(output, Mapping):
        return dict(output)
    if is_dataclass(output) and not isinstance(output, type):
        return {field.name: getattr(output, field.name) for field in fields(output)}
    if isinstance(output, tuple | list):
        return dict(enumerate(output))
    raise TypeError(
        f"an output must be tensors in tuples, lists, mappings or dataclasses, "
        f"got {type(output).__name__}"
    )
