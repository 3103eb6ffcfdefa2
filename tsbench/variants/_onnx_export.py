"""Export to ONNX, and the cache of exported files.

The exporter is the one built on torch.export, which torch keeps (the older one warns that it will
go). Its graph has LayerNormalization and Gelu as single operators. It takes 3 s for a T1, and
20 s the first time, so files are cached.

`exported` gives the exporter's own graph, whose matrix products quantizers recognise.
`exported_to_run` gives the operators in which ONNX Runtime is fast in fp32.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from tsbench.data.prepared import Prepared
    from tsbench.model import Classifier

REQUIREMENTS = ("torch", "onnx", "onnxscript", "onnxruntime")
BUILD_VERSION = 2  # increase it when the steps change: older cached files are not used
INPUT, OUTPUT = "x", "logits"


def exported(model: Classifier, data: Prepared, batch_cases: int) -> Path:
    """The model as an ONNX file of standard operators, fp32, for this batch size; cached."""
    return cached(
        "fp32",
        lambda path: _export(_plain(model), data, batch_cases, path),
        model,
        data,
        batch_cases,
    )


def exported_to_run(model: Classifier, data: Prepared, batch_cases: int) -> Path:
    """The same function in ONNX Runtime's own operators, which no other engine reads; cached."""

    def write(path: Path) -> None:
        _export(for_onnx_runtime(_plain(model)), data, batch_cases, path)

    return cached("fp32-runtime", write, model, data, batch_cases)


def cached(
    label: str,
    write: Callable[[Path], None],
    model: Classifier,
    data: Prepared,
    batch_cases: int,
    **made_by: object,
) -> Path:
    """The file that `write(path)` writes for the model, unless the cache has it already.

    `made_by` holds JSON values that it depends on besides model, data and batch size.
    """
    import tempfile
    from importlib.metadata import version

    from tsbench.data import cache
    from tsbench.training.load_or_train import cache_key, weights_sha256

    key = cache_key(
        data,
        weights=weights_sha256(model),
        batch_cases=batch_cases,
        build=BUILD_VERSION,
        libraries=[version(name) for name in REQUIREMENTS],
        **made_by,
    )
    path = cache.folder() / "onnx" / f"{data.name}-{label}-{key}.onnx"
    if not path.is_file():
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder) / "model.onnx"
            write(made)
            cache.write_atomically(path, made.read_bytes())
    return path


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


def _plain(model: Classifier) -> Classifier:
    # Plain layers export in half of the time of stock ones, and run as fast.
    from tsbench.model import to_plain

    return to_plain(model).eval()


def for_onnx_runtime(plain: Classifier) -> Classifier:
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
    return plain.eval()


def _of_images(module: nn.Module) -> nn.Module:
    """The module with two-dimensional convolutions and norms: (batch, channels, 1, timepoints)."""
    from torch import nn

    if isinstance(module, nn.Conv1d):
        convolution = nn.Conv2d(
            module.in_channels,
            module.out_channels,
            (1, module.kernel_size[0]),
            stride=(1, module.stride[0]),
            padding=(0, int(module.padding[0])),
        )
        convolution.load_state_dict({"weight": module.weight.unsqueeze(2), "bias": module.bias})
        return convolution
    if isinstance(module, nn.BatchNorm1d):
        norm = nn.BatchNorm2d(module.num_features, module.eps)
        norm.load_state_dict(module.state_dict())
        return norm
    for name, child in module.named_children():
        setattr(module, name, _of_images(child))
    return module


def _export(model: Classifier, data: Prepared, batch_cases: int, path: Path) -> None:
    import onnx
    import torch

    from tsbench.variants.calibration import example

    with quiet(), torch.no_grad():
        torch.onnx.export(
            model,
            (example(data, batch_cases),),
            path,
            dynamo=True,
            verbose=False,
            input_names=[INPUT],
            output_names=[OUTPUT],
            external_data=False,
        )
    # The exporter records the shapes of weights. quantize_dynamic of ONNX Runtime 1.23, the newest
    # for Python 3.10, transposes weights and then fails on the recorded shape.
    written = onnx.load(path)
    del written.graph.value_info[:]
    onnx.save(written, path)
