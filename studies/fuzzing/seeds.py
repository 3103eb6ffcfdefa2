"""Valid inputs that the fuzzing changes, written by the packages themselves."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

from pytest_energy.model import (
    Block,
    Comparison,
    Counted,
    CountedWork,
    Interval,
    Measurement,
    Quality,
    Result,
    Verdict,
    Window,
)
from pytest_energy.runs import comparison_format, json_format
from pytest_energy.runs.comparison_format import MOST_PLAIN_BLOCKS
from pytest_energy.runs.window_format import window_to_json
from tests.energy.rigs.saved_runs import METER, Runs, name_of, write_runs

DATA = {
    ".ts": (
        (
            b"% c\n@problemName A\n@univariate true\n@classLabel true a b\n@data\n1.0,2.5,?:a\n"
            b"3,4,5:b\n"
        ),
        (
            b"@problemName A\n@timestamps false\n@missing false\n@univariate false\n@dimension 2\n"
            b"@equalLength true\n@seriesLength 2\n@classLabel true a b\n@data\n1,2:3,4:a\n"
            b"5,6:7,8:b\n"
        ),
    ),
    ".arff": (
        (
            b"@relation A\n@attribute x1 numeric\n@attribute x2 numeric\n@attribute target {1,2}\n"
            b"@data\n0.5,?,1\n1,2,2\n"
        ),
        (
            b"@relation A\n@attribute s relational\n@attribute x1 numeric\n@attribute x2 real\n"
            b"@end s\n@attribute target {1,2}\n@data\n'0.5,?\\n1,2',1\n'1,2\\n3,4',2\n"
        ),
    ),
    ".tsv": (b"1\t0.5\t-1e3\tNaN\n2\t1\t2\t3\n", b"a,0.5,2\nb,1,2\n"),
    ".txt": (b"1  0.5 -1.5\n2  0.1 3\n", b"  1.0000000e+00  -1.1  2.0\n  2.0e+00  1 2\n"),
}


def saved_runs(folder: Path) -> list[dict[str, Any]]:
    """Valid runs: five small ones for each with packed blocks, which take as long as five."""
    small, versus, packed = (_saved_run(folder / name, kind) for name, kind in KINDS.items())
    return [small, versus, versus, small, versus, packed]


KINDS = {"small": 0, "versus": 2, "packed": MOST_PLAIN_BLOCKS + 1}


def _saved_run(folder: Path, blocks: int) -> dict[str, Any]:
    """Two benchmarks; with blocks, one is a comparison that has all that a benchmark may have."""
    write_runs(folder, Runs(1, 2, {}, windows=2, seed=0))
    (path,) = folder.glob("*.json")
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf8"))
    dice = Random(0)
    document["energy"]["idle"] = [window_to_json(_window(dice))]
    document["energy"]["software"] = {"python": "CPython 3.12.1", "distributions": {"numpy": "2"}}
    if not blocks:
        return document
    comparison, name = _comparison(dice, blocks), name_of(1)
    work = CountedWork("callgrind", {"instructions": 1000, "reads": 10}, 0.0, 2, {"f": 9}, {"g": 3})
    result = Result(
        name,
        Measurement(name, METER, _candidate(comparison), (), ("a warning",)),
        comparison,
        (Quality("accuracy", 0.9, 0.8),),
        (Verdict("greenup", "improved", "1.5 is above 1"),),
        "a group",
        Counted(work, work),
    )
    entry = {"name": name, "fullname": name, "group": "a group"}
    document["benchmarks"][1] = {**entry, "energy": json_format.result_to_json(result)}
    return document


def packed_blocks() -> str:
    """The packed blocks of a comparison."""
    blocks = comparison_format._blocks_to_json(_comparison(Random(0), 20).blocks)
    return str(blocks)


def _window(dice: Random, seconds: float = 1.0) -> Window:
    joules = {domain.name: seconds * dice.uniform(10, 11) for domain in METER.domains}
    return Window(seconds, joules, 3)


def _comparison(dice: Random, blocks: int) -> Comparison:
    orders = [dice.choice(("ABBA", "BAAB")) for _ in range(blocks)]
    made = tuple(Block(order, tuple(_window(dice) for _ in order), 0) for order in orders)
    ratio = Interval(1.0, 0.9, 1.1)
    return Comparison("the baseline", ratio, ratio, ratio, None, made, 0.99)


def _candidate(comparison: Comparison) -> tuple[Window, ...]:
    return tuple(
        window
        for block in comparison.blocks
        for letter, window in zip(block.order, block.windows, strict=True)
        if letter == "B"
    )
