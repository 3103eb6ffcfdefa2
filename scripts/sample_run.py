"""A made-up run for pictures: 16 rows of the suite, one slower and one that decides nothing.

python -m scripts.sample_run FOLDER             # run.json and comment.md, from a sensor
python -m scripts.sample_run FOLDER --estimate  # the same from an estimate
"""

from __future__ import annotations

import argparse
import random
from dataclasses import replace
from pathlib import Path

from pytest_energy.gate import Gate
from pytest_energy.model import Block, Comparison, Domain, MeterInfo, Quality, Result, Window
from pytest_energy.model import Measurement as Taken
from pytest_energy.report.markdown import live_markdown
from pytest_energy.report.view import RunView
from pytest_energy.runs import json_format
from pytest_energy.stats.gps_up import gps_up

RAPL = MeterInfo("powercap", "measured", (Domain("package-0"), Domain("dram-0")), 0.001, 6.1e-5)
ESTIMATE = MeterInfo(
    "estimate", "estimated", (Domain("cpu"),), 0.01, 1e-3, (0.5, 2.0), ("from CPU seconds",)
)
NAME = "benchmarks/test_compression.py::test_compression[PLAID-t1-{}-batch{}]"
FP32_SECONDS = {1: 1.1e-3, 32: 14e-3}
WATTS, BLOCKS, SD, ALPHA = 18.0, 24, 0.006, 0.01
WINDOW_SECONDS = 0.5
# Of each variant: speed, power, accuracy. The floor is the one of PLAID in thresholds.toml.
VARIANTS = {
    "int8_dynamic": (1.31, 0.97, 0.883),
    "int8_static": (2.62, 1.06, 0.874),
    "bf16": (1.005, 0.99, 0.888),
    "l1_unstructured": (1.001, 1.0, 0.881),
    "global_magnitude": (0.998, 1.0, 0.879),
    "l1_structured": (1.54, 1.01, 0.872),
    "onnx_fp32": (2.12, 1.03, 0.889),
    "student": (5.9, 0.93, 0.871),
}
FLOOR = 0.86
# What a comparison with another commit finds: the same but for one row.
SLOWER, UNDECIDED = ("l1_structured", 32), ("global_magnitude", 1)


def run(meter: MeterInfo) -> list[Result]:
    """Sixteen results against the commit before: one 23 % slower, one undecided."""
    dice = random.Random(16)
    return [_result(variant, batch, meter, dice) for variant in VARIANTS for batch in FP32_SECONDS]


def _result(variant: str, batch: int, meter: MeterInfo, dice: random.Random) -> Result:
    speed, power, accuracy = VARIANTS[variant]
    change, sd = 1.0, SD
    if (variant, batch) == SLOWER:
        change = 1.23
    elif (variant, batch) == UNDECIDED:
        sd = 0.09
    elif variant == "student":
        change = 0.88
    before = FP32_SECONDS[batch] / speed
    calls = round(WINDOW_SECONDS / before)

    def window(side: str) -> Window:
        seconds = before * (change if side == "B" else 1.0) * calls * dice.lognormvariate(0, sd)
        joules = seconds * WATTS * power * dice.lognormvariate(0, SD / 2)
        shares = {"package-0": 0.85, "dram-0": 0.15}
        if meter is ESTIMATE:
            shares = {"cpu": 1.0}
        return Window(seconds, {name: joules * share for name, share in shares.items()}, calls)

    orders = [dice.choice(("ABBA", "BAAB")) for _ in range(BLOCKS)]
    blocks = tuple(Block(order, tuple(window(side) for side in order)) for order in orders)
    ratios = gps_up(blocks, meter, ALPHA)
    compared = Comparison(
        *("5cfc5ef869506f4dbf8a6bcf5bb3b18070b29aa1", ratios.speedup, ratios.greenup),
        *(ratios.powerup, ratios.category, blocks, 1 - ALPHA, meter),
    )
    name = NAME.format(variant, batch)
    taken = Taken(name, meter, tuple(each.side("B") for each in blocks))
    quality = Quality("accuracy", accuracy, FLOOR)
    result = Result(name, taken, compared, (quality,), (), f"PLAID t1 batch{batch}")
    result = replace(result, items=batch)
    return replace(result, verdicts=Gate().judge(result))


def document(results: list[Result], meter: MeterInfo) -> str:
    """The run as saved."""
    benchmarks = []
    for result in results:
        seconds = result.measurement.windows[0].seconds_per_call
        stats = {"mean": seconds, "median": seconds, "stddev": 0.0, "ops": 1 / seconds}
        benchmarks.append(
            {
                "name": result.name.rpartition("::")[2],
                "fullname": result.name,
                "group": result.group,
                "params": None,
                "stats": {**stats, "rounds": len(result.measurement.windows)},
                "energy": json_format.result_to_json(result),
            }
        )
    saved = {
        "benchmarks": benchmarks,
        "commit_info": {"id": "c0ffee1230a1b2c3d4e5f60718293a4b5c6d7e8f", "dirty": False},
        "machine_info": {},
        "datetime": "2026-11-27T12:00:00",
        "version": "5.1.0",
        "energy": json_format.run_to_json(meter, ()),
    }
    return json_format.document_text(saved)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--estimate", action="store_true", help="joules are estimated")
    options = parser.parse_args()
    meter = ESTIMATE if options.estimate else RAPL
    results = run(meter)
    options.folder.mkdir(parents=True, exist_ok=True)
    view = RunView.of_results(results, meter, Gate().tolerance)
    (options.folder / "run.json").write_text(document(results, meter), encoding="utf8")
    (options.folder / "comment.md").write_text(live_markdown(view), encoding="utf8")


if __name__ == "__main__":
    main()
