"""Saved runs for other tools: CSV, Parquet, Prometheus, and the file as other tools read it."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_energy import cli
from pytest_energy.runs import json_format
from pytest_energy.runs.export import (
    COLUMNS,
    METRICS,
    _escaped,
    _portable_value,
    as_csv,
    as_prometheus,
    rows,
)
from pytest_energy.stats.per_call import figures
from tests.energy.rigs.saved_runs import Runs, commit_of, name_of, write_runs

SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)\{((?:[a-z]+="(?:[^"\\\n]|\\[\\"n])*",?)*)\} (\S+)')


@pytest.fixture
def two_runs(tmp_path):
    folder = tmp_path / "runs"
    write_runs(folder, Runs(2, 3))
    return folder


def export(capfdbinary, *arguments):
    code = cli.main(["export", *map(str, arguments)])
    out, err = capfdbinary.readouterr()
    return code, out.decode(), err.decode()


def test_csv_has_a_row_per_benchmark_and_run(two_runs, capfdbinary):
    code, out, err = export(capfdbinary, two_runs, "--format=csv")
    table = list(csv.DictReader(io.StringIO(out, newline="")))
    assert code == 0 and not err
    assert list(table[0]) == [name for name, _, _ in COLUMNS]
    assert [(row["benchmark"], row["commit"]) for row in table] == [
        (name_of(which), commit_of(run)) for run in range(2) for which in range(3)
    ]
    result = json_format.read_run(min(two_runs.glob("*.json"))).results[0]
    seen = figures(result.measurement)
    assert float(table[0]["joules"]) == seen.joules.value
    assert float(table[0]["seconds_low"]) == seen.seconds.low
    assert table[0]["provenance"] == "measured"
    assert table[0]["speedup"] == ""  # it was compared with nothing


def test_prometheus_is_the_newest_run_and_parses(two_runs, capfdbinary):
    code, out, _ = export(capfdbinary, two_runs, "--format=prometheus")
    assert code == 0
    samples = [SAMPLE.fullmatch(line) for line in out.splitlines() if not line.startswith("#")]
    assert all(samples)
    assert {match[1] for match in samples} == {
        "pytest_energy_seconds",
        "pytest_energy_joules",
        "pytest_energy_watts",
    }
    assert all(
        f'commit="{commit_of(1)}"' in match[2] and 'provenance="measured"' in match[2]
        for match in samples
    )
    for name in {match[1] for match in samples}:
        assert out.count(f"# TYPE {name} gauge\n") == out.count(f"# HELP {name} ") == 1


def test_openmetrics_ends_with_eof_and_has_no_commit(two_runs, capfdbinary):
    code, out, _ = export(capfdbinary, two_runs, "--format=openmetrics")
    assert code == 0 and out.endswith("\n# EOF\n")
    assert "commit=" not in out
    assert out.count("pytest_energy_joules{") == 3


@given(st.text())
def test_a_label_is_one_line_and_parses_back(text):
    escaped = _escaped(text)
    assert "\n" not in escaped
    assert SAMPLE.fullmatch(f'm{{benchmark="{escaped}"}} 1.0')
    assert (
        re.sub(
            r"\\(.)", lambda match: {"n": "\n"}.get(match[1], match[1]), escaped, flags=re.DOTALL
        )
        == text
    )


def test_unknown_values_are_empty_and_never_zero(two_runs):
    table = rows([json_format.read_run(min(two_runs.glob("*.json")))])
    table[0]["joules"] = None
    assert (
        len(
            [
                line
                for line in as_prometheus(table).splitlines()
                if line.startswith("pytest_energy_joules{")
            ]
        )
        == 2
    )
    assert next(csv.DictReader(io.StringIO(as_csv(table), newline="")))["joules"] == ""
    assert {name for name, _ in METRICS} <= set(table[0])


def test_parquet_keeps_types_and_nulls(two_runs, tmp_path, capfdbinary):
    parquet = pytest.importorskip(
        "pyarrow.parquet", reason='pyarrow is not installed: pip install "pytest-energy[parquet]"'
    )
    path = tmp_path / "out.parquet"
    assert export(capfdbinary, two_runs, "--format=parquet", "-o", path)[0] == 0
    table = parquet.read_table(path)
    assert table.num_rows == 6
    assert table.column_names == [name for name, _, _ in COLUMNS]
    kinds = {str: "string", int: "int64", float: "double"}
    assert [str(field.type) for field in table.schema] == [kinds[kind] for _, kind, _ in COLUMNS]
    assert table.column("speedup").null_count == 6


def test_without_pyarrow_the_error_names_the_install_command(
    two_runs, tmp_path, capfdbinary, monkeypatch
):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    code, _, err = export(capfdbinary, two_runs, "--format=parquet", "-o", tmp_path / "x")
    assert code == 2
    assert 'pip install "pytest-energy[parquet]"' in err


def test_a_broken_file_is_skipped_in_a_folder_and_an_error_if_named(two_runs, capfdbinary):
    torn = two_runs / "0003_torn.json"
    torn.write_text("{")
    code, out, err = export(capfdbinary, two_runs, "--format=csv")
    assert code == 0 and out.count("\n") == 7
    assert "passed over" in err and "0003_torn.json" in err
    code, out, err = export(capfdbinary, torn, "--format=csv")
    assert code == 2 and not out and len(err.splitlines()) == 1


def test_errors_are_one_line(two_runs, tmp_path, capfdbinary):
    for arguments in (
        [tmp_path / "nowhere", "--format=csv"],
        [two_runs, "--format=csv", "-o", tmp_path / "no" / "folder.csv"],
        [two_runs, "--format=parquet", "-o", tmp_path / "no" / "folder"],
    ):
        code, _, err = export(capfdbinary, *arguments)
        assert code == 2 and len(err.splitlines()) == 1


@pytest.fixture
def saved(pytester):
    """A file that the plugin itself saved."""
    pytester.makepyfile(
        """
        def test_plain(benchmark): benchmark(sum, range(1000))
        def test_ours(energy): energy(sum, range(1000))
        def test_pair(energy): energy.versus(lambda: sum(range(1000)), lambda: sum(range(1000)))
        """
    )
    pytester.runpytest_subprocess(
        "--energy",
        "--energy-meter=estimate",
        "--energy-max-time=0.2",
        "--benchmark-json=run.json",
        "--energy-watts=10,50",
    )
    return pytester.path / "run.json"


def strictly(text):
    """JSON as programs in other languages read it: without NaN and Infinity."""

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.slow
def test_saved_runs_have_the_keys_of_github_action_benchmark_and_bencher(saved):
    """What `tool: pytest` of github-action-benchmark reads, and bencher's python_pytest adapter."""
    document = strictly(saved.read_text(encoding="utf8"))
    assert isinstance(document["machine_info"], dict) and isinstance(document["commit_info"], dict)
    assert len(document["benchmarks"]) == 3
    for benchmark in document["benchmarks"]:
        assert 0 < len(benchmark["fullname"]) <= 1024
        stats = benchmark["stats"]
        assert all(isinstance(stats[key], float) for key in ("mean", "median", "stddev", "ops"))
        assert isinstance(stats["rounds"], int)
        assert stats["ops"] == pytest.approx(1 / stats["mean"])


def test_the_docs_name_every_column():
    text = (Path(__file__).parents[3] / "docs" / "history.md").read_text(encoding="utf8")
    kinds = {str: "text", int: "whole number", float: "number"}
    assert [
        f"| `{name}` | {kinds[kind]} | {meaning} |" in text for name, kind, meaning in COLUMNS
    ] == [True] * len(COLUMNS)


def row(**changed):
    return {name: None for name, _, _ in COLUMNS} | {"benchmark": "t", "joules": 1.5} | changed


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_a_spreadsheet_runs_no_cell(start):
    text = as_csv([row(benchmark=f"{start}HYPERLINK(1)", joules=-2.5)])
    (read,) = csv.DictReader(io.StringIO(text))
    assert read["benchmark"] == f"'{start}HYPERLINK(1)"
    assert read["joules"] == "-2.5"


@given(st.text(st.characters(), max_size=20), st.integers(-(2**70), 2**70))
def test_texts_are_printable_and_whole_numbers_have_64_bits(text, number):
    name, value = _portable_value(text), _portable_value(number)
    assert name.encode().decode() == name and name.isprintable()
    assert value is None or value == number
    assert (value is None) == (not -(2**63) < number < 2**63)
    as_csv([row(benchmark=name, calls=value)]).encode()


def test_a_lone_surrogate_is_exported_as_an_escape(two_runs, tmp_path, capfdbinary):
    path = min(tmp_path.rglob("*.json"))
    document = json.loads(path.read_text(encoding="utf8"))
    document["benchmarks"][0]["fullname"] = "a\ud83d"
    document["energy"]["machine"]["cores"] = 10**30
    path.write_text(json.dumps(document), encoding="utf8")
    assert cli.main(["export", str(path), "--format=csv"]) == 0
    assert b"a\\ud83d" in capfdbinary.readouterr().out


def test_prometheus_has_each_benchmark_once():
    text = as_prometheus([row(joules=1.5), row(joules=2.5)])
    assert text.count("pytest_energy_joules{") == 1 and "2.5" in text
