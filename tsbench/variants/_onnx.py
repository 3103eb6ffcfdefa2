"""What the ONNX Runtime variants share: export, its cache, and a session of one thread.

torch's exporter is the one built on torch.export: it is the one that torch keeps (the older one
warns that it will go), and its graph has LayerNormalization and Gelu as single operators. It
costs 3 s for a T1 with warm file caches, 20 s the first time, so the file is kept.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tsbench.model import Classifier
    from tsbench.train import Prepared
    from tsbench.variants import Classify

NEEDS = ("torch", "onnx", "onnxscript", "onnxruntime")
BUILD_VERSION = 1  # counts up when the steps change: older cached files are left alone
THREADS = 1  # as the baseline; a second one doubles the CPU time at batch 1
INPUT, OUTPUT = "x", "logits"


def exported(model: Classifier, data: Prepared, batch_cases: int) -> Path:
    """The model as an ONNX file, fp32, for exactly this batch size; from the cache if it is there."""
    return cached("fp32", lambda path: _export(model, data, batch_cases, path), model, data, batch_cases)


def cached(
    label: str, write: Callable[[Path], None], model: Classifier, data: Prepared, batch_cases: int, **made_by: object
) -> Path:
    """The file that `write(path)` writes of the model; from the cache if it is there.

    `made_by` is what it depends on besides model, data and batch size, as JSON values.
    """
    import tempfile
    from importlib.metadata import version

    from tsbench import cache
    from tsbench.train import cache_key, weights_sha256

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
    exporter, root = logging.getLogger("torch.onnx._internal.exporter._registration"), logging.getLogger()
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


def _export(model: Classifier, data: Prepared, batch_cases: int, path: Path) -> None:
    import onnx
    import torch

    from tsbench.model import to_plain
    from tsbench.variants.int8_static import example

    with quiet(), torch.no_grad():
        # Bare Linears: half of the time, and no faster nor slower than the stock layers' graph
        # (3.6x and 3.5x at batch 1, 1.2x both at batch 32).
        torch.onnx.export(
            to_plain(model).eval(),
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
