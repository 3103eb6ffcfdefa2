"""The run of the pictures in the docs, and the lines that it makes."""

import sys

from pytest_energy.gate import Gate
from pytest_energy.report.terminal import Look, summary
from pytest_energy.report.view import RunView
from pytest_energy.runs.json_format import read_run
from scripts import sample_run

SENTENCE = "1 slower, 1 inconclusive, 2 faster, 12 within 3 %"


def test_the_run_of_the_pictures_is_read_and_says_what_the_pictures_show(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["sample_run", str(tmp_path)])
    sample_run.main()
    results = read_run(tmp_path / "run.json").results
    view = RunView.of_results(results, results[0].measurement.meter, Gate().tolerance)
    for width in (80, 120):
        lines = summary(view, Look(width)).splitlines()
        assert lines[0] == f"16 tests: {SENTENCE}"
        assert len(lines) == 24
        assert max(map(len, lines)) <= width
    title = (tmp_path / "comment.md").read_text(encoding="utf8").splitlines()[1]
    assert SENTENCE in title
