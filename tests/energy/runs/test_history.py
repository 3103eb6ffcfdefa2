"""Saved runs over time: change points, separate series, and files that are skipped."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from importlib.util import find_spec

import pytest

from pytest_energy import cli
from pytest_energy.report.history_table import sparkline
from pytest_energy.runs.history import Sample, load_history
from tests.energy.rigs.saved_runs import METER, Runs, commit_of, name_of, write_runs

needs_otava = pytest.mark.skipif(
    find_spec("otava") is None,
    reason='Apache Otava is not installed: pip install "pytest-energy[history]"',
)


@pytest.fixture(scope="module")
def sixty(tmp_path_factory):
    """60 runs of 4 benchmarks. At run 40 the second gets 8 % worse, at 20 the third 10 % better."""
    folder = tmp_path_factory.mktemp("sixty")
    write_runs(folder / "Linux", Runs(60, 4, {(1, 40): 1.08, (2, 20): 0.9}))
    return folder


def history(capsys, *arguments):
    code = cli.main(["history", *map(str, arguments)])
    return (code, *capsys.readouterr())


@needs_otava
def test_changes_are_found_at_their_runs(sixty):
    (group,) = load_history([sixty]).groups
    found = {series.name: series.changes for series in group.series}
    assert not found[name_of(0)] and not found[name_of(3)]
    for which, at, ratio in ((1, 40, 1.08), (2, 20, 0.9)):
        assert [change.metric for change in found[name_of(which)]] == ["joules", "seconds"]
        for change in found[name_of(which)]:
            assert abs(change.index - at) <= 2
            assert change.ratio == pytest.approx(ratio, rel=0.02)


@needs_otava
def test_the_terminal_names_the_commit(sixty, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    code, out, err = history(capsys, sixty)
    assert code == 0 and not err
    assert "joules measured by powercap" in out
    up = re.search(
        r"joules up (\d\.\d)% since ([0-9a-f]{9}) \(run (\d+) of 60, 2026-01-0\d\)",
        " ".join(out.split()),
    )
    assert 7 <= float(up[1]) <= 9
    assert abs(int(up[3]) - 41) <= 2
    assert "4 benchmarks, 60 runs, 4 changes" in out
    assert max(len(line) for line in out.splitlines()) <= 100


@needs_otava
def test_json_has_the_series_and_the_changes(sixty, capsys):
    code, out, _ = history(capsys, "--format=json", "--test", "[1]", sixty)
    document = json.loads(out)
    (benchmark,) = document["groups"][0]["benchmarks"]
    assert code == 0
    assert benchmark["name"] == name_of(1)
    assert len(benchmark["runs"]) == 60
    change = benchmark["changes"][0]
    assert change["commit"] == benchmark["runs"][change["index"]]["commit"]
    assert document["groups"][0]["meter"] == {"name": "powercap", "provenance": "measured"}


def test_last_keeps_the_newest_runs(sixty):
    (group,) = load_history([sixty], last=10).groups
    assert group.n_runs == 10
    assert group.series[0].samples[-1].commit == commit_of(59)


def test_machines_meters_and_provenances_have_separate_series(tmp_path):
    estimate = replace(METER, name="estimate", provenance="estimated", band=(0.5, 2.0))
    write_runs(tmp_path / "a", Runs(3, 1))
    write_runs(tmp_path / "b", Runs(2, 1, machine={"cpu": "another"}))
    write_runs(tmp_path / "c", Runs(1, 1, meter=estimate))
    groups = load_history([tmp_path]).groups
    assert [group.n_runs for group in groups] == [3, 2, 1]
    assert [group.meter.provenance for group in groups] == ["measured", "measured", "estimated"]


def test_a_broken_file_is_named_and_skipped(sixty, tmp_path, capsys):
    write_runs(tmp_path, Runs(3, 1))
    torn = tmp_path / "0004_torn.json"
    torn.write_text((tmp_path / "0001_").with_name(f"0001_{commit_of(0)}.json").read_text()[:500])
    plain = tmp_path / "0005_plain.json"
    plain.write_text('{"benchmarks": []}')
    code, out, err = history(capsys, tmp_path)
    assert code == 0
    assert "0004_torn.json: not JSON" in err and len(err.splitlines()) == 1
    assert "1 benchmark, 3 runs" in out
    assert "1 run saved without --energy" in out


@pytest.mark.parametrize("make", ["empty", "missing", "broken"])
def test_no_runs_is_an_error(make, tmp_path, capsys):
    folder = tmp_path / "runs"
    if make != "missing":
        folder.mkdir()
    if make == "broken":
        folder.joinpath("0001_x.json").write_text("{")
    code, out, err = history(capsys, folder)
    assert code == 2 and not out
    assert len(err.splitlines()) == 1 and "runs" in err


def test_bad_arguments(sixty, capsys):
    assert history(capsys, "--last", "0", sixty)[0] == 2


def test_without_otava_the_table_comes_without_change_points(sixty, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "otava.analysis", None)
    code, out, err = history(capsys, sixty)
    assert code == 0 and not err
    assert "4 benchmarks, 60 runs\n" in out and "█" in out
    assert "change points require Apache Otava (otava.analysis is missing)" in " ".join(out.split())
    assert 'pip install "pytest-energy[history]"' in out
    document = json.loads(history(capsys, "--format=json", sixty)[1])
    assert document["no_change_points"].startswith("change points require Apache Otava")


def test_names_are_escaped(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    write_runs(tmp_path, Runs(1, 1))
    (file,) = tmp_path.glob("*.json")
    evil = "a.py::t[<script>[red]\x1b[31m\n漢]"
    file.write_text(file.read_text().replace(name_of(0), json.dumps(evil)[1:-1]))
    _, out, _ = history(capsys, tmp_path)
    assert r"t[<script>[red]\x1b[31m\n漢]" in out
    assert "\x1b" not in out


def test_a_counter_that_did_not_move_leaves_a_gap():
    assert sparkline([Sample("", "", "", 1.0, None), Sample("", "", "", 2.0, None)]) == "▁█"
    assert sparkline([]) == ""
    assert sparkline([Sample("", "", "", 1.0, 3.0)] * 3) == "▁▁▁"


def test_several_machines_add_a_closing_line(tmp_path, capsys):
    write_runs(tmp_path / "a", Runs(2, 1))
    write_runs(tmp_path / "b", Runs(2, 1, machine={"cpu": "another"}))
    code, out, _ = history(capsys, tmp_path)
    assert code == 0
    assert "Runs of different machines or meters are never put side by side." in out


def test_no_name_is_broken_at_80_columns(tmp_path, capsys, monkeypatch):
    """What all names begin with is cut, and the others give way."""
    monkeypatch.setenv("COLUMNS", "80")
    write_runs(tmp_path, Runs(1, 2))
    (file,) = tmp_path.glob("*.json")
    text = file.read_text()
    for index, name in enumerate(("short", "onnx_int8_dynamic")):
        longer = f"benchmarks/test_c.py::test_c[PLAID-t1-{name}-batch32]"
        text = text.replace(json.dumps(name_of(index))[1:-1], longer)
    file.write_text(text)
    out = history(capsys, tmp_path)[1]
    assert " short-batch32 " in out and " onnx_int8_dynamic-batch32 " in out
