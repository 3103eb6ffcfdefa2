"""Variants of one model compared with stock fp32, in this process, without pytest.

    tsbench measure plaid t1 --variant onnx_int8_dynamic --batch 1 32

`pytest_energy.versus_many` measures: the baseline and all variants of one batch size share
randomised blocks, so disturbances of the machine affect all of them alike.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table

from pytest_energy import Comparison, Interval, Meter
from tsbench import variants
from tsbench.threads import one_thread

if TYPE_CHECKING:
    from torch import Tensor

    from tsbench.compression import Compressed
    from tsbench.data.prepared import Prepared
    from tsbench.model import Classifier
    from tsbench.variants import Classify

BASELINE = "fp32"
# Increase it when the measured code changes: a sweep then measures again.
MEASURING_VERSION = 1
RATIOS = ("speedup", "greenup", "powerup")
PREFIXES = ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))


@dataclass(frozen=True)
class Row:
    """One variant at one batch size. An inference is one case, not one call."""

    variant: str
    batch_cases: int
    comparison: Comparison
    joules_per_inference: float | None
    """Gross, median over the candidate's windows. None if the counter did not move."""
    seconds_per_inference: float
    provenance: str
    accuracy: float
    agreement: float

    def as_json(self) -> dict[str, object]:
        ratios = {name: _interval_json(getattr(self.comparison, name)) for name in RATIOS}
        return {
            "variant": self.variant,
            "batch": self.batch_cases,
            **ratios,
            "confidence": self.comparison.confidence,
            "blocks": len(self.comparison.blocks),
            "category": self.comparison.category,
            "joules_per_inference": self.joules_per_inference,
            "seconds_per_inference": self.seconds_per_inference,
            "provenance": self.provenance,
            "accuracy": self.accuracy,
            "agreement": self.agreement,
        }


def find_model(
    dataset: str, config: str, folder: Path | None = None
) -> tuple[Classifier, Prepared]:
    """A trained model of this dataset and config, and the dataset's arrays."""
    from tsbench.data import datasets
    from tsbench.training.load_or_train import trained_model
    from tsbench.training.recipes import prepare_by_plan

    loaded = datasets.load(dataset, folder)
    data = prepare_by_plan(loaded)
    return trained_model(data, config), data


def measure(
    model: Classifier,
    data: Prepared,
    names: Sequence[str],
    batches: Sequence[int],
    max_time_s: float,
    meter: Meter,
    on_step: Callable[[str], None] = lambda text: None,
) -> list[Row]:
    """A row for each variant and batch size. `on_step` is called with what happens next.

    All variants of a batch size are built before any is measured. Raises what building raises.
    """
    rows = []
    for batch_cases in batches:
        built = build(model, data, names, batch_cases, on_step)
        on_step(f"measuring batch {batch_cases}, {max_time_s * len(names):.0f} s")
        rows += measure_built(built, data, max_time_s, meter)
    return rows


@dataclass(frozen=True)
class BuiltModel:
    """One variant of a model, and its accuracy and agreement on the whole test split."""

    classify: Classify
    accuracy: float
    agreement: float


@dataclass(frozen=True)
class BuiltModels:
    """What `measure_built` compares, at one batch size."""

    batch_cases: int
    baseline: Classify
    candidates: Mapping[str, BuiltModel]


def build(
    model: Classifier,
    data: Prepared,
    names: Sequence[str],
    batch_cases: int,
    on_step: Callable[[str], None] = lambda text: None,
) -> BuiltModels:
    """Every variant of the model, and the baseline. Raises what building raises."""
    from tsbench.training.evaluate import accuracy, agreement, batched_logits

    with one_thread():
        expected = batched_logits(model, data.test_x)
        baseline = variants.get(BASELINE).build(model, data, batch_cases)
        candidates = {}
        for name in names:
            on_step(f"building {name}, batch {batch_cases}")
            classify = variants.get(name).build(model, data, batch_cases)
            logits = batched_logits(classify, data.test_x, batch_cases)
            candidates[name] = BuiltModel(
                classify, accuracy(logits, data.test_y), agreement(logits, expected)
            )
    return BuiltModels(batch_cases, baseline, candidates)


def measure_built(built: BuiltModels, data: Prepared, max_time_s: float, meter: Meter) -> list[Row]:
    """A row for each of the variants, measured in shared blocks."""
    import torch

    from pytest_energy import Plan, versus_many

    batch_cases = built.batch_cases
    x = data.test_x[torch.arange(batch_cases) % len(data.test_x)]
    with one_thread(), torch.inference_mode():
        compared = versus_many(
            built.baseline,
            {name: each.classify for name, each in built.candidates.items()},
            x,
            meter=meter,
            plan=Plan(max_time_s=max_time_s),
        )
    rows = []
    for name, each in built.candidates.items():
        joules, seconds = per_call(compared[name], meter)
        rows.append(
            Row(
                name,
                batch_cases,
                compared[name],
                None if joules is None else joules / batch_cases,
                seconds / batch_cases,
                str(meter.provenance),
                each.accuracy,
                each.agreement,
            )
        )
    return rows


@dataclass(frozen=True)
class CompressedRow:
    """One compressed model, compared with the unchanged one. Joules and seconds are per call."""

    compressed: Compressed
    comparison: Comparison
    joules: float | None
    """Gross, median over the candidate's windows. None if the counter did not move."""
    seconds: float
    provenance: str


def compare_compressed(
    reference: Callable[..., object],
    compressed: Mapping[str, Compressed],
    inputs: Sequence[Tensor],
    max_time_s: float,
    meter: Meter,
) -> list[CompressedRow]:
    """Each compressed model against the unchanged one, in shared blocks; the fastest first."""
    import torch

    from pytest_energy import Plan, versus_many

    with one_thread(), torch.inference_mode():
        compared = versus_many(
            reference,
            {name: each.call for name, each in compressed.items()},
            *inputs,
            meter=meter,
            plan=Plan(max_time_s=max_time_s),
        )
    rows = [
        CompressedRow(each, compared[name], *per_call(compared[name], meter), str(meter.provenance))
        for name, each in compressed.items()
    ]
    return sorted(rows, key=lambda row: row.seconds)


def winner(rows: Sequence[CompressedRow], floor: float) -> CompressedRow | None:
    """The one of the fewest joules that agrees and certainly saves time; None if none does.

    Where joules are estimated or not counted, the one of the fewest seconds: an estimate adds
    nothing to the timings.
    """
    good = [
        row
        for row in rows
        if row.compressed.agreement >= floor
        and row.comparison.speedup is not None
        and row.comparison.speedup.low > 1
    ]
    by_joules = all(row.provenance == "measured" and row.joules for row in good)
    return min(good, key=lambda row: (row.joules or 0) if by_joules else row.seconds, default=None)


def compressed_table(rows: Sequence[CompressedRow], title: str, floor: float) -> Table:
    """A table of 80 columns; an agreement below the floor is marked."""
    made = _empty_table(title)
    made.add_column("technique\nwhat was changed", overflow="fold")
    for heading in ("Speedup", "J per\ncall", "ms per\ncall", "KiB", "agrees"):
        made.add_column(heading, no_wrap=True)
    for row in rows:
        each = row.compressed
        size = "unknown" if each.size_bytes is None else f"{each.size_bytes / 1024:.0f}"
        low = "" if each.agreement >= floor else "\ntoo low"
        made.add_row(
            f"{each.name}\n{each.changed or 'same weights'}",
            _ratio_text(row.comparison.speedup),
            f"{joules_text(row.joules)}\n{row.provenance}",
            f"{1000 * row.seconds:.3g}",
            size,
            f"{each.agreement:.3f}{low}",
        )
    return made


def _empty_table(title: str) -> Table:
    return Table(
        title=title,
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=0,
        pad_edge=False,
        show_edge=False,
        collapse_padding=True,
    )


def per_call(comparison: Comparison, meter: Meter) -> tuple[float | None, float]:
    """Gross joules and seconds of one call of the candidate: medians over its windows."""
    windows = [
        window
        for block in comparison.blocks
        for letter, window in zip(block.order, block.windows, strict=True)
        if letter == "B"
    ]
    # A domain with a parent is already inside it.
    counted = [domain.name for domain in meter.domains if domain.parent is None]
    joules = [sum(window.joules[name] for name in counted) for window in windows]
    seconds = statistics.median(window.seconds / window.calls for window in windows)
    if min(joules) <= 0:
        return None, seconds
    per_window = (total / window.calls for total, window in zip(joules, windows, strict=True))
    return statistics.median(per_window), seconds


def table(rows: Sequence[Row], title: str) -> Table:
    """A table of 80 columns: below each ratio its interval, below the joules their provenance."""
    made = _empty_table(title)
    made.add_column("variant\nbatch", overflow="fold")
    for name in RATIOS:
        made.add_column(name.capitalize(), no_wrap=True)
    made.add_column("J per\ninference", no_wrap=True)
    made.add_column("accuracy\nagrees", no_wrap=True)
    for place, row in enumerate(rows):
        made.add_row(
            f"{row.variant}\nbatch {row.batch_cases}",
            *(_ratio_text(getattr(row.comparison, name)) for name in RATIOS),
            f"{joules_text(row.joules_per_inference)}\n{row.provenance}",
            f"{row.accuracy:.3f}\n{row.agreement:.3f}",
            end_section=row is rows[-1] or row.batch_cases != rows[place + 1].batch_cases,
        )
    return made


def joules_text(joules: float | None) -> str:
    """Three significant digits and a unit.

    >>> joules_text(0.01234), joules_text(1.5e-6), joules_text(None)
    ('12.3 mJ', '1.50 µJ', 'not counted')
    """
    if joules is None:
        return "not counted"
    size, prefix = next((p for p in PREFIXES if joules >= p[0]), PREFIXES[-1])
    value = joules / size
    digits = max(2 - math.floor(math.log10(value)), 0) if value > 0 else 0
    return f"{value:.{digits}f} {prefix}J"


def _ratio_text(ratio: Interval | None) -> str:
    if ratio is None:
        return "unknown"
    if not math.isfinite(ratio.high):
        return f"{ratio.value:.2f}\n[unknown]"
    return f"{ratio.value:.2f}\n[{ratio.low:.2f}, {ratio.high:.2f}]"


def _interval_json(ratio: Interval | None) -> dict[str, float | None] | None:
    if ratio is None:
        return None
    return {name: value if math.isfinite(value) else None for name, value in vars(ratio).items()}
