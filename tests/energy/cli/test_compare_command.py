"""``pytest-energy compare``: several runs, and runs of which nothing is gated."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from pytest_energy import cli
from pytest_energy.cli.exit_codes import ExitCode
from pytest_energy.model import Verdict
from pytest_energy.runs.compare import compare_saved
from pytest_energy.runs.noise import Noise, save_noise
from tests.energy.rigs.saved_runs import MACHINE, METER, Runs, commit_of, name_of, write_runs

QUIET = Runs(1, 2, run_sd=0, sd=0)


def write(folder, factor=1.0, number=0, **changes):
    """A folder with one run, whose second benchmark takes this factor; returns the file."""
    write_runs(folder, replace(QUIET, steps={(1, 0): factor}, seed=number, **changes))
    (file,) = folder.glob("*.json")
    text = file.read_text(encoding="utf8").replace(commit_of(0), commit_of(number))
    file.write_text(text, encoding="utf8")
    return str(file)


def compare(capsys, *arguments):
    save_noise(Noise(0.01, 0.01, 12, "measured by the test"), MACHINE, METER.name)
    code = cli.main(["compare", *arguments])
    return (code, *capsys.readouterr())


@pytest.fixture
def three(tmp_path):
    return [write(tmp_path / str(n), factor, n) for n, factor in enumerate((1.0, 1.0, 1.4))]


def test_several_runs_are_a_matrix_with_commits_as_headings(three, capsys):
    code, out, _ = compare(capsys, *three)
    assert code == ExitCode.REGRESSED
    first, second, empty, header, *lines = out.splitlines()
    assert first.startswith(f"{commit_of(1)[:9]}: ") and not empty
    assert second.startswith(f"{commit_of(2)[:9]}: ") and "slower" in second
    assert header.split() == [commit_of(n)[:9] for n in range(3)]
    at = lines.index(name_of(1))
    for line, label in zip(lines[at + 1 : at + 3], ("energy", "time"), strict=True):
        assert re.fullmatch(rf"  {label}\s+[\d.]+ \w+\s+[+-]0\.\d% .\s+\+(39|4\d)\.\d% ✗", line)
    assert "✗ regressed" in lines[-1]
    assert all(len(line) <= 100 for line in out.splitlines())


def test_the_matrix_as_json_is_a_list_of_comparisons(three, capsys):
    code, out, _ = compare(capsys, *three, "--format=json")
    first, second = json.loads(out)
    assert code == ExitCode.REGRESSED
    assert (first["exit_code"], second["exit_code"]) == (ExitCode.OK, ExitCode.REGRESSED)


def test_markdown_of_several_runs_is_refused(three, capsys):
    code, _, err = compare(capsys, *three, "--format=markdown")
    assert code == ExitCode.UNUSABLE and "takes two runs" in err


def test_a_run_that_lacks_a_benchmark_has_a_dash_in_the_matrix(tmp_path, capsys):
    both = [write(tmp_path / str(n), number=n) for n in range(2)]
    less = write(tmp_path / "2", number=2, n_benchmarks=1)
    code, out, _ = compare(capsys, *both, less)
    assert code == ExitCode.OK
    lines = out.splitlines()
    assert lines[lines.index(name_of(1)) + 1].endswith(" -")


ESTIMATE = replace(METER, name="estimate", provenance="estimated", band=(0.5, 2.0))


def test_a_matrix_of_estimates_says_so(tmp_path, capsys):
    runs = [write(tmp_path / str(n), number=n, meter=ESTIMATE) for n in range(3)]
    _, out, _ = compare(capsys, *runs)
    assert "  energy (estimated) " in out


@pytest.mark.parametrize("format_", ["text", "json", "markdown"])
def test_2_if_nothing_was_gated(tmp_path, capsys, monkeypatch, format_):
    """A pass would be silent."""

    def not_gated(*arguments):
        comparison = compare_saved(*arguments)
        rows = [
            replace(
                row,
                changes=tuple(
                    replace(change, verdict=Verdict(change.metric, "not gated", "a reason"))
                    for change in row.changes
                ),
            )
            for row in comparison.rows
        ]
        return replace(comparison, rows=tuple(rows))

    monkeypatch.setattr("pytest_energy.cli.compare.compare_saved", not_gated)
    old, new = (write(tmp_path / str(n), 1.1 + n, n) for n in range(2))
    code, out, err = compare(capsys, old, new, f"--format={format_}")
    assert code == ExitCode.UNUSABLE
    assert out and err == f"pytest-energy: {new}: nothing was gated: see the reasons above\n"
    if format_ == "json":
        assert json.loads(out)["exit_code"] == ExitCode.UNUSABLE
    code, _, err = compare(capsys, old, new, "--allow-ungated")
    assert code == ExitCode.OK and "nothing was gated" in err


def test_a_side_is_named_by_its_commit_before_its_path(tmp_path, capsys):
    old, new = (write(tmp_path / str(n), number=n) for n in range(2))
    _, out, _ = compare(capsys, old, new)
    assert f"OLD: commit {commit_of(0)[:12]} ({old})" in out
    assert f"NEW: commit {commit_of(1)[:12]} ({new})" in out


@pytest.mark.parametrize("columns", [80, 100])
def test_the_table_fits_the_terminal(tmp_path, capsys, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    old, new = (write(tmp_path / str(n), number=n) for n in range(2))
    _, out, _ = compare(capsys, old, new)
    table = out.partition("OLD: ")[0]
    assert max(len(line) for line in table.splitlines()) <= columns
