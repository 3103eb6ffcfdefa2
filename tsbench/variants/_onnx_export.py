"""Export to ONNX.

The exporter is the one built on torch.export, which torch keeps (the older one warns that it will
go). Its graph has LayerNormalization and Gelu as single operators. It takes 3 s for a T1, and
20 s the first time.

`exported` gives the exporter's own graph, whose matrix products quantizers recognise.
`exported_to_run` gives the operators in which ONNX Runtime is fast in fp32.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsbench.variants.source import FileSource, Source

if TYPE_CHECKING:
    from torch import nn

REQUIREMENTS = ("torch", "onnx", "onnxscript", "onnxruntime")


def exported(source: Source) -> Path:
    """The model as an ONNX file of standard operators, fp32, for these shapes of inputs."""
    if isinstance(source, FileSource):
        return source.fixed()
    # Plain layers export in half of the time of stock ones, and run as fast.
    return source.cached("onnx", lambda path: _export(source, source.plain(), path), ".onnx")


def exported_to_run(source: Source) -> Path:
    """The same function, for ONNX Runtime alone if it has operators of its own for the model."""
    model = source.for_onnx_runtime()
    if model is None:
        return exported(source)
    return source.cached("onnx-runtime", lambda path: _export(source, model, path), ".onnx")


@contextmanager
def quiet() -> Iterator[None]:
    """Hides log messages and a warning that are advice to the authors of libraries."""
    # torch's exporter logs that torchvision is missing; ONNX Runtime's quantizer advises a step
    # for models from older exporters.
    exporter, root = (
        logging.getLogger("torch.onnx._internal.exporter._registration"),
        logging.getLogger(),
    )
    levels = exporter.level, root.level
    exporter.setLevel(logging.ERROR)
    root.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # torch 2.13 copies its pytree specs in a way that its pytree deprecates.
            warnings.filterwarnings("ignore", ".*isinstance.treespec, LeafSpec.", FutureWarning)
            yield
    finally:
        exporter.setLevel(levels[0])
        root.setLevel(levels[1])


def for_onnx_runtime(plain: Any) -> nn.Module:
    """`plain` itself, changed to the operators in which ONNX Runtime is fast.

    Each attention becomes one `com.microsoft::Attention` instead of a dozen operators. Linears
    take matrices: ONNX Runtime wraps one of three dimensions in two Reshapes. Convolutions take
    images one pixel high: ONNX Runtime vectorizes and fuses only two-dimensional ones. On PLAID,
    batch 1, the student goes from 16.5 to 25.6 times the speed of T1, and T1 from 3.1 to 3.5.
    """
    import torch
    from torch import Tensor, nn

    class Layers(nn.Module):
        def __init__(self, layers: Any):
            super().__init__()
            self.layers = layers
            self.weights = nn.ParameterList(
                layer.qkv.weight.detach().t().contiguous() for layer in layers
            )

        def forward(self, x: Tensor) -> Tensor:  # (batch, n_tokens, d_model)
            shape = x.shape
            x = x.flatten(0, 1)  # (batch * n_tokens, d_model)
            for layer, weight in zip(self.layers, self.weights, strict=True):
                width = layer.out.in_features  # n_heads * head_dim
                attended = torch.onnx.ops.symbolic(
                    "com.microsoft::Attention",
                    (
                        (layer.norm1(x) if layer.norm_first else x).view(shape),
                        weight,
                        layer.qkv.bias,
                    ),
                    {"num_heads": layer.n_heads, "qkv_hidden_sizes": [width, width, width]},
                    dtype=x.dtype,
                    shape=(*shape[:2], width),
                    version=1,
                )
                x = x + layer.out(attended.flatten(0, 1))
                if layer.norm_first:
                    x = x + layer.feed_forward(layer.norm2(x))
                else:
                    x = layer.norm1(x)
                    x = layer.norm2(x + layer.feed_forward(x))
            return x.view(shape)

    class OnePixelHigh(nn.Module):
        def __init__(self, stem: nn.Module, patch: nn.Module):
            super().__init__()
            self.stem, self.patch = stem, patch

        def forward(self, x: Tensor) -> Tensor:  # (batch, in_channels, timepoints)
            return self.patch(self.stem(x.unsqueeze(2))).squeeze(2)  # (batch, d_model, n_patches)

    made: Any = plain
    made.encoder = Layers(plain.encoder)
    if not plain.config.window_stem:  # whose only convolution is the patches' product
        made.stem, made.patch = (
            OnePixelHigh(_of_images(plain.stem), _of_images(plain.patch)),
            nn.Identity(),
        )
    return made.eval()


def _of_images(module: nn.Module) -> nn.Module:
    """The module with two-dimensional convolutions and norms: (batch, channels, 1, timepoints)."""
    from torch import nn

    from tsbench.variants.convolutions import as_image

    if isinstance(module, nn.Conv1d):
        return as_image(module)
    if isinstance(module, nn.BatchNorm1d):
        norm = nn.BatchNorm2d(module.num_features, module.eps)
        norm.load_state_dict(module.state_dict())
        return norm
    for name, child in module.named_children():
        setattr(module, name, _of_images(child))
    return module


def _export(source: Source, model: nn.Module, path: Path) -> None:
    import onnx
    import torch

    with quiet(), torch.no_grad():
        torch.onnx.export(
            source.exportable(model),
            source.inputs,
            path,
            dynamo=True,
            verbose=False,
            external_data=False,
        )
    # The exporter records the shapes of weights. quantize_dynamic of ONNX Runtime 1.23, the newest
    # for Python 3.10, transposes weights and then fails on the recorded shape.
    written = onnx.load(path)
    del written.graph.value_info[:]
    onnx.save(written, path)
