"""How many times as fast one config is as T1: both stock fp32, or the other one as ONNX.

    python -m studies.config_speed RefrigerationDevices t1_half --onnx
    python -m studies.config_speed PLAID t2

One thread, in turns. A ratio below 1: the other one is slower.
"""

from __future__ import annotations

import argparse

import torch

import pytest_energy
from tsbench.data import datasets
from tsbench.threads import one_thread
from tsbench.training.load_or_train import trained_model
from tsbench.training.recipes import prepare_by_plan
from tsbench.variants import onnx_runtime
from tsbench.variants.classifier import of_classifier


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset")
    parser.add_argument("config")
    parser.add_argument("--onnx", action="store_true", help="the other config by ONNX Runtime")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 32])
    options = parser.parse_args()
    data = prepare_by_plan(datasets.load(options.dataset))
    baseline = trained_model(data, "t1").eval()
    other = trained_model(data, options.config).eval()
    with one_thread(), torch.inference_mode():
        for batch_cases in options.batch:
            call = other
            if options.onnx:
                call = onnx_runtime.make_fp32(of_classifier(other, data, batch_cases)).call
            compared = pytest_energy.versus(baseline, call, data.test_x[:batch_cases])
            print(
                f"{options.dataset}, batch {batch_cases}: {options.config} is {compared.speedup} "
                "times as fast as t1",
                flush=True,
            )


if __name__ == "__main__":
    main()
