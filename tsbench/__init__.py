"""tsbench: time-series transformers, and ways of compressing models, to measure.

    results = tsbench.compress(model, example, calibration=batches)     any nn.Module or .onnx file

Importing this package loads no torch. `tsbench.model`, `tsbench.training`, `tsbench.checkpoints`
and `tsbench.data.prepared` do, and variants when they are built.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tsbench.compression import Compressed, Unavailable, compress

__all__ = ["Compressed", "Unavailable", "compress"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tsbench import compression

    return getattr(compression, name)
