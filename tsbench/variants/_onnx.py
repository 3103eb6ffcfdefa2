"""What the ONNX Runtime variants share: export, its cache, and a session of one thread.

torch's exporter is the one built on torch.export: it is the one that torch keeps (the older one
warns that it will go), and its graph has LayerNormalization and Gelu as single operators. It
costs 3 s for a T1 with warm file caches, 20 s the first time, so the file is kept.

What runs in fp32 is exported in the operators that ONNX Runtime is fast at (`exported_to_run`); a quantizer gets the exporter's own
graph, whose matrix products it knows.
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
    from tsbench.variants import Classify

NEEDS = ("torch", "onnx", "onnxscript", "onnxruntime")
BUILD_VERSION = 2  # counts up when the steps change: older cached files are left alone
THREADS = 1  # as the baseline; a second one doubles the CPU time at batch 1
INPUT, OUTPUT = "x", "logits"


def exported(model: Classifier, data: Prepared, batch_cases: int) -> Path:
    """The model as an ONNX file of standard operators, fp32, for exactly this batch size; from the cache if it is there."""
    return cached(
        "fp32",
        lambda path: _export(_plain(model), data, batch_cases, path),
        model,
        data,
        batch_cases,
    )


def exported_to_run(model: Classifier, data: Prepared, batch_cases: int) -> Path:
    """The same function in ONNX Runtime's own operators: for no other engine, and for no quantizer."""

    def write(path: Path) -> None:
        _export(_for_the_runtime(_plain(model)), data, batch_cases, path)

    return cached("fp32-runtime", write, model, data, batch_cases)


def cached(
    label: str,
    write: Callable[[Path], None],
    model: Classifier,
    data: Prepared,
    batch_cases: int,
    **made_by: object,
) -> Path:
    """The file that `write(path)` writes of the model; from the cache if it is there.

    `made_by` is what it depends on besides model, data and batch size, as JSON values.
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
        libraries=[version(name) for name in NEEDS],
        **made_by,
    )
    path = cache.folder() / "onnx" / f"{data.name}-{label}-{key}.onnx"
    if not path.is_file():
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder) / "model.onnx"
            write(made)
            cache.write_atomically(path, made.read_bytes())
    return path


def session(path: Path) -> Classify:
    """The file's model on ONNX Runtime. Each call's logits are new memory."""
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = THREADS
    loaded = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def classify(x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(loaded.run(None, {INPUT: x.contiguous().numpy()})[0])

    return classify


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps advice to libraries' authors, and only that, off the screen."""
    # One logs that torchvision is missing, the other advises a preparation for models that are not
    # exported yet by torch.export; both go to the root logger, or to one that prints by itself.
    exporter, root = (
        logging.getLogger("torch.onnx._internal.exporter._registration"),
        logging.getLogger(),
    )
    levels = exporter.level, root.level
    exporter.setLevel(logging.ERROR)
    root.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # torch 2.13 copies its own pytree specs in a way that its pytree has deprecated.
            warnings.filterwarnings("ignore", ".*isinstance.treespec, LeafSpec.", FutureWarning)
            yield
    finally:
        exporter.setLevel(levels[0])
        root.setLevel(levels[1])


def _plain(model: Classifier) -> Classifier:
    # Bare Linears: half of the time to export, and no faster nor slower than the stock layers' graph
    # (3.6x and 3.5x at batch 1, 1.2x both at batch 32).
    from tsbench.model import to_plain

    return to_plain(model).eval()


def _for_the_runtime(plain: Classifier) -> Classifier:
    """`plain` itself, the same function in the operators that ONNX Runtime is fast at.

    Each attention is one `com.microsoft::Attention`, where the exporter leaves a dozen operators. Linears are of matrices: of
    three dimensions each would be wrapped in two Reshapes. Convolutions are of images one pixel high: only theirs are blocked
    for vectors, and fused with norm, sum and ReLU. Speedup to eager T1, one paired run on PLAID, batch 1 and 32: the student
    16.5 and 9.3 as exported, 19.9 and 9.7 with the first two, 25.6 and 14.2 with all; T1 3.11 and 1.19, 3.40 and 1.15, 3.52 and 1.19.
    """
    import torch
    from torch import Tensor, nn
    from torch.nn import functional as F

    class Layers(nn.Module):
        def __init__(self, layers: Any):
            super().__init__()
            self.layers = layers
            self.weights = nn.ParameterList(
                layer.qkv.weight.detach().t().contiguous() for layer in layers
            )

        def forward(self, x: Tensor) -> Tensor:  # (batch, n_patches, d_model)
            shape = x.shape
            x = x.flatten(0, 1)  # (batch * n_patches, d_model)
            for layer, weight in zip(self.layers, self.weights, strict=True):
                width = layer.out.in_features  # n_heads * head_dim
                attended = torch.onnx.ops.symbolic(
                    "com.microsoft::Attention",
                    (layer.norm1(x).view(shape), weight, layer.qkv.bias),
                    {"num_heads": layer.n_heads, "qkv_hidden_sizes": [width, width, width]},
                    dtype=x.dtype,
                    shape=(*shape[:2], width),
                    version=1,
                )
                x = x + layer.out(attended.flatten(0, 1))
                x = x + layer.ff2(F.gelu(layer.ff1(layer.norm2(x))))
            return x.view(shape)

    class OnePixelHigh(nn.Module):
        def __init__(self, stem: nn.Module, patch: nn.Module):
            super().__init__()
            self.stem, self.patch = stem, patch

        def forward(self, x: Tensor) -> Tensor:  # (batch, in_channels, timepoints)
            return self.patch(self.stem(x.unsqueeze(2))).squeeze(2)  # (batch, d_model, n_patches)

    made: Any = plain
    made.encoder = Layers(plain.encoder)
    if not plain.config.window_stem:  # statistics of windows, and no convolution worth the name
        made.stem, made.patch = (
            OnePixelHigh(_of_images(plain.stem), _of_images(plain.patch)),
            nn.Identity(),
        )
    return plain.eval()


def _of_images(module: nn.Module) -> nn.Module:
    """The module with each Conv1d and BatchNorm1d for (batch, channels, 1, timepoints), with the same weights."""
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

    from tsbench.variants.int8_static import example

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
    # The exporter notes the shapes of weights, too. quantize_dynamic of ONNX Runtime 1.23, the newest for
    # Python 3.10, turns weights round and then trips over the old shape.
    written = onnx.load(path)
    del written.graph.value_info[:]
    onnx.save(written, path)
