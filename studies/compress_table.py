"""Which technique works for which model, and at what price: the table of docs/techniques.md.

    python -m studies.compress_table --json table.json     # minutes; goes on where it stopped
    python -m studies.compress_table --from table.json     # the table of saved cells

Each cell has the ratio of the unchanged model's CPU time (eager fp32, or ONNX Runtime for the .onnx
file) to its own, and the agreement with its predictions on 128 cases; or a letter for the reason
below. CPU time, in turns: other programs on the machine change it less than they change wall time.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

from studies.compress_models import MODELS
from tsbench import compression, variants
from tsbench.compression import Unavailable
from tsbench.threads import one_thread
from tsbench.variants.classifier import of_classifier

TECHNIQUES = (
    "bf16",
    "int8_dynamic",
    "int8_static",
    "int8_qat",
    "l1_unstructured",
    "global_magnitude",
    "l1_structured",
    "depth",
    "compiled",
    "onnx_fp32",
    "onnx_int8_dynamic",
    "onnx_int8_static",
    "openvino_fp32",
    "openvino_bf16",
    "openvino_int8",
)
SECONDS = 2.0  # for a cell's comparison, of CPU time
ROUND_S = 0.02  # of CPU time for each side in a round: a clock's tick and a cold cache are small
# Cells that make no sense: what is left out, and why. The others have to work or give a reason.
NO_SENSE = {
    ("int8_dynamic", "FCN"): "eager int8 quantizes nn.Linear only",
    ("int8_dynamic", "2-D CNN"): "eager int8 quantizes nn.Linear only",
    **{("depth", name): "a model without a stack of layers" for name in ("FCN", "2-D CNN", "MLP")},
    ("onnx_fp32", "scikit-learn"): "the baseline",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--techniques", nargs="+", default=list(TECHNIQUES))
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--json", type=Path, default=Path("compress-table.json"))
    parser.add_argument("--from", dest="saved", type=Path, help="print saved cells")
    options = parser.parse_args()
    if options.saved:
        print(table(json.loads(options.saved.read_text())))
        return
    cells = json.loads(options.json.read_text()) if options.json.is_file() else {}
    for model in options.models:
        missing = [
            t for t in options.techniques if sensible(t, model) and f"{t}|{model}" not in cells
        ]
        if missing:
            add_cells(model, missing, options.seconds, cells, options.json)
    print(table(cells))


def sensible(technique: str, model: str) -> bool:
    """Whether the technique could apply to such a model at all."""
    if (technique, model) in NO_SENSE:
        return False
    return model != "scikit-learn" or bool(variants.get(technique).of_files)


def add_cells(
    model: str, techniques: list[str], seconds: float, cells: dict[str, Any], path: Path
) -> None:
    """Builds and measures; saves after each cell, because a build may take a minute."""
    try:
        example = MODELS[model]()
    except ImportError as error:
        print(f"{model}: left out: {error}", flush=True)
        return
    if example.classifier:
        source = of_classifier(*example.classifier, len(example.batches[0]))
    else:
        source = compression.source_of(
            example.model, example.batches[0], example.batches, example.retrain
        )
    for name in techniques:
        (result,) = compression.compress_source(source, [name]).values()
        if isinstance(result, Unavailable):
            cells[f"{name}|{model}"] = {"reason": result.reason}
        else:
            with one_thread(), torch.inference_mode():
                speedup = cpu_ratio(source.reference, result.call, source.inputs, seconds)
            cells[f"{name}|{model}"] = {
                "speedup": speedup,
                "agreement": result.agreement,
                "changed": result.changed,
                "build_seconds": result.build_seconds,
                "kib": (result.size_bytes or 0) / 1024,
            }
        print(f"{model}: {name}: {cells[f'{name}|{model}']}", flush=True)
        path.write_text(json.dumps(cells, indent=1))


def cpu_ratio(
    baseline: Callable[..., Any], candidate: Callable[..., Any], inputs: Any, seconds: float
) -> float:
    """The median over rounds of the baseline's CPU time by the candidate's, all threads."""

    def per_call(call: Callable[..., Any], calls: int) -> float:
        started_s = time.process_time()
        for _ in range(calls):
            call(*inputs)
        return (time.process_time() - started_s) / calls

    counts = []
    for call in (baseline, candidate):
        per_call(call, 3)  # warms up
        counts.append(max(1, round(ROUND_S / max(per_call(call, 3), 1e-6))))
    ratios = []
    ends_s = time.process_time() + seconds
    while time.process_time() < ends_s or not ratios:
        ratios.append(per_call(baseline, counts[0]) / per_call(candidate, counts[1]))
    return median(ratios)


def table(cells: dict[str, Any]) -> str:
    """Markdown: techniques by models, and the reasons."""
    lines = [
        "| technique | " + " | ".join(MODELS) + " |",
        "|---|" + "---|" * len(MODELS),
    ]
    reasons: dict[str, str] = {}
    worked = asked = 0
    for technique in TECHNIQUES:
        row = []
        for model in MODELS:
            cell = cells.get(f"{technique}|{model}")
            if not sensible(technique, model):
                row.append("–")
            elif cell is None:
                row.append("?")
            elif "reason" in cell:
                asked += 1
                letter = reasons.setdefault(cell["reason"], chr(ord("a") + len(reasons)))
                row.append(f"({letter})")
            else:
                asked += 1
                worked += 1
                row.append(f"{cell['speedup']:.2f}, {cell['agreement']:.2f}{_share(cell)}")
        lines.append(f"| `{technique}` | " + " | ".join(row) + " |")
    lines += ["", f"{worked} of {asked} cells work."]
    lines += [f"({letter}) {reason}" for reason, letter in reasons.items()]
    return "\n".join(lines)


def _share(cell: dict[str, Any]) -> str:
    changed = cell["changed"].partition(" of ")[0]
    return f", {changed}" if changed else ""


if __name__ == "__main__":
    main()
