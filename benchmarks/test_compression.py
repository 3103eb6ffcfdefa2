"""Each variant of each model, compared with stock eager fp32: joules, time and accuracy.

    pytest benchmarks --energy                  # the core set
    pytest benchmarks --energy --tsbench-full   # every installed variant

thresholds.toml has the ratio, by the kind of CPU, and the accuracy that each must reach on the
suite's own datasets. For a technique that is slower than fp32, the ratio is below 1.

    pytest benchmarks --energy --tsbench-dataset Computers --tsbench-config t1 --tsbench-data FOLDER

runs the same on any dataset of the UCR archive, and trains missing models. Without thresholds, a
ratio is shown and not gated: a technique that is slower there is a result, not a failure. The
agreement with fp32 then has a floor, unless the variant is a model that was trained again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from benchmarks import thresholds
from tsbench import variants
from tsbench.compression.agreement import FLOOR as AGREEMENT_FLOOR

if TYPE_CHECKING:
    from benchmarks.conftest import Workshop
    from pytest_energy.plugin.fixtures import EnergyFixture

SUITE = thresholds.read()


def models_of(options: pytest.Config) -> tuple[tuple[str, str], ...]:
    """The datasets and configs to run: those with thresholds, or those of the options."""
    dataset, config = options.getoption("--tsbench-dataset"), options.getoption("--tsbench-config")
    own = {name.lower(): name for name, _ in SUITE.models}  # names ignore case, as in tsbench
    chosen = tuple(own.values()) if dataset is None else (own.get(dataset.lower(), dataset),)
    return tuple((name, (config or "t1").lower()) for name in chosen)


def variants_of(options: pytest.Config) -> tuple[str, ...]:
    """The variants to run: the core set, or with --tsbench-full all that are installed."""
    installed = variants.names()
    return (
        installed
        if options.getoption("--tsbench-full")
        else tuple(name for name in installed if name in SUITE.core)
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    params = []
    for dataset, config in models_of(metafunc.config):
        for variant in variants_of(metafunc.config):
            for batch_cases in SUITE.batches:
                expected = SUITE.expected.get((dataset, config, variant, batch_cases))
                group = f"{dataset} {config}, batch of {batch_cases}"
                marks = [pytest.mark.benchmark(group=group)]
                if expected is None or (expected.ratios and expected.ratio is None):
                    marks.append(pytest.mark.gps_up())  # shown, not gated
                elif expected.ratio is not None:
                    marks.append(pytest.mark.gps_up(speedup=expected.ratio, greenup=expected.ratio))
                params.append(
                    pytest.param(
                        dataset,
                        config,
                        variant,
                        batch_cases,
                        marks=marks,
                        id=f"{dataset}-{config}-{variant}-batch{batch_cases}",
                    )
                )
    metafunc.parametrize(("dataset", "config", "variant", "batch_cases"), params)


def test_compression(
    energy: EnergyFixture,
    workshop: Workshop,
    dataset: str,
    config: str,
    variant: str,
    batch_cases: int,
) -> None:
    baseline = workshop.variant(dataset, config, "fp32", batch_cases)
    if variant == "fp32":
        # The model and a copy of it: an A/A control of the measuring.
        candidate = workshop.another_fp32(dataset, config, batch_cases)
    else:
        candidate = workshop.variant(dataset, config, variant, batch_cases)
    x = workshop.batch(dataset, batch_cases)
    with torch.inference_mode():
        energy.versus(baseline, candidate, x)
    # After it: a worker that counts ends there, and need not classify the test set under valgrind.
    accuracy, agreement = workshop.quality(dataset, config, variant, batch_cases)
    energy.items(batch_cases)
    expected = SUITE.expected.get((dataset, config, variant, batch_cases))
    energy.quality("accuracy", accuracy, floor=None if expected is None else expected.accuracy)
    floor = AGREEMENT_FLOOR if expected is None and variants.get(variant).approximates else None
    energy.quality("agreement", agreement, floor=floor)
