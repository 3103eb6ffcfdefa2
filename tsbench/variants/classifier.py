"""A trained classifier of this package as a source of variants: cached, and trained again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsbench import requirements
from tsbench.errors import VariantUnavailable
from tsbench.variants.source import Source

if TYPE_CHECKING:
    from torch import nn

    from tsbench.data.prepared import Prepared
    from tsbench.model import Classifier
    from tsbench.training.recipes import Recipe

# Increase it when the steps of a build change: older cached files are not used.
BUILD_VERSION = 4
# What writes the files: another version may write others.
LIBRARIES = ("torch", "torchao", "onnx", "onnxscript", "onnxruntime", "openvino", "nncf")


def of_classifier(model: Classifier, data: Prepared | None, batch_cases: int) -> ClassifierSource:
    """The source for batches of exactly `batch_cases` cases, calibrated with training cases."""
    import torch

    from tsbench.variants.calibration import calibration_batches, example

    if data is None:
        return ClassifierSource(model, (), (), data=None)
    batches = calibration_batches(data, batch_cases)
    return ClassifierSource(
        model,
        (example(data, batch_cases),),
        tuple((torch.from_numpy(batch),) for batch in batches),
        data=data,
    )


@dataclass(frozen=True, eq=False)
class ClassifierSource(Source):
    """A classifier with its data set."""

    data: Prepared | None = None
    quantizes_convolutions = False
    autotuned = True

    def plain(self, fused_attention: bool = True) -> nn.Module:
        from tsbench.model import to_plain

        return to_plain(self.model, fused_attention).eval()

    def images(self) -> nn.Module:
        # Its figures are those of one-dimensional convolutions, which PT2E leaves in fp32: they
        # are a sixth of T1's FLOPs (docs/limits.md).
        return self.plain(fused_attention=False)

    def for_onnx_runtime(self) -> nn.Module | None:
        from tsbench.variants._onnx_layers import for_onnx_runtime

        return for_onnx_runtime(self.plain())

    def matrices(self, only: str = "") -> list[list[nn.Parameter]]:
        """The encoder's weight matrices."""
        from tsbench.model import encoder_layers
        from tsbench.variants.source import matrices_of

        if only:
            return matrices_of(self.model, only)
        layers = encoder_layers(self.model)
        return [[weight for weight in layer.parameters() if weight.dim() == 2] for layer in layers]

    def cached(
        self, label: str, write: Callable[[Path], None], suffix: str, **made_by: Any
    ) -> Path:
        """The file, kept in the cache folder; see `Source.cached`."""
        import tempfile

        from tsbench.data import cache
        from tsbench.training.load_or_train import cache_key, weights_sha256
        from tsbench.variants._inductor import cpu_flags_sha256

        data = self.dataset
        key = cache_key(
            data,
            weights=weights_sha256(self.model),
            inputs=[list(x.shape) for x in self.inputs],
            calibration_cases=sum(len(batch[0]) for batch in self.calibration),
            build=BUILD_VERSION,
            libraries=[requirements.found(name) for name in LIBRARIES],
            cpu=cpu_flags_sha256() if suffix == ".pt2" else "",  # an instruction may be illegal
            **made_by,
        )
        path = cache.folder() / cache.BUILT / f"{data.name}-{label}-{key}{suffix}"
        if not path.is_file():
            with tempfile.TemporaryDirectory() as folder:
                made = Path(folder) / f"model{suffix}"
                write(made)
                # Readers look for `path`, so what lies beside it comes first.
                for each in sorted(Path(folder).iterdir(), key=lambda each: each == made):
                    cache.write_atomically(path.with_suffix(each.suffix), each.read_bytes())
        return cache.used(path)

    def tuned(self, model: nn.Module, variant: str, recipe: Recipe | None = None) -> nn.Module:
        """A trained copy, by the data set's whole recipe or by `recipe`; cached."""
        from tsbench.training.recipes import plan_of
        from tsbench.variants.tuning import RETRAINED_AS, trained

        chosen = recipe or plan_of(self.dataset.name).recipe_for(RETRAINED_AS)
        return trained(model, self.dataset, variant, chosen)

    @property
    def can_train(self) -> bool:
        return self.data is not None

    @property
    def dataset(self) -> Prepared:
        if self.data is None:
            raise VariantUnavailable("of a classifier", "it needs the data set", "pass it")
        return self.data
