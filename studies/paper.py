"""Compare the paper's claims with a saved run of the suite, and plot accuracy against energy.

    python -m studies.paper RUN.json                   # the tables of docs/paper.md
    python -m studies.paper RUN.json --plot FOLDER     # and docs/pareto-*.svg
    python -m studies.paper RUN.json --csv FILE        # and docs/data/paper.csv, every figure

RUN.json is a file that `make bench` or `make bench-full` saves in `.benchmarks/`. The claims are
those of arXiv:2502.16627's abstract. --plot requires matplotlib: pip install --group plot.
"""

from __future__ import annotations

import argparse
import csv
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


CSV_HEADINGS = (
    *("data", "config", "batch", "variant", "speedup", "speedup_low", "speedup_high"),
    *("greenup", "greenup_low", "greenup_high", "accuracy", "joules_per_case", "provenance"),
    "on_the_front",
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


Column = tuple[str, str, int]
"""Dataset, config and cases per batch."""


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
    """Markdown: each claim beside the measured ratio, the verdict and the change of accuracy."""
    columns = _columns(rows)
    lines = _heading(("the paper's claim", "variant", *map(_named, columns)))
    for claim in CLAIMS:
        wanted = f"{claim.method}: {claim.claimed} ({claim.metric.capitalize()} {claim.ratio:.2f})"
        for variant in claim.variants:
            cells = [_find(rows, variant, column) for column in columns]
            if any(cells):
                shown = ["" if row is None else _judged(claim, row, rows) for row in cells]
                lines.append(f"| {wanted} | `{variant}` | {' | '.join(shown)} |")
    return "\n".join(lines)


def all_table(rows: Sequence[Measured]) -> str:
    """Markdown: the Speedup of every variant against fp32, and its accuracy at the last batch size.

    A star marks a variant on the front of accuracy and joules per case.
    """
    columns = _columns(rows)
    sets = list(dict.fromkeys((dataset, config) for dataset, config, _ in columns))
    accuracies = [f"{dataset} {config}, accuracy" for dataset, config in sets]
    lines = _heading(("variant", *map(_named, columns), *accuracies))
    fastest = {row.variant: row.speedup.value for row in sorted(rows, key=_speed)}
    for variant in sorted(fastest, key=lambda variant: -fastest[variant]):
        shown = [_starred(_find(rows, variant, column), rows) for column in columns]
        for of in sets:
            found = [
                row for row in rows if (row.variant, row.dataset, row.config) == (variant, *of)
            ]
            shown.append(f"{found[-1].accuracy:.3f}" if found else "")
        lines.append(f"| `{variant}` | {' | '.join(shown)} |")
    return "\n".join(lines)


def write_csv(rows: Sequence[Measured], path: Path) -> None:
    """Every figure of every benchmark, a row each."""
    with path.open("w", encoding="utf8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(CSV_HEADINGS)
        for row in sorted(rows, key=lambda row: (*_column(row), -row.speedup.value)):
            greenup = row.greenup
            ratios = [
                "" if ratio is None else f"{value:.4g}"
                for ratio in (row.speedup, greenup)
                for value in ((0, 0, 0) if ratio is None else (ratio.value, ratio.low, ratio.high))
            ]
            joules = "" if row.joules is None else f"{row.joules:.3g}"
            front = row in pareto_front(_alike(rows, row))
            writer.writerow(
                [row.dataset, row.config, row.batch_cases, row.variant, *ratios]
                + [f"{row.accuracy:.3f}", joules, row.provenance, "yes" if front else ""]
            )


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
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write every figure there")
    options = parser.parse_args(arguments)
    try:
        rows = read(options.run)
    except (TsbenchError, EnergyError) as error:
        print(f"tsbench: error: {error}", file=sys.stderr)
        return 2
    print(claims_table(rows), all_table(rows), sep="\n\n")
    if options.csv is not None:
        write_csv(rows, options.csv)
    if options.plot is not None:
        for row in {_column(row): row for row in rows}.values():
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
    return [row for row in rows if _column(row) == _column(one)]


def _column(row: Measured) -> Column:
    return row.dataset, row.config, row.batch_cases


def _columns(rows: Iterable[Measured]) -> list[Column]:
    return sorted({_column(row) for row in rows})


def _named(column: Column) -> str:
    dataset, config, batch = column
    return f"{dataset} {config}, batch {batch}"


def _heading(names: Sequence[str]) -> list[str]:
    return [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]


def _find(rows: Iterable[Measured], variant: str, column: Column) -> Measured | None:
    return next((row for row in rows if (row.variant, _column(row)) == (variant, column)), None)


def _speed(row: Measured) -> float:
    return row.speedup.value


def _judged(claim: Claim, row: Measured, rows: Sequence[Measured]) -> str:
    """The claimed ratio, whether it is reached, and the accuracy less fp32's."""
    ratio = getattr(row, claim.metric)
    if ratio is None:
        return "not known"
    verdict = "reached" if ratio.low >= claim.ratio else "inconclusive"
    if ratio.high < claim.ratio:
        verdict = "missed"
    before = _find(rows, BASELINE, _column(row))
    lost = "" if before is None else f", {100 * (row.accuracy - before.accuracy):+.1f} points"
    return f"{_shown(ratio)} {verdict}{lost}"


def _starred(row: Measured | None, rows: Sequence[Measured]) -> str:
    if row is None:
        return ""
    return _shown(row.speedup) + (" *" if row in pareto_front(_alike(rows, row)) else "")


def _shown(ratio: Interval | None) -> str:
    return (
        "not known" if ratio is None else f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"
    )


if __name__ == "__main__":
    sys.exit(main())
