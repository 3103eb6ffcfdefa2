"""The paper's claims compared with a saved run."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from pytest_energy.model import Quality
from studies import paper
from tests.energy.rigs.made_up import block, compared, measurement, result, window
from tests.energy.runs.test_json_format import saved


def benchmark(variant: str, batch: int, speedup: float, accuracy: float):
    """A benchmark of the suite with equal Speedup and Greenup; fp32 takes 3 J per window."""
    blocks = tuple(block(window(0.1 * speedup, 3.0 * speedup), window(0.1, 3.0)) for _ in range(20))
    made = result(
        measurement(*(window(0.1, 3.0),) * 12),
        compared(blocks),
        Quality("accuracy", accuracy, None),
    )
    return replace(
        made,
        name=f"benchmarks/test_compression.py::test_compression[PLAID-t1-{variant}-batch{batch}]",
    )


@pytest.fixture
def run_file(tmp_path):
    document = saved(
        benchmark("fp32", 1, 1.0, 0.90), benchmark("int8_static", 1, 1.5, 0.89),
        benchmark("l1_unstructured", 1, 1.0, 0.88), benchmark("student", 32, 9.0, 0.92),
    )  # fmt: skip
    file = tmp_path / "run.json"
    file.write_text(json.dumps(document))
    return file


def test_a_claim_is_reached_or_missed_by_the_interval(run_file, capsys):
    assert paper.main([str(run_file)]) == 0
    claims, everything = capsys.readouterr().out.split("\n\n")
    (static,) = [line for line in claims.splitlines() if line.startswith("| static int8")]
    assert "(Greenup 1.41) | `int8_static` | 1.50 [1.50, 1.50] reached, -1.0 points |  |" in static
    (pruned,) = [line for line in claims.splitlines() if line.startswith("| L1 pruning")]
    assert "(Speedup 1.63)" in pruned and "1.00 [1.00, 1.00] missed, -2.0 points" in pruned
    heading, _, first, *_ = everything.splitlines()
    assert heading == "| variant | PLAID t1, batch 1 | PLAID t1, batch 32 | PLAID t1, accuracy |"
    assert first == "| `student` |  | 9.00 [9.00, 9.00] * | 0.920 |"


def test_every_figure_is_in_the_csv(run_file, tmp_path, capsys):
    file = tmp_path / "paper.csv"
    assert paper.main([str(run_file), "--csv", str(file)]) == 0
    rows = file.read_text().splitlines()
    assert len(rows) == 5 and rows[-1].endswith(",measured,yes")
    assert rows[0] == ",".join(paper.CSV_HEADINGS)
    assert "PLAID,t1,1,int8_static,1.5,1.5,1.5,1.5,1.5,1.5,0.890,3,measured," in rows


def test_what_another_beats_in_both_is_not_on_the_front(run_file):
    rows = {row.variant: row for row in paper.read(run_file)}
    cheap, dear = rows["int8_static"], rows["l1_unstructured"]
    assert paper.pareto_front([dear, cheap]) == [cheap]
    assert rows["student"].joules == pytest.approx(cheap.joules / 32)


def test_the_picture_is_deterministic(run_file, tmp_path, capsys):
    pytest.importorskip(
        "matplotlib", reason="matplotlib is not installed: pip install --group plot"
    )
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        assert paper.main([str(run_file), "--plot", str(tmp_path / folder)]) == 0
    first, second = (
        (tmp_path / folder / "pareto-plaid-t1-batch1.svg").read_text() for folder in ("one", "two")
    )
    assert first == second
    assert "int8_static" in first


@pytest.mark.parametrize(
    ("text", "problem"), [("{", "run.json: "), (None, "no benchmark of the compression suite")]
)
def test_a_run_without_the_suite_is_one_line(tmp_path, text, problem, capsys):
    file = tmp_path / "run.json"
    file.write_text(
        json.dumps(saved(result(measurement(window(1.0, 1.0))))) if text is None else text
    )
    assert paper.main([str(file)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("tsbench: error: ") and problem in error and "Traceback" not in error
