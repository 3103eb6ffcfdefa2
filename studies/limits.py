"""Measure how far each variant is from this CPU's limit (docs/limits.md).

    python -m studies.limits PLAID t1 --json limits.json     measure, save, print
    python -m studies.limits --from a.json b.json c.json     print the medians of saved runs

The lower bound of a call is the longer of two times. One is the time of its multiply-adds at the
measured peak of their data types. The other is the time to read its weights at the bandwidth of
the cache. The bound excludes norms, activations, softmax and the operators' own overhead, so no
variant reaches it. The distance is the cost of those parts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from studies.flops import Flops, flops
from studies.peak import Peak
from tsbench import variants
from tsbench.errors import VariantUnavailable
from tsbench.threads import one_thread

if TYPE_CHECKING:
    from torch import Tensor

    from tsbench.data.prepared import Prepared
    from tsbench.model import Classifier
    from tsbench.variants import Classify

BYTES = {"fp32": 4, "bf16": 2, "int8": 1}
BATCHES = (1, 32)
ROUNDS = 15  # each round times every variant once, so a noisy minute affects all of them
MIN_TIMED_NS = 30_000_000  # per variant and round

_ALL_FP32 = dict.fromkeys(Flops.__dataclass_fields__, "fp32")
_LINEARS_INT8 = _ALL_FP32 | {"projections": "int8", "feed_forward": "int8", "head": "int8"}
# The data type of each technique's products; fp32 if the technique is missing here. PT2E's
# quantizer for x86 keeps one-dimensional convolutions and attention's products in fp32.
DATA_TYPES = {
    "bf16": dict.fromkeys(_ALL_FP32, "bf16"),
    "openvino_bf16": dict.fromkeys(_ALL_FP32, "bf16"),
    "student_openvino_bf16": dict.fromkeys(_ALL_FP32, "bf16"),
    **dict.fromkeys(
        (
            "int8_dynamic",
            "int8_static",
            "int8_qat",
            "l1_structured_int8",
            "depth_int8",
            "l1_int8_static",
        ),
        _LINEARS_INT8,
    ),
    **dict.fromkeys(("onnx_int8_dynamic", "onnx_int8_static"), _LINEARS_INT8),
    # NNCF quantizes some of attention's products; the bound allows for all.
    "openvino_int8": _LINEARS_INT8 | {"products": "int8"},
}
COMPACT = {"student", "student_openvino_bf16"}  # these run the dataset's compact model
# Techniques that return no torch model, and the technique that builds a model of the same shape.
SHAPED_LIKE = {"l1_structured_int8": "l1_structured", "depth_int8": "depth"}


@dataclass(frozen=True)
class Limit:
    """One variant at one batch size: its operations, their lower bound, and the measured time."""

    variant: str
    batch_cases: int
    flops: dict[str, int]  # by part, of one call
    bound_ms: float
    cpu_ms: float  # of one call, median over the rounds
    speedup: float  # fp32's CPU time divided by this variant's, median over the rounds

    @property
    def times_bound(self) -> float:
        return self.cpu_ms / self.bound_ms


def bound_ms(work: Flops, n_weights: int, data_types: dict[str, str], peak: Peak) -> float:
    """The least milliseconds of one call, given the data type of each part."""
    computing = sum(n / peak.operations_per_s[data_types[part]] for part, n in work.parts().items())
    smallest = min(BYTES[data_type] for data_type in data_types.values())
    return 1000 * max(computing, n_weights * smallest / peak.bytes_per_s["cache"])


def shape_of(name: str, model: Classifier, data: Prepared) -> Any:
    """A model with the variant's layers, heads and channels; its weights may differ."""
    from tsbench.training.load_or_train import trained_model
    from tsbench.training.recipes import plan_of

    technique, at, settings = name.partition("@")
    if technique in COMPACT:
        return trained_model(data, plan_of(data.name).compact)
    variant = variants.get(SHAPED_LIKE.get(technique, technique) + at + settings)
    if "removed" not in variant.settings:
        return model  # no other technique changes a shape
    untrained = replace(variant, settings={**variant.settings, "tuned": False})
    return untrained.build(model, data, 1)


def measure(
    model: Classifier,
    data: Prepared,
    names: Sequence[str],
    peak: Peak,
    batches: Sequence[int] = BATCHES,
    rounds: int = ROUNDS,
) -> list[Limit]:
    """The limit of fp32 and of each variant at each batch size, with one torch thread."""
    from tsbench.model import parameter_count

    names = ("fp32", *(name for name in names if name != "fp32"))
    shapes = {name: shape_of(name, model, data) for name in names}
    limits = []
    with one_thread():
        for batch_cases in batches:
            x = data.test_x[:batch_cases].contiguous()
            calls = {name: variants.get(name).build(model, data, batch_cases) for name in names}
            timed = interleaved_ms(calls, x, rounds)
            for name in names:
                work = flops(shapes[name], batch_cases)
                data_types = DATA_TYPES.get(name.partition("@")[0], _ALL_FP32)
                limits.append(
                    Limit(
                        name,
                        batch_cases,
                        work.parts(),
                        bound_ms(work, parameter_count(shapes[name]), data_types, peak),
                        statistics.median(timed[name]),
                        statistics.median(
                            b / own for b, own in zip(timed["fp32"], timed[name], strict=True)
                        ),
                    )
                )
    return limits


def interleaved_ms(calls: dict[str, Classify], x: Tensor, rounds: int) -> dict[str, list[float]]:
    """CPU milliseconds per call, one value per round. Each round times all callables in turn."""
    import torch

    timed: dict[str, list[float]] = {name: [] for name in calls}
    with torch.inference_mode():
        repeats = {
            name: max(MIN_TIMED_NS // _timed_ns(call, x, 3), 1) for name, call in calls.items()
        }
        for _ in range(rounds):
            for name, call in calls.items():
                timed[name].append(_timed_ns(call, x, repeats[name]) / 1e6)
    return timed


def _timed_ns(call: Classify, x: Tensor, repeats: int) -> int:
    """CPU nanoseconds per call, after one uncounted call."""
    call(x)
    started = time.process_time_ns()
    for _ in range(repeats):
        call(x)
    return max((time.process_time_ns() - started) // repeats, 1)


def median_of(runs: Sequence[tuple[Peak, Sequence[Limit]]]) -> tuple[Peak, list[Limit]]:
    """Combine several runs of the same variants: the highest peaks, and medians of the rest."""

    def highest(rates: Sequence[dict[str, float]]) -> dict[str, float]:
        return {name: max(each[name] for each in rates) for name in rates[0]}

    def median(same: Sequence[Limit], field: str) -> float:
        return statistics.median(getattr(limit, field) for limit in same)

    peaks = [peak for peak, _ in runs]
    core = Peak(
        highest([peak.operations_per_s for peak in peaks]),
        highest([peak.bytes_per_s for peak in peaks]),
    )
    limits = []
    for same in zip(*(limits for _, limits in runs), strict=True):
        if len({(limit.variant, limit.batch_cases, str(limit.flops)) for limit in same}) > 1:
            raise ValueError(
                f"the runs differ in models or variants: {same[0].variant} in one of them"
            )
        # The highest peaks give the lowest bound.
        bound = min(limit.bound_ms for limit in same)
        limits.append(
            replace(
                same[0],
                bound_ms=bound,
                cpu_ms=median(same, "cpu_ms"),
                speedup=median(same, "speedup"),
            )
        )
    return core, limits


def report(title: str, peak: Peak, limits: Sequence[Limit]) -> str:
    """The three tables, as Markdown."""
    whole = next(limit for limit in limits if limit.variant == "fp32")
    one_case = {part: n // whole.batch_cases for part, n in whole.flops.items()}
    total = sum(one_case.values())
    lines = [f"## {title}", "", "| part | MFLOP per case | share |", "|---|---|---|"]
    lines += [
        f"| {part.replace('_', '-')} | {n / 1e6:.2f} | {n / total:.0%} |"
        for part, n in one_case.items()
    ]
    lines += [f"| all | {total / 1e6:.2f} | 100% |", "", "| one core, at most | |", "|---|---|"]
    lines += [
        f"| {name} | {rate / 1e9:.0f} G operations/s |"
        for name, rate in peak.operations_per_s.items()
    ]
    lines += [
        f"| copying in {where} | {rate / 1e9:.0f} GB/s |"
        for where, rate in peak.bytes_per_s.items()
    ]
    lines += [
        "",
        "| variant | batch | MFLOP | bound, ms | CPU ms | times bound | speedup |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| `{limit.variant}` | {limit.batch_cases} | {sum(limit.flops.values()) / 1e6:.1f} "
        f"| {limit.bound_ms:.3f} | {limit.cpu_ms:.2f} | {limit.times_bound:.1f} "
        f"| {limit.speedup:.2f} |"
        for limit in limits
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and save, or print saved runs."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.limits",
        description="Lower bounds, and the distance of variants from them.",
    )
    parser.add_argument("dataset", nargs="?", default="PLAID")
    parser.add_argument(
        "config", nargs="?", default="t1", help="a configuration with a model in tsbench"
    )
    parser.add_argument(
        "--variant",
        action="append",
        metavar="NAME",
        help="measure only fp32 and this variant; may be repeated",
    )
    parser.add_argument(
        "--rounds", type=int, default=ROUNDS, help=f"rounds of timing (default {ROUNDS})"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="save the results in this file")
    parser.add_argument(
        "--from",
        type=Path,
        nargs="+",
        metavar="FILE",
        dest="saved",
        help="print the medians of saved files and measure nothing",
    )
    options = parser.parse_args(arguments)
    if options.saved is None:
        runs = [
            _figures(options.dataset, options.config, options.variant, options.rounds, parser.error)
        ]
        if options.json is not None:
            options.json.write_text(json.dumps(runs[0], indent=1) + "\n", encoding="utf8")
    else:
        runs = [json.loads(path.read_text(encoding="utf8")) for path in options.saved]
    parsed = [(Peak(**run["peak"]), [Limit(**limit) for limit in run["limits"]]) for run in runs]
    print(report(runs[0]["title"], *median_of(parsed)))
    return 0


def _figures(
    dataset: str,
    config: str,
    chosen: Sequence[str] | None,
    rounds: int,
    refuse: Callable[[str], NoReturn],
) -> dict[str, Any]:
    from studies import peak
    from tsbench import checkpoints
    from tsbench.data import datasets
    from tsbench.training.recipes import prepare_by_plan

    path = checkpoints.shipped(dataset, config)
    if path is None:
        refuse(
            f"tsbench ships no model of {dataset} {config}; it ships: "
            + ", ".join(each.stem for each in checkpoints.list_shipped())
        )
    loaded = datasets.load(dataset)
    data = prepare_by_plan(loaded)
    core = peak.measure()
    names = chosen or [name for name in variants.names() if _is_here(name)]
    limits = measure(checkpoints.load(path).model, data, names, core, rounds=rounds)
    return {
        "title": f"{data.name} {config}",
        "peak": asdict(core),
        "limits": [asdict(limit) for limit in limits],
    }


def _is_here(name: str) -> bool:
    try:
        variants.get(name).check()
    except VariantUnavailable as error:
        print(f"left out: {error}", file=sys.stderr)
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
