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
from typing import TYPE_CHECKING

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
    return source.cached("onnx-runtime-rows", lambda path: _export(source, model, path), ".onnx")


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
