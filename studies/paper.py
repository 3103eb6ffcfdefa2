"""Compare the paper's claims with a saved run of the suite, and plot accuracy against energy.

    python -m studies.paper RUN.json                   # the tables of docs/paper.md
    python -m studies.paper RUN.json --plot FOLDER     # and docs/pareto-*.svg

RUN.json is a file that `make bench` or `make bench-full` saves in `.benchmarks/`. The claims are
those of arXiv:2502.16627's abstract. --plot requires matplotlib: pip install --group plot.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsbench.errors import TsbenchError

if TYPE_CHECKING:
    from pytest_energy.model import Interval, Result

BASELINE = "fp32"
ID = re.compile(r"\[(?P<dataset>.+)-(?P<config>[^-]+)-(?P<variant>[^-]+)-batch(?P<batch>\d+)\]$")


# Names of points in a plot: font size, line height and letter width, in points.
NAME_POINTS, LINE_POINTS, LETTER_POINTS = 8, 10, 4.6


@dataclass(frozen=True)
class Claim:
    """A claim of the paper about a method, the claimed ratio, and the method's variants."""

    method: str
    claimed: str
    metric: str
    ratio: float
    variants: tuple[str, ...]


CLAIMS = (
    Claim(
        "static int8 quantization",
        "energy -29.14 %",
        "greenup",
        1 / (1 - 0.2914),
        ("int8_static", "int8_qat"),
    ),
    Claim(
        "L1 pruning",
        "1.63 times as fast, energy -37 %",
        "speedup",
        1.63,
        ("l1_unstructured", "l1_structured"),
    ),
    Claim(
        "both together",
        "energy up to -45.7 %",
        "greenup",
        1 / (1 - 0.457),
        ("l1_int8_static", "l1_structured_int8"),
    ),
)


CLAIM_HEADINGS = (
    "method",
    "the paper",
    "data",
    "variant",
    "batch",
    "Speedup",
    "Greenup",
    "accuracy, less fp32's",
    "the claim",
)


@dataclass(frozen=True)
class Measured:
    """One benchmark of the suite, of a saved run."""

    dataset: str
    config: str
    variant: str
    batch_cases: int
    speedup: Interval
    greenup: Interval | None
    accuracy: float
    joules: float | None
    """The candidate's median per case, over its windows."""
    provenance: str


def read(path: Path) -> list[Measured]:
    """The suite's benchmarks in a saved run. Raises TsbenchError if it has none."""
    from pytest_energy.runs.json_format import read_run

    found = [
        measured for result in read_run(path).results if (measured := _measured(result)) is not None
    ]
    if not found:
        raise TsbenchError(f"{path}: has no benchmark of the compression suite")
    return found


def claims_table(rows: Sequence[Measured]) -> str:
    """Markdown: each claim beside the measured ratio at each batch size."""
    lines = [
        f"| {' | '.join(CLAIM_HEADINGS)} |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    fp32 = {
        (row.dataset, row.config, row.batch_cases): row.accuracy
        for row in rows
        if row.variant == BASELINE
    }
    for claim in CLAIMS:
        for row in rows:
            if row.variant not in claim.variants:
                continue
            before = fp32.get((row.dataset, row.config, row.batch_cases))
            lost = "" if before is None else f" ({100 * (row.accuracy - before):+.1f} points)"
            lines.append(
                f"| {claim.method} | {claim.claimed} | {row.dataset} {row.config} "
                f"| `{row.variant}` | {row.batch_cases} "
                f"| {_shown(row.speedup)} | {_shown(row.greenup)} "
                f"| {row.accuracy:.3f}{lost} | {_verdict(claim, row)} |"
            )
    return "\n".join(lines)


def all_table(rows: Sequence[Measured]) -> str:
    """Markdown: every variant against fp32."""
    lines = [
        "| data | batch | variant | Speedup | Greenup | accuracy | J a case | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted(
        rows, key=lambda row: (row.dataset, row.config, row.batch_cases, -row.speedup.value)
    ):
        joules = "not counted" if row.joules is None else f"{row.joules:.3g} {row.provenance}"
        front = "on the front" if row in pareto_front(_alike(rows, row)) else ""
        lines.append(
            f"| {row.dataset} {row.config} | {row.batch_cases} | `{row.variant}` "
            f"| {_shown(row.speedup)} | {_shown(row.greenup)} | "
            f"{row.accuracy:.3f} | {joules} | {front} |"
        )
    return "\n".join(lines)


def pareto_front(rows: Iterable[Measured]) -> list[Measured]:
    """The rows that no other beats in both accuracy and joules, cheapest first."""
    front: list[Measured] = []
    for row in sorted(
        (row for row in rows if row.joules is not None), key=lambda row: (row.joules, -row.accuracy)
    ):
        if not front or row.accuracy > front[-1].accuracy:
            front.append(row)
    return front


def plot(rows: Sequence[Measured], path: Path) -> None:
    """An SVG of accuracy against joules per case, with the Pareto front."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "tsbench"  # so that the same run gives the same file
    from matplotlib import pyplot

    shown = [row for row in rows if row.joules is not None]
    front = pareto_front(shown)
    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    axes.step(
        [row.joules or 0.0 for row in front],
        [row.accuracy for row in front],
        where="post",
        color="0.6",
        label="Pareto front",
    )
    axes.scatter(
        [row.joules or 0.0 for row in shown],
        [row.accuracy for row in shown],
        color=["C2" if row in front else "C0" for row in shown],
    )
    first = shown[0]
    axes.set(
        xscale="log",
        xlabel=f"joules per case, {first.provenance}",
        ylabel="accuracy on the test split",
        title=f"{first.dataset} {first.config}, batch {first.batch_cases}",
    )
    axes.legend(loc="lower left")
    _name_points(axes, shown)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _name_points(axes: Any, rows: Sequence[Measured]) -> None:
    """Write each point's variant beside it, or above or below it where names would overlap."""
    axes.margins(x=0.2)  # room for names beside the outermost points
    axes.figure.canvas.draw()  # fixes the points' positions
    points_per_pixel = 72 / axes.figure.dpi
    low, high = (y * points_per_pixel for y in (axes.bbox.y0, axes.bbox.y1))
    heights = sorted(range(-150, 151, LINE_POINTS), key=abs)
    taken: list[tuple[float, float, float]] = []  # left, right and middle of each name, in points
    for row in sorted(rows, key=lambda row: row.joules or 0.0):
        x, y = axes.transData.transform((row.joules, row.accuracy)) * points_per_pixel
        left, right = x + 6, x + 6 + LETTER_POINTS * len(row.variant)

        def free(height: float, left: float = left, right: float = right, y: float = y) -> bool:
            middle = y + 4 + height
            apart = all(
                right < l or left > r or abs(middle - m) >= LINE_POINTS for l, r, m in taken
            )
            return apart and low + LINE_POINTS < middle < high - LINE_POINTS

        height = next(filter(free, heights), 0)
        taken.append((left, right, y + 4 + height))
        axes.annotate(
            row.variant,
            (row.joules, row.accuracy),
            xytext=(6, 4 + height),
            textcoords="offset points",
            fontsize=NAME_POINTS,
            verticalalignment="center",
            arrowprops={"arrowstyle": "-", "color": "0.7", "linewidth": 0.5, "shrinkA": 0}
            if height
            else None,
        ).set_in_layout(False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables. The exit code is 2 for an error that the user can fix."""
    from pytest_energy.errors import EnergyError

    parser = argparse.ArgumentParser(
        prog="python -m studies.paper", description=__doc__.splitlines()[0]
    )
    parser.add_argument("run", type=Path, metavar="RUN.json")
    parser.add_argument(
        "--plot", type=Path, metavar="FOLDER", help="write pareto-DATASET-CONFIG-batchN.svg there"
    )
    options = parser.parse_args(arguments)
    try:
        rows = read(options.run)
    except (TsbenchError, EnergyError) as error:
        print(f"tsbench: error: {error}", file=sys.stderr)
        return 2
    print(claims_table(rows), all_table(rows), sep="\n\n")
    if options.plot is not None:
        for row in {(row.dataset, row.config, row.batch_cases): row for row in rows}.values():
            name = f"pareto-{row.dataset}-{row.config}-batch{row.batch_cases}.svg".lower()
            plot(_alike(rows, row), options.plot / name)
            print(f"wrote {options.plot / name}", file=sys.stderr)
    return 0


def _measured(result: Result) -> Measured | None:
    from pytest_energy.stats.per_call import figures

    match = ID.search(result.name)
    accuracy = {quality.name: quality.value for quality in result.qualities}.get("accuracy")
    if match is None or result.comparison is None or accuracy is None:
        return None
    joules = figures(result.measurement).joules
    return Measured(
        match["dataset"], match["config"], match["variant"], int(match["batch"]),
        result.comparison.speedup, result.comparison.greenup, accuracy,
        None if joules is None else joules.value / int(match["batch"]),
        result.measurement.meter.provenance,
    )  # fmt: skip


def _alike(rows: Iterable[Measured], one: Measured) -> list[Measured]:
    return [
        row
        for row in rows
        if (row.dataset, row.config, row.batch_cases) == (one.dataset, one.config, one.batch_cases)
    ]


def _verdict(claim: Claim, row: Measured) -> str:
    ratio = getattr(row, claim.metric)
    if ratio is None:
        return "not known"
    wanted = f"{claim.metric.capitalize()} {claim.ratio:.2f}"
    if ratio.low >= claim.ratio:
        return f"reached ({wanted})"
    return f"missed ({wanted})" if ratio.high < claim.ratio else f"inconclusive ({wanted})"


def _shown(ratio: Interval | None) -> str:
    return (
        "not known" if ratio is None else f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"
    )


if __name__ == "__main__":
    sys.exit(main())
