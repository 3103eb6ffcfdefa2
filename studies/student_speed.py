"""How much faster PLAID's student is than eager T1, by CPU time: three runs in one process.

    python -m studies.student_speed

In each run T1 and the student take turns. "as exported" has the exporter's own operators, "now"
those of tsbench/variants/_onnx_layers.py.
"""

from __future__ import annotations

import argparse
import platform
from statistics import median

import torch

from studies.compress_table import cpu_ratio
from tsbench.data import datasets
from tsbench.threads import one_thread
from tsbench.training.evaluate import accuracy, batched_logits
from tsbench.training.load_or_train import trained_model
from tsbench.training.recipes import prepare_by_plan
from tsbench.variants import _onnx_export, onnx_runtime
from tsbench.variants.classifier import of_classifier
from tsbench.variants.onnx_session import session
from tsbench.variants.student import compact_model

RUNS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--seconds", type=float, default=6.0, help="for each run")
    options = parser.parse_args()
    data = prepare_by_plan(datasets.load("PLAID"))
    baseline, student = trained_model(data, "t1").eval(), compact_model(data)
    print(
        f"{platform.processor() or platform.machine()}: {torch.backends.cpu.get_cpu_capability()}"
    )
    with one_thread(), torch.inference_mode():
        for batch_cases in options.batch:
            source = of_classifier(student, data, batch_cases)
            sides = {
                "as exported": session(_onnx_export.exported(source), source.output),
                "now": onnx_runtime.make_fp32(source).call,
            }
            inputs = (data.test_x[:batch_cases],)
            ratios: dict[str, list[float]] = {name: [] for name in sides}
            for _ in range(RUNS):
                for name, call in sides.items():
                    ratios[name].append(cpu_ratio(baseline, call, inputs, options.seconds))
            for name, call in sides.items():
                runs = ", ".join(f"{ratio:.2f}" for ratio in ratios[name])
                logits = batched_logits(call, data.test_x, batch_cases)
                print(
                    f"batch {batch_cases}, {name}: {median(ratios[name]):.2f} ({runs}), "
                    f"accuracy {accuracy(logits, data.test_y):.4f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
