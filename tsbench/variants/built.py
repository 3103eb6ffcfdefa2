"""A built variant: a callable beside its price."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from tsbench.variants.source import Source


@dataclass(frozen=True)
class Built:
    """A callable and what was changed in the model."""

    call: Callable[..., Any]
    size_bytes: int | None = None
    """Of the weights, as saved. None: unknown."""
    int8_share: float = 0.0
    """Of the FLOPs of matrix products and convolutions, those that run in int8."""
    removed_share: float = 0.0
    """Of the FLOPs, those that pruning removed."""
    zero_share: float = 0.0
    """Of the weights, those that are zero."""
    save: Callable[[Path], Path] | None = None
    """Writes the compressed model to a path without a suffix, and returns its file."""

    @property
    def changed(self) -> str:
        """What was changed, for a table.

        >>> Built(abs, int8_share=0.971).changed, Built(abs, int8_share=0.001).changed
        ('97 % of FLOPs in int8', 'under 1 % of FLOPs in int8')
        """
        parts = (
            (self.int8_share, "of FLOPs in int8"),
            (self.removed_share, "of FLOPs removed"),
            (self.zero_share, "of weights zero"),
        )
        return ", ".join(f"{_percent(share)} {what}" for share, what in parts if share)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.005 else "under 1 %"


def state_bytes(model: nn.Module) -> int:
    """The size of the model's weights and buffers, as saved."""
    import torch

    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    return buffer.getbuffer().nbytes


def copying(path: Path, source: Source) -> Callable[[Path], Path]:
    """Saves by copying a file of the source, whose folder lives as long as the source."""

    def save(to: Path, source: Source = source) -> Path:
        target = to.with_name(to.name + path.suffix)
        shutil.copyfile(path, target)
        return target

    return save


def eager(
    model: nn.Module, int8_share: float = 0.0, removed_share: float = 0.0, zero_share: float = 0.0
) -> Built:
    """A module as a built variant."""
    return Built(model, state_bytes(model), int8_share, removed_share, zero_share)
