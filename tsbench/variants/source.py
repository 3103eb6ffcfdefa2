"""What a variant is made from: a model, one batch of inputs, and calibration batches.

`Source` is the general case, any `nn.Module`; `FileSource` an .onnx file. `ClassifierSource`, in
classifier.py, is a trained classifier of this package with its data set: it caches what is built,
and can be trained again.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsbench.errors import VariantUnavailable
from tsbench.outputs import flat_outputs

if TYPE_CHECKING:
    import onnx
    from torch import Tensor, nn

    from tsbench.data.prepared import Prepared
    from tsbench.training.recipes import Recipe

    Inputs = tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class Source:
    """A model that is never changed, and its inputs."""

    model: Any
    """In eval mode."""
    inputs: Inputs
    """One batch, passed by position. A callable may accept only its shapes."""
    calibration: Sequence[Inputs]
    """Batches of the same shapes."""
    retrain: Callable[[nn.Module], object] | None = None
    """Trains the module that it gets, in place."""
    quantizes_convolutions = True
    """Whether the engines' int8 includes convolutions, see onnx_runtime.py."""
    autotuned = False
    """Whether inductor tries each kernel: it takes a build from 13 s to 30 to 60 s."""
    _scratch: list[Path] = field(default_factory=list, repr=False)

    @cached_property
    def output(self) -> Any:
        """The model's output for `inputs`."""
        import torch

        with torch.inference_mode():
            return self.model(*self.inputs)

    @property
    def reference(self) -> Callable[..., Any]:
        """The unchanged model as a callable."""
        return self.copy()

    def copy(self) -> nn.Module:
        """A copy of the model, in eval mode."""
        return deepcopy(self.model).eval()

    def plain(self, fused_attention: bool = True) -> nn.Module:
        """A copy in the form that quantizers and converters recognise."""
        return self.copy()

    def images(self) -> nn.Module:
        """A plain copy whose convolutions PT2E's quantizer for x86 recognises."""
        from tsbench.variants.convolutions import fold_batch_norms, one_pixel_high

        return one_pixel_high(fold_batch_norms(self.plain(fused_attention=False)))

    def for_onnx_runtime(self) -> nn.Module | None:
        """The model in ONNX Runtime's own operators, or None if only standard ones are known."""
        return None

    def of(self, model: nn.Module) -> Source:
        """The same with another model, such as a pruned one."""
        return replace(self, model=model.eval(), _scratch=[])

    def exportable(self, model: nn.Module) -> nn.Module:
        """The model with a flat output, for exporters: a tensor, or a tuple of tensors."""
        import torch

        return model if isinstance(self.output, torch.Tensor) else _flat(model)

    def calibration_in(self, batch_cases: int) -> list[Inputs]:
        """The calibration cases in batches of another size; none of a single case."""
        import torch

        columns = zip(*self.calibration, strict=True)
        cases = [torch.cat(column) if column[0].dim() else column[0] for column in columns]
        batches = zip(
            *(x.split(batch_cases) if x.dim() else [x] * len(cases) for x in cases), strict=False
        )
        return [batch for batch in batches if len(batch[0]) > 1]

    def matrices(self, only: str = "") -> list[list[nn.Parameter]]:
        """Weights of two or more dimensions, in a list for each layer."""
        return matrices_of(self.model, only)

    # Files

    def cached(
        self, label: str, write: Callable[[Path], None], suffix: str, **made_by: Any
    ) -> Path:
        """The file that `write(path)` writes, unless an earlier call with the label wrote it.

        `made_by` holds JSON values that the file depends on besides the model and its inputs.
        """
        path = self.folder / f"{label}{suffix}"
        if not path.is_file():
            write(path)
        return path

    @property
    def folder(self) -> Path:
        """A temporary folder that lives as long as this object."""
        if not self._scratch:
            self._scratch.append(Path(tempfile.mkdtemp(prefix="tsbench-")))
            weakref.finalize(self, shutil.rmtree, self._scratch[0], ignore_errors=True)
        return self._scratch[0]

    # Training

    def tuned(self, model: nn.Module, variant: str, recipe: Recipe | None = None) -> nn.Module:
        """The model, trained again in place or as a cached copy. `recipe`: a shorter training.

        Raises VariantUnavailable if this source cannot be trained again.
        """
        if self.retrain is None:
            raise VariantUnavailable(
                variant,
                "it trains the model again, and no training is known",
                f"pass retrain=, a function that trains a module in place, or use "
                f"{variant}@tuned=no",
            )
        from tsbench.variants.tuning import zeros_kept

        model.train()
        with zeros_kept(model):
            self.retrain(model)
        model.eval()  # of an exported graph it returns None
        return model

    @property
    def can_train(self) -> bool:
        """Whether `tuned` can train."""
        return self.retrain is not None

    @property
    def dataset(self) -> Prepared:
        """The data set. Raises VariantUnavailable if none is known."""
        raise VariantUnavailable(
            "of a data set",
            "it needs a classifier of tsbench and its data set",
            "use another technique",
        )


@dataclass(frozen=True, eq=False)
class FileSource(Source):
    """An .onnx file in fp32; `model` is its path.

    Of a file with operators of ai.onnx.ml only the scores are kept, see `_leave_out_labels`.
    """

    @cached_property
    def output(self) -> Any:
        from tsbench.variants.onnx_session import outputs_of

        found = outputs_of(self.fixed(), self.inputs)
        return found[0] if len(found) == 1 else tuple(found)

    @property
    def reference(self) -> Callable[..., Any]:
        from tsbench.variants.onnx_session import session

        return session(self.fixed(), self.output)

    def fixed(self) -> Path:
        """The file with the shapes of `inputs` for its inputs, and without recorded shapes."""

        def write(path: Path) -> None:
            import onnx

            # Weights beside the file, which torch's exporter writes for large models, come along.
            model = onnx.load(self.model)
            initial = {weight.name for weight in model.graph.initializer}
            graph_inputs = [each for each in model.graph.input if each.name not in initial]
            if len(graph_inputs) != len(self.inputs):
                raise ValueError(
                    f"{Path(self.model).name} has {len(graph_inputs)} inputs "
                    f"({', '.join(each.name for each in graph_inputs)}), got {len(self.inputs)}"
                )
            for each, x in zip(graph_inputs, self.inputs, strict=True):
                shape = each.type.tensor_type.shape
                for dim, size in zip(shape.dim, x.shape, strict=False):
                    if not dim.HasField("dim_value"):
                        dim.dim_value = size
            del model.graph.value_info[:]
            _leave_out_labels(model.graph)
            onnx.save(model, path)

        return self.cached("fixed", write, ".onnx")


def _leave_out_labels(graph: onnx.GraphProto) -> None:
    """Removes predicted labels where scores are left, and what only computes them.

    scikit-learn's converters add them, by operators of ai.onnx.ml that other engines refuse.
    """
    from onnx import TensorProto

    floats = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16)
    scores = [each for each in graph.output if each.type.tensor_type.elem_type in floats]
    if not scores or not any(node.domain == "ai.onnx.ml" for node in graph.node):
        return
    needed, kept = {each.name for each in scores}, []
    for node in reversed(graph.node):
        if needed & set(node.output):
            needed |= set(node.input)
            kept.append(node)
    del graph.output[:], graph.node[:]
    graph.output.extend(scores)
    graph.node.extend(reversed(kept))


def _flat(model: nn.Module) -> nn.Module:
    from torch import nn

    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
            return tuple(flat_outputs(self.model(*inputs)))

    return Flat().eval()


def matrices_of(model: nn.Module, only: str = "") -> list[list[nn.Parameter]]:
    """Weights of two or more dimensions, in a list for each layer; `only`: a pattern of names.

    A layer is what a numbered container holds, or else a module of its own.

    >>> from torch import nn
    >>> stack = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    >>> [len(layer) for layer in matrices_of(stack)], len(matrices_of(stack, "2.*"))
    ([1, 1], 1)
    """
    from fnmatch import fnmatchcase

    layers: dict[str, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1 and fnmatchcase(name, only or "*"):
            parts = name.split(".")
            numbered = [place for place, part in enumerate(parts) if part.isdigit()]
            end = numbered[-1] + 1 if numbered else len(parts) - 1
            layers.setdefault(".".join(parts[:end]), []).append(parameter)
    return list(layers.values())
