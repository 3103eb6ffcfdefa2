"""Variants of one model against stock fp32, measured in turns in this process, outside pytest.

    tsbench measure plaid t1 --variant onnx_int8_dynamic --batch 1 32

`versus_many` of pytest_energy does the measuring: the baseline and all variants of one batch size share
randomised blocks, so what the machine does meets all of them alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table

from tsbench import variants
from tsbench.threads import one_thread

if TYPE_CHECKING:
    from pytest_energy import Comparison, Meter
    from pytest_energy.model import Interval, MeterInfo
    from tsbench.data.prepared import Prepared
    from tsbench.model import Classifier

BASELINE = "fp32"
# To be raised with whatever changes what is measured: a sweep then measures again.
MEASURING_VERSION = 1
RATIOS = ("speedup", "greenup", "powerup")


@dataclass(frozen=True)
class Row:
    """One variant at one batch size; joules and seconds are per inference, that is per case."""

    variant: str
    batch_cases: int
    comparison: Comparison
    joules: float | None
    """Median over the candidate's windows, gross. None where the counter did not move."""
    seconds: float
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
            "joules_per_inference": self.joules,
            "seconds_per_inference": self.seconds,
            "provenance": self.provenance,
            "accuracy": self.accuracy,
            "agreement": self.agreement,
        }


def find_model(
    dataset: str, config: str, folder: Path | None = None
) -> tuple[Classifier, Prepared]:
    """The shipped model where it was trained on this very data, else one trained now or cached."""
    from tsbench.data import datasets
    from tsbench.data.prepared import prepare
    from tsbench.training.load_or_train import trained_model
    from tsbench.training.recipes import plan_for

    loaded = datasets.load(dataset, folder)
    data = prepare(loaded, plan_for(loaded).timepoints)
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
    """A row for each variant and batch size. `on_step` is told what comes next.

    Raises what building a variant raises, before anything is measured at its batch size.
    """
    import torch

    from pytest_energy import Plan, versus_many
    from pytest_energy.meters import info
    from tsbench.training.evaluate import accuracy, agreement, batched_logits

    known = info(meter)
    expected = batched_logits(model, data.test_x)
    rows = []
    with one_thread():
        for batch_cases in batches:
            baseline = variants.get(BASELINE).build(model, data, batch_cases)
            candidates = {}
            for name in names:
                on_step(f"building {name}, batch {batch_cases}")
                candidates[name] = variants.get(name).build(model, data, batch_cases)
            logits = {
                name: batched_logits(classify, data.test_x, batch_cases)
                for name, classify in candidates.items()
            }
            x = data.test_x[torch.arange(batch_cases) % len(data.test_x)]
            on_step(f"measuring batch {batch_cases}, {max_time_s * len(names):.0f} s")
            with torch.inference_mode():
                compared = versus_many(
                    baseline, candidates, x, meter=meter, plan=Plan(max_time_s=max_time_s)
                )
            for name in names:
                joules, seconds = _per_inference(compared[name], known, batch_cases)
                rows.append(
                    Row(
                        name,
                        batch_cases,
                        compared[name],
                        joules,
                        seconds,
                        str(known.provenance),
                        accuracy(logits[name], data.test_y),
                        agreement(logits[name], expected),
                    )
                )
    return rows


def table(rows: Sequence[Row], title: str) -> Table:
    """Fits 80 columns: beneath each ratio its interval, beneath the joules their provenance."""
    made = Table(
        title=title,
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=0,
        pad_edge=False,
        show_edge=False,
        collapse_padding=True,
    )
    made.add_column("variant\nbatch", overflow="fold")
    for name in RATIOS:
        made.add_column(name.capitalize(), no_wrap=True)
    made.add_column("J per\ninference", no_wrap=True)
    made.add_column("accuracy\nagrees", no_wrap=True)
    for place, row in enumerate(rows):
        made.add_row(
            f"{row.variant}\nbatch {row.batch_cases}",
            *(_ratio(getattr(row.comparison, name)) for name in RATIOS),
            f"{joules_text(row.joules)}\n{row.provenance}",
            f"{row.accuracy:.3f}\n{row.agreement:.3f}",
            end_section=row is rows[-1] or row.batch_cases != rows[place + 1].batch_cases,
        )
    return made


def _per_inference(
    comparison: Comparison, known: MeterInfo, batch_cases: int
) -> tuple[float | None, float]:
    from pytest_energy.model import Measurement
    from pytest_energy.stats.per_call import figures

    windows = tuple(
        window
        for block in comparison.blocks
        for letter, window in zip(block.order, block.windows, strict=True)
        if letter == "B"
    )
    seen = figures(Measurement("candidate", known, windows))
    return (
        None if seen.joules is None else seen.joules.value / batch_cases
    ), seen.seconds.value / batch_cases


def joules_text(joules: float | None) -> str:
    """With the unit that suits them."""
    from pytest_energy.report.units import digits, scale_for

    if joules is None:
        return "not counted"
    factor, unit = scale_for([joules], "J")
    return f"{digits(joules * factor)} {unit}"


def _ratio(ratio: Interval | None) -> str:
    from pytest_energy.report.units import bounds

    return "not known" if ratio is None else f"{ratio.value:.2f}\n{bounds(ratio)}"


def _interval_json(ratio: Interval | None) -> dict[str, float | None] | None:
    import math

    if ratio is None:
        return None
    return {name: value if math.isfinite(value) else None for name, value in vars(ratio).items()}
