"""Each way of compressing each model, against stock eager fp32: joules, time and accuracy.

    pytest benchmarks --energy

Thresholds are lower bounds with a margin, set from interleaved runs on one machine; where a
technique loses, its threshold says how much of a loss is expected, and the comment why.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch

BATCHES = (1, 32)
MODELS = (("PLAID", "t1"), ("RefrigerationDevices", "t1"))


@dataclass(frozen=True)
class Expected:
    """What a variant has to reach: `gps_up` keywords for each batch size, None for no gate."""

    by_batch: dict[int, dict[str, float] | None]
    floors: dict[str, float] = field(default_factory=dict)  # accuracy on the test split


EXPECTED = {}  # filled below


def _cases() -> list:
    params = []
    for dataset, config in MODELS:
        for variant, expected in EXPECTED.items():
            for batch_cases in BATCHES:
                marks = [pytest.mark.benchmark(group=f"{dataset} {config}")]
                thresholds = expected.by_batch[batch_cases]
                if thresholds is not None:
                    marks.append(pytest.mark.gps_up(**thresholds))
                params.append(
                    pytest.param(
                        dataset, config, variant, batch_cases, marks=marks,
                        id=f"{dataset}-{config}-{variant}-batch{batch_cases}",
                    )
                )
    return params


@pytest.mark.parametrize(("dataset", "config", "variant", "batch_cases"), _cases())
def test_compression(energy, workshop, dataset, config, variant, batch_cases):
    baseline = workshop.variant(dataset, config, "fp32", batch_cases)
    candidate = workshop.variant(dataset, config, variant, batch_cases)
    if variant == "fp32":
        # The same model against a copy of itself: an A/A control of the measuring.
        candidate = workshop.copy_of_fp32(dataset, config, batch_cases)
    accuracy, agreement = workshop.quality(dataset, config, variant, batch_cases)
    x = workshop.batch(dataset, batch_cases)
    with torch.inference_mode():
        energy.versus(baseline, candidate, x)
    energy.quality("accuracy", accuracy, floor=EXPECTED[variant].floors[dataset])
    energy.quality("agreement", agreement)
