"""A verdict for each claim of the paper and each of its datasets: confirmed, contradicted, or open.

    python -m studies.verdicts docs/data/paper.csv docs/data/paper-electricdevices.csv

Each file is one that `python -m studies.paper RUN.json --csv FILE` writes. A claim is confirmed
where the whole interval is beyond it, contradicted where the whole interval falls short, and
otherwise it cannot be said.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from pytest_energy.model import Interval
from studies.paper import CLAIMS, Claim
from studies.seeds import print_table

PAPER_SETS = ("PLAID", "RefrigerationDevices", "ElectricDevices")
UNKNOWN = "cannot be said"

Row = dict[str, str]


def verdict(claim: Claim, row: Row) -> str:
    """The verdict of one benchmark."""
    if not row[claim.metric]:
        return UNKNOWN
    keys = (claim.metric, f"{claim.metric}_low", f"{claim.metric}_high")
    ratio = Interval(*(float(row[key]) for key in keys))
    if ratio.low >= claim.ratio:
        return "confirmed"
    return "contradicted" if ratio.high < claim.ratio else UNKNOWN


def cell(claim: Claim, variant: str, dataset: str, rows: Sequence[Row]) -> str:
    """The verdict for one dataset, or one for each batch size where they differ."""
    found = {
        row["batch"]: verdict(claim, row)
        for row in rows
        if (row["data"], row["config"], row["variant"]) == (dataset, "t1", variant)
    }
    if not found:
        return f"{UNKNOWN}: not measured"
    if len(set(found.values())) == 1:
        return next(iter(found.values()))
    return "; ".join(f"batch {batch}: {each}" for batch, each in found.items())


def table(rows: Sequence[Row]) -> Iterator[tuple[str, ...]]:
    """A row for each claim and each variant of its method."""
    for claim in CLAIMS:
        for variant in claim.variants:
            verdicts = (cell(claim, variant, dataset, rows) for dataset in PAPER_SETS)
            yield (f"{claim.method}: {claim.claimed}", f"`{variant}`", *verdicts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table as Markdown."""
    parser = argparse.ArgumentParser(prog="python -m studies.verdicts")
    parser.add_argument("files", type=Path, metavar="FILE.csv", nargs="+")
    rows: list[Row] = []
    for path in parser.parse_args(arguments).files:
        with path.open(encoding="utf8", newline="") as file:
            rows += csv.DictReader(file)
    print_table(("the paper's claim", "variant", *PAPER_SETS), table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
