"""The same model against itself, timed once: how large a "saving" appears from nothing?

    python -m studies.once [--pairs 100] [--cases 1524] [--busy 1] [--plot FOLDER]

One pair times the original model over a test split, and then the original again, each once, as
the public code before arXiv:2502.16627 times an original and a compressed model. The saving is what
the second pass took less. Beside it stands pytest_energy's interval of the same pair of functions.
Time stands for energy, as in that code, whose joules are inferred from time.

The model is `t1_2024`, untrained: weights do not change its time. The data has the shape of
that code's test split: 1524 cases of 4 channels and 151 timepoints, in batches of 64. With `--busy
N`, N other processes run beside it in bursts. --plot requires matplotlib: pip install --group plot.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_energy.model import Comparison

N_CASES, BATCH_CASES = 1524, 64
SHAPE = {"in_channels": 4, "timepoints": 152, "n_classes": 9}  # 151, padded to whole patches
CLAIMED = 0.2914  # the paper's saving by static quantization
MAX_TIME_S = 20.0  # of the comparison in turns
BURST_S = (0.5, 2.0)  # a neighbour works and rests for these times, drawn anew each time
NEIGHBOUR = """
import random, time
while True:
    end = time.monotonic() + random.uniform({0}, {1})
    while time.monotonic() < end:
        pass
    time.sleep(random.uniform({0}, {1}))
"""


@dataclass(frozen=True)
class Once:
    """Savings of the same model against itself, and the comparison of the two in turns."""

    savings: tuple[float, ...]
    comparison: Comparison

    def lines(self) -> Iterator[str]:
        quartiles = statistics.quantiles(self.savings, n=4)
        speedup = self.comparison.speedup
        beyond = [sum(abs(s) > share for s in self.savings) for share in (0.03, 0.10, CLAIMED)]
        yield f"{len(self.savings)} pairs, each pass timed once, the same model in both:"
        yield (
            f"  'saving' from {min(self.savings):+.1%} to {max(self.savings):+.1%}, "
            f"quartiles {', '.join(f'{value:+.1%}' for value in quartiles)}"
        )
        yield (
            f"  beyond 3 %: {beyond[0]}, beyond 10 %: {beyond[1]}, "
            f"beyond the claimed {CLAIMED:.2%}: {beyond[2]} (either sign)"
        )
        bounds = "no interval yet: too few blocks"
        if speedup.low > 0:
            bounds = f"[{1 - 1 / speedup.low:+.2%}, {1 - 1 / speedup.high:+.2%}], 99 %"
        yield (
            f"in turns, {len(self.comparison.blocks)} blocks: saving {1 - 1 / speedup.value:+.2%} "
            f"{bounds}"
        )


def one_pass(n_cases: int = N_CASES) -> Callable[[], None]:
    """A function that classifies `n_cases` cases; by default as many as the test split has."""
    import torch

    from tsbench.model import CONFIGS, Classifier

    torch.manual_seed(0)
    model = Classifier(replace(CONFIGS["t1_2024"], **SHAPE)).eval()
    cases = torch.randn(n_cases, SHAPE["in_channels"], SHAPE["timepoints"])

    def classify() -> None:
        with torch.no_grad():
            for batch in cases.split(BATCH_CASES):
                model(batch)

    return classify


def timed(function: Callable[[], None]) -> float:
    """Seconds of one call."""
    began_s = time.perf_counter()
    function()
    return time.perf_counter() - began_s


def savings(function: Callable[[], None], n_pairs: int) -> tuple[float, ...]:
    """For each pair of calls, the share that the second took less than the first."""
    function()  # the first call of a model is slower, and that would be a saving too
    pairs = [(timed(function), timed(function)) for _ in range(n_pairs)]
    return tuple(1 - second / first for first, second in pairs)


def run(n_pairs: int, n_cases: int, n_busy: int) -> Once:
    """Both experiments, beside `n_busy` neighbours."""
    from pytest_energy import Plan, versus
    from tsbench.threads import one_thread

    function = one_pass(n_cases)
    with one_thread(), neighbours(n_busy):
        found = savings(function, n_pairs)
        return Once(found, versus(function, function, plan=Plan(max_time_s=MAX_TIME_S)))


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    """Busy processes that work in bursts."""
    program = NEIGHBOUR.format(*BURST_S)
    started = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(count)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def plot(found: Once, path: Path) -> None:
    """An SVG with a histogram of the savings and the interval in turns."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "tsbench"  # so that the same run gives the same file
    from matplotlib import pyplot

    speedup = found.comparison.speedup
    figure, axes = pyplot.subplots(figsize=(8, 3), layout="constrained")
    axes.hist([100 * s for s in found.savings], bins=40, color="C0", label="timed once each")
    axes.axvspan(
        100 * (1 - 1 / speedup.low), 100 * (1 - 1 / speedup.high), color="C2", alpha=0.6,
        label="in turns, 99 % interval",
    )  # fmt: skip
    axes.axvline(100 * CLAIMED, color="C3", linestyle="--", label="the paper's claim")
    axes.set(
        xlabel='"saving" of a model against itself, %', ylabel="pairs",
        title=f"{len(found.savings)} pairs of the same model",
    )  # fmt: skip
    axes.legend()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs both experiments and prints them."""
    parser = argparse.ArgumentParser(prog="python -m studies.once", description=__doc__)
    parser.add_argument("--pairs", type=int, default=100, metavar="N", help="default 100")
    parser.add_argument(
        "--cases", type=int, default=N_CASES, metavar="N", help=f"of one pass, default {N_CASES}"
    )
    parser.add_argument("--busy", type=int, default=0, metavar="N", help="neighbours, default 0")
    parser.add_argument("--plot", type=Path, metavar="FOLDER", help="write same-model.svg there")
    options = parser.parse_args(arguments)
    if options.pairs < 2:
        parser.error(f"--pairs must be at least 2, got {options.pairs}")
    found = run(options.pairs, options.cases, options.busy)
    for line in found.lines():
        print(line)
    if options.plot is not None:
        plot(found, options.plot / "same-model.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
