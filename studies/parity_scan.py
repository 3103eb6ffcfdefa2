"""Whether engines compute the same as eager torch, for any number of heads and patches.

    python -m studies.parity_scan --heads 2 4 8 16 --patches 1 2 4 8 16 17

A pair is equal within the tolerance of tsbench.variants.parity, or the variant refuses it.
"""

from __future__ import annotations

import argparse

import torch

from tsbench import variants
from tsbench.compression import source_of
from tsbench.errors import VariantUnavailable
from tsbench.model import Classifier, ModelConfig
from tsbench.variants.classifier import ClassifierSource
from tsbench.variants.parity import TOLERANCE, largest_difference
from tsbench.variants.source import Source


class Uncached(ClassifierSource):
    """A classifier without a data set: what is built is not kept."""

    autotuned = False
    cached = Source.cached


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--heads", type=int, nargs="+", default=list(range(2, 17)))
    parser.add_argument("--patches", type=int, nargs="+", default=list(range(1, 18)))
    parser.add_argument("--variants", nargs="+", default=["onnx_fp32", "openvino_fp32"])
    options = parser.parse_args()
    worst: dict[str, float] = dict.fromkeys(options.variants, 0.0)
    refused: list[str] = []
    wrong: list[str] = []
    for n_heads in options.heads:
        for n_patches in options.patches:
            source = classifier(n_heads, n_patches)
            for name in options.variants:
                where = f"{name}, {n_heads} heads, {n_patches} patches"
                try:
                    built = variants.get(name).apply(source)
                except VariantUnavailable as error:
                    refused.append(f"{where}: {error.reason}")
                    continue
                difference = largest_difference(built.call, source.reference, source.calibration)
                worst[name] = max(worst[name], difference)
                if not difference <= TOLERANCE:
                    wrong.append(f"{where}: {difference:.2g}")
        print(f"{n_heads} heads: {worst}, {len(refused)} refused, {len(wrong)} wrong", flush=True)
    for line in (*refused, *wrong):
        print(line)
    pairs = len(options.heads) * len(options.patches)
    print(f"{pairs} pairs; largest difference {worst}; refused {len(refused)}; wrong {len(wrong)}")


def classifier(n_heads: int, n_patches: int) -> Uncached:
    """An untrained classifier of one layer, with statistics for its batch norms."""
    torch.manual_seed(0)
    config = ModelConfig(
        timepoints=16 * n_patches, n_classes=3, stem_channels=8, d_model=8 * n_heads,
        n_layers=1, n_heads=n_heads, ff_dim=32,
    )  # fmt: skip
    model = Classifier(config)
    batches = [torch.randn(2, config.in_channels, config.timepoints) for _ in range(3)]
    with torch.no_grad():
        model(torch.cat(batches))
    made = source_of(model, batches[0], batches)
    return Uncached(made.model, made.inputs, made.calibration)


if __name__ == "__main__":
    main()
