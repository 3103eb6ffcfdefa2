"""Whether engines compute the same as eager torch, for any number of heads and patches.

    python -m studies.parity_scan                             # about 20 CPU minutes
    python -m studies.parity_scan --from parity-scan.json     # the table of a saved scan

A pair is equal within the tolerance of tsbench.variants.parity, or the variant refuses it. Pairs
with as many heads as patches come first: OpenVINO was wrong there. An interrupted scan resumes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
    parser.add_argument("--json", type=Path, default=Path("parity-scan.json"))
    parser.add_argument("--from", dest="saved", type=Path, nargs="+", help="print saved scans")
    options = parser.parse_args()
    if options.saved:
        print(summary([cell for path in options.saved for cell in json.loads(path.read_text())]))
        return
    cells = json.loads(options.json.read_text()) if options.json.is_file() else []
    done = {(cell["variant"], cell["heads"], cell["patches"]) for cell in cells}
    pairs = [(heads, patches) for heads in options.heads for patches in options.patches]
    for heads, patches in sorted(pairs, key=lambda pair: abs(pair[0] - pair[1])):
        missing = [name for name in options.variants if (name, heads, patches) not in done]
        if missing:
            source = classifier(heads, patches)
            cells += [measured(name, source, heads, patches) for name in missing]
            options.json.write_text(json.dumps(cells, indent=1))
    print(summary(cells))


def measured(name: str, source: Source, heads: int, patches: int) -> dict[str, Any]:
    """The largest difference of one variant from eager torch, or why it is refused."""
    cell: dict[str, Any] = {"variant": name, "heads": heads, "patches": patches}
    try:
        built = variants.get(name).apply(source)
    except VariantUnavailable as error:
        return {**cell, "refused": error.reason}
    difference = largest_difference(built.call, source.reference, source.calibration)
    return {**cell, "difference": difference}


def summary(cells: Sequence[dict[str, Any]]) -> str:
    """Markdown: a row for each variant, then what was refused or wrong."""
    lines = [
        "| variant | pairs | largest difference | refused | wrong |",
        "|---|---|---|---|---|",
    ]
    notes = []
    for name in dict.fromkeys(cell["variant"] for cell in cells):
        own = [cell for cell in cells if cell["variant"] == name]
        built = [cell for cell in own if "difference" in cell]
        wrong = [cell for cell in built if not cell["difference"] <= TOLERANCE]
        refused = [cell for cell in own if "refused" in cell]
        worst = max((cell["difference"] for cell in built), default=0.0)
        lines.append(f"| `{name}` | {len(own)} | {worst:.1e} | {len(refused)} | {len(wrong)} |")
        notes += [
            f"- `{name}`, {cell['heads']} heads, {cell['patches']} patches: "
            f"{cell.get('refused') or cell['difference']}"
            for cell in (*refused, *wrong)
        ]
    return "\n".join([*lines, *notes])


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
