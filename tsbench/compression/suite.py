"""A gated suite of compressed models for pytest: the marker `compress` and its fixture.

    @pytest.mark.compress(model, test_x[:32], techniques=["int8_dynamic", "onnx_fp32"])
    def test_mine(compressed):
        compressed.gate("accuracy", lambda call: accuracy(batched_logits(call, x), y), floor=0.9)

Each technique becomes a benchmark with GPS-UP. Ratios are gated if the marker gives them, and
shown otherwise: a technique that is slower than the model is a result, not a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tsbench import variants
from tsbench.compression import (
    Compressed,
    Unavailable,
    apply_variant,
    default_names,
    source_of,
)
from tsbench.compression.agreement import FLOOR
from tsbench.errors import TsbenchError
from tsbench.threads import one_thread

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tsbench.variants.source import Source


class Energy(Protocol):
    """The `energy` fixture, as far as it is used here."""

    def versus(self, baseline: Any, candidate: Any, *args: Any) -> Any: ...

    def quality(
        self, name: str, value: float, floor: float | None = None, ceiling: float | None = None
    ) -> None: ...


@dataclass
class Suite:
    """The arguments of one `compress` marker; each technique is built once."""

    model: nn.Module | str | Path
    example: Tensor | Sequence[Tensor]
    calibration: Iterable[Tensor | Sequence[Tensor]] = ()
    techniques: Sequence[str] | None = None
    retrain: Callable[[nn.Module], object] | None = None
    speedup: float | None = None
    greenup: float | None = None
    agreement: float | None = FLOOR
    """The floor of the agreement with the model's own predictions; None: it is only shown."""
    _source: list[Source] = field(default_factory=list)
    _built: dict[str, Compressed | Unavailable] = field(default_factory=dict)

    @property
    def source(self) -> Source:
        """The model and its inputs. Raises TsbenchError if the model rejects them."""
        if not self._source:
            with one_thread():
                made = source_of(self.model, self.example, self.calibration, self.retrain)
            self._source.append(made)
        return self._source[0]

    def names(self) -> tuple[str, ...]:
        """The techniques, checked. Raises UnknownName and BadSetting."""
        if self.techniques is None:
            of_file = isinstance(self.model, str | Path)
            return default_names(of_file)
        for name in self.techniques:
            variants.get(name)
        return tuple(self.techniques)

    def built(self, name: str) -> Compressed | Unavailable:
        """The technique applied to the model."""
        if name not in self._built:
            with one_thread():
                self._built[name] = apply_variant(variants.get(name), self.source)
        return self._built[name]


@dataclass(frozen=True)
class CompressedModel:
    """One technique in one test: the `compressed` fixture."""

    result: Compressed
    reference: Callable[..., Any]
    """The unchanged model."""
    inputs: tuple[Tensor, ...]
    energy: Energy
    agreement_floor: float | None

    @property
    def call(self) -> Callable[..., Any]:
        """The compressed model."""
        return self.result.call

    def gate(
        self,
        name: str | None = None,
        quality: Callable[[Callable[..., Any]], float] | None = None,
        floor: float | None = None,
        ceiling: float | None = None,
    ) -> None:
        """Compares it with the unchanged model, and checks its quality.

        `quality(call)` gives the value called `name`. The agreement with the unchanged model's
        predictions on the calibration batches has a floor of its own, see the marker.
        """
        import torch

        if (name is None) != (quality is None):
            raise TsbenchError(
                "compressed.gate requires a name and a function of the model together: "
                'compressed.gate("accuracy", function, floor=0.9)'
            )
        with one_thread(), torch.inference_mode():
            self.energy.versus(self.reference, self.call, *self.inputs)
            if name is not None and quality is not None:
                self.energy.quality(name, quality(self.call), floor, ceiling)
        self.energy.quality("agreement", self.result.agreement, self.agreement_floor)
        print(self.result)
