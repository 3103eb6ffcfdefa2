"""Comparisons of saved runs: verdicts, exit codes, and what is not gated."""

from __future__ import annotations

import html
import json
import math
import random
import re
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_energy import cli
from pytest_energy.cli.exit_codes import ExitCode
from pytest_energy.errors import RunsIncomparable, RunUnreadable
from pytest_energy.machine import fingerprint
from pytest_energy.model import Quality
from pytest_energy.report.compare_table import as_json, terminal_table
from pytest_energy.report.escape import in_markdown, plain
from pytest_energy.report.markdown import MARKER, markdown
from pytest_energy.runs import json_format
from pytest_energy.runs.compare import compare_runs
from pytest_energy.runs.comparison import CompareOptions
from pytest_energy.runs.load import load_runs
from pytest_energy.runs.noise import DEFAULT_NOISE, Noise, load_noise, noise_path, save_noise
from pytest_energy.runs.ratios import MOST_RUNS
from pytest_energy.runs.summary import BenchmarkSummary, RunSummary
from tests.energy.rigs.made_up import ESTIMATE, SENSOR, measurement, result, window


@pytest.fixture(autouse=True)
def width_of_a_log(monkeypatch):
    """xdist gives its workers 80 columns; without that the width is a log's."""
    monkeypatch.delenv("COLUMNS", raising=False)


CPYTHON_ONLY = {"python": "CPython 3.13.0", "distributions": {}}
MACHINE = {"cpu": "one", "cores": 2, "memory_gib": 8, "architecture": "x86_64", "system": "Linux"}
# Ten runs that differ less than any change that a test makes.
TEN = [math.exp(0.002 * offset) for offset in (-4, 3, 0, 5, -2, 1, -5, 4, -1, 2)]
QUIET = Noise(0.01, 0.01, None, "quiet, says the test")
logs = st.floats(-50, 50)


@pytest.fixture(autouse=True)
def no_noise_known(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def write_run(
    path,
    seconds=1.0,
    joules=10.0,
    qualities=None,
    ceiling=None,
    names=("a.py::test_a",),
    meter=SENSOR,
    machine=MACHINE,
    at="",
    commit="c0ffee",
    software=CPYTHON_ONLY,
):
    """A saved run in which every benchmark takes these seconds and joules per call."""
    path.parent.mkdir(parents=True, exist_ok=True)
    benchmarks = []
    for name in names:
        of = replace(measurement(*[window(seconds, joules)] * 6, meter=meter), name=name)
        kept = [
            Quality(quality, value, ceiling=ceiling) for quality, value in (qualities or {}).items()
        ]
        benchmarks.append(
            {
                "name": name,
                "fullname": name,
                "group": None,
                "stats": {},
                "energy": json_format.result_to_json(result(of, None, *kept)),
            }
        )
    top = {**json_format.run_to_json(meter, ()), "machine": machine, "software": software}
    if software is None:
        del top["software"]
        top["schema"] = 1
    path.write_text(
        json.dumps(
            {"benchmarks": benchmarks, "commit_info": {"id": commit}, "datetime": at, "energy": top}
        ),
        encoding="utf8",
    )
    return path


def write_folder(folder, factors, **keywords):
    for number, factor in enumerate(factors, start=1):
        given = {
            **keywords,
            "seconds": keywords.get("seconds", 1.0) * factor,
            "joules": keywords.get("joules", 10.0) * factor,
        }
        write_run(folder / "Linux-CPython" / f"{number:04}_run.json", **given)
    return folder


def compare(capsys, *arguments):
    code = cli.main(["compare", *map(str, arguments)])
    return code, capsys.readouterr()


def runs(values, quantity="joules", meter=SENSOR, **points):
    """Summaries of one benchmark in which one quantity varies."""
    made = []
    for number, value in enumerate(values):
        taken = {"log_seconds": 0.0, "log_joules": 0.0, f"log_{quantity}": value}
        made.append(
            RunSummary(
                f"run {number}",
                MACHINE,
                meter,
                "",
                "",
                {"t": BenchmarkSummary(**taken, quantisation=0.0, qualities=points)},
            )
        )
    return made


def verdicts(comparison, name="t"):
    (row,) = (row for row in comparison.rows if row.name == name)
    return {change.metric: change.verdict.verdict for change in row.changes}


# Verdicts.


@pytest.mark.parametrize(
    ("factor", "verdict"),
    [(1.0, "unchanged"), (1.1, "regressed"), (0.9, "improved"), (1.03, "inconclusive")],
)
@pytest.mark.parametrize(("quantity", "metric"), [("joules", "greenup"), ("seconds", "speedup")])
def test_ten_runs_against_ten(factor, verdict, quantity, metric):
    old = runs([math.log(value) for value in TEN], quantity)
    new = runs([math.log(value * factor) for value in TEN], quantity)
    assert verdicts(compare_runs(old, new, CompareOptions(), DEFAULT_NOISE))[metric] == verdict


@given(st.floats(0, 0.6), st.integers(1, 12))
def test_one_run_never_regresses_below_the_noise_floor(change, others):
    """The other side may have any number of runs that agree."""
    old, new = runs([0.0] * others), runs([change])
    for noise in (DEFAULT_NOISE, Noise(0.2, 0.2, 12, "")):
        assert noise.floor("joules", 0.01) > math.expm1(0.6)
        assert verdicts(compare_runs(old, new, CompareOptions(), noise))["greenup"] in (
            "inconclusive",
            "unchanged",
        )
        assert verdicts(compare_runs(new, old, CompareOptions(), noise))["greenup"] in (
            "inconclusive",
            "unchanged",
        )


def test_one_run_regresses_beyond_floor_and_tolerance():
    comparison = compare_runs(runs([0.0]), runs([0.1]), CompareOptions(), QUIET)
    assert verdicts(comparison) == {"greenup": "regressed", "speedup": "inconclusive"}
    assert (
        verdicts(compare_runs(runs([0.0]), runs([0.05]), CompareOptions(), QUIET))["greenup"]
        == "inconclusive"
    )


def test_two_runs_that_agree_do_not_narrow_the_noise():
    assert (
        verdicts(compare_runs(runs([0.0, 0.0]), runs([0.3, 0.3]), CompareOptions(), DEFAULT_NOISE))[
            "greenup"
        ]
        == "inconclusive"
    )


def test_more_comparisons_require_more_certainty():
    """5 runs a side reach 1 in 252: enough for one benchmark, not for forty."""
    side = [math.log(value) for value in TEN[:5]]

    def many(values, count):
        made = []
        for run, value in zip(runs(values), values):
            points = {
                f"t{i}": BenchmarkSummary(0.0, value if i == 0 else 0.0, 0.0, {})
                for i in range(count)
            }
            made.append(replace(run, benchmarks=points))
        return made

    for count, verdict in ((1, "regressed"), (40, "inconclusive")):
        comparison = compare_runs(
            many(side, count),
            many([log + 0.2 for log in side], count),
            CompareOptions(),
            DEFAULT_NOISE,
        )
        assert verdicts(comparison, "t0")["greenup"] == verdict
    (change, *_) = next(row for row in comparison.rows if row.name == "t0").changes
    assert "not among 80 comparisons" in change.verdict.reason
    assert re.match(
        r"about [7-9] runs a side would settle it; live: pytest --energy --energy-against REV t0",
        change.advice,
    )


def suite(runs_a_side, factors):
    """OLD and NEW of a suite whose joules spread by about 1 % between runs."""
    dice = random.Random(7)
    sides = []
    for factor_of in ({}, factors):
        side = []
        for run in runs([0.0] * runs_a_side):
            points = {
                f"t{i:02}": BenchmarkSummary(
                    dice.gauss(0, 0.01),
                    dice.gauss(math.log(factor_of.get(i, 1.0)), 0.01),
                    0.0,
                    {},
                )
                for i in range(20)
            }
            side.append(replace(run, benchmarks=points))
        sides.append(side)
    return sides


def regressed(comparison):
    return [
        row.name
        for row in comparison.rows
        for change in row.changes
        if change.verdict.verdict == "regressed"
    ]


def test_three_runs_a_side_of_a_suite_show_how_runs_spread():
    comparison = compare_runs(*suite(3, {4: 1.1, 9: 1.1}), CompareOptions(), DEFAULT_NOISE)
    assert sorted(regressed(comparison)) == ["t04", "t09"]
    assert not any("FEW RUNS" in line for line in terminal_table(comparison).splitlines())
    assert "spread between runs, borrowed across the suite: joules 1." in terminal_table(comparison)
    spread = json.loads(as_json(comparison, ExitCode.OK))["suite_spread"]["joules"]
    assert 0.005 < spread["sd"] < 0.02


def test_two_runs_a_side_do_not():
    comparison = compare_runs(*suite(2, {4: 1.1}), CompareOptions(), DEFAULT_NOISE)
    assert not regressed(comparison) and not comparison.suite_spreads
    assert "FEW RUNS (2 against 2)" in terminal_table(comparison)


def test_family_wise_finds_no_more_and_says_so():
    sides = suite(3, dict.fromkeys(range(0, 20, 2), 1.055))
    found = regressed(compare_runs(*sides, CompareOptions(), DEFAULT_NOISE))
    comparison = compare_runs(*sides, CompareOptions(family_wise=True), DEFAULT_NOISE)
    assert 0 < len(regressed(comparison)) < len(found) <= 10
    assert "and in 5% of suites" in terminal_table(comparison)


def test_a_suite_alpha_on_the_command_line(tmp_path, capsys):
    old, new = write_folder(tmp_path / "old", TEN), write_folder(tmp_path / "new", TEN)
    code, out = compare(capsys, old, new, "--suite-alpha", "1%", "--family-wise")
    assert code == 0 and "and in 1% of suites" in out.out


def test_advice_is_a_live_comparison_if_no_number_of_runs_suffices():
    old = replace(runs([0.0])[0], commit="c0ffee" * 7)
    comparison = compare_runs([old], runs([0.03]), CompareOptions(), DEFAULT_NOISE)
    advice = comparison.rows[0].changes[0].advice
    assert (
        advice.startswith(f"more than {MOST_RUNS} runs a side")
        and "--energy-against c0ffeec0ffee t" in advice
    )


def test_a_coarse_counter_is_inconclusive():
    def coarse(change):
        made = runs([math.log(value) + change for value in TEN])
        return [
            replace(run, benchmarks={"t": replace(run.benchmarks["t"], quantisation=0.011)})
            for run in made
        ]

    comparison = compare_runs(coarse(0), coarse(0.5), CompareOptions(), DEFAULT_NOISE)
    assert verdicts(comparison)["greenup"] == "inconclusive"
    assert comparison.rows[0].changes[0].verdict.reason.startswith("counter: its own error is 1.1%")


def test_a_counter_that_did_not_move_is_inconclusive_and_time_is_gated():
    comparison = compare_runs(runs([None]), runs([0.0]), CompareOptions(), QUIET)
    assert verdicts(comparison)["greenup"] == "inconclusive"
    assert comparison.gated == 1


def test_estimated_joules_are_not_gated_and_time_is():
    old, new = (
        [
            replace(run, benchmarks={"t": BenchmarkSummary(log, log, 0.0, {})})
            for run, log in zip(runs(side, meter=ESTIMATE), side)
        ]
        for side in ([math.log(v) for v in TEN], [math.log(v * 1.2) for v in TEN])
    )
    assert verdicts(compare_runs(old, new, CompareOptions(), DEFAULT_NOISE)) == {
        "greenup": "not gated",
        "speedup": "regressed",
    }
    asked = CompareOptions(gate_estimates=True)
    assert verdicts(compare_runs(old, new, asked, DEFAULT_NOISE))["greenup"] == "regressed"
    elsewhere = [replace(run, meter=replace(ESTIMATE, notes=("other watts",))) for run in new]
    comparison = compare_runs(old, elsewhere, asked, DEFAULT_NOISE)
    assert verdicts(comparison)["greenup"] == "not gated"
    assert "not from the same watts" in comparison.rows[0].changes[0].verdict.reason


@pytest.mark.parametrize(
    ("old", "new", "tolerance", "verdict"),
    [
        (0.85, 0.85, None, "unchanged"),
        (0.85, 0.84, None, "unchanged"),  # a point is 3.75 of 375 cases
        (0.85, 0.85 - 6 / 375, None, "unchanged"),
        (0.85, 0.85 - 7 / 375, None, "regressed"),
        (0.85, 0.84, 0.005, "regressed"),
        (0.85, 0.84, 0.01, "unchanged"),
        (0.85, 0.9, None, "improved"),
        (0.85, math.nan, None, "regressed"),
        (math.nan, 0.85, None, "not gated"),
        (31.2, 30.0, None, "not gated"),
        (31.2, 30.0, 1.0, "regressed"),
        (31.2, 30.0, 2.0, "unchanged"),
    ],
)
def test_qualities(old, new, tolerance, verdict):
    comparison = compare_runs(
        runs([0.0], q=old), runs([0.0], q=new), CompareOptions(quality_tolerance=tolerance), QUIET
    )
    assert verdicts(comparison)["q"] == verdict


def test_a_quality_on_one_side_is_not_gated():
    for sides in ((runs([0.0], q=0.5), runs([0.0])), (runs([0.0]), runs([0.0], q=0.5))):
        assert verdicts(compare_runs(*sides, CompareOptions(), QUIET))["q"] == "not gated"


def test_a_quality_that_varies_between_the_baselines_own_runs_is_inconclusive():
    old = [*runs([0.0], q=0.9), *runs([0.0], q=0.9), *runs([0.0], q=0.8)]
    assert (
        verdicts(compare_runs(old, runs([0.0], q=0.85), CompareOptions(), QUIET))["q"]
        == "inconclusive"
    )
    assert (
        verdicts(compare_runs(old, runs([0.0], q=0.7), CompareOptions(), QUIET))["q"] == "regressed"
    )


points = st.builds(
    BenchmarkSummary,
    st.one_of(st.none(), st.floats(-700, 700)),
    st.one_of(st.none(), st.floats(-700, 700)),
    st.floats(0, math.inf),
    st.dictionaries(
        st.text(max_size=5), st.one_of(st.just(math.nan), st.floats(-1e300, 1e300)), max_size=2
    ),
)
sides = st.lists(
    st.dictionaries(st.text(max_size=3), points, min_size=1, max_size=3), min_size=1, max_size=6
)


@given(sides, sides)
def test_every_comparison_can_be_printed(old, new):
    made = [
        [RunSummary("r", MACHINE, SENSOR, "", "", points) for points in side] for side in (old, new)
    ]
    if not {name for run in old for name in run} & {name for run in new for name in run}:
        with pytest.raises(RunsIncomparable):
            compare_runs(*made, CompareOptions(), DEFAULT_NOISE)
        return
    comparison = compare_runs(*made, CompareOptions(), DEFAULT_NOISE)
    document = json.loads(as_json(comparison, ExitCode.of(comparison.failure(strict=True))))
    assert sum(document["counts"].values()) == sum(
        len(row["changes"]) for row in document["benchmarks"]
    )
    assert all(line.isprintable() for line in terminal_table(comparison).splitlines())
    assert markdown(comparison)


# What the commands print.


def test_exit_0_if_nothing_regressed(tmp_path, capsys):
    code, out = compare(
        capsys, write_folder(tmp_path / "old", TEN), write_folder(tmp_path / "new", TEN)
    )
    assert code == 0
    assert (
        "1 within 3 %" in out.out
        and "10 runs" in out.out
        and "joules are measured by made-up" in out.out
    )


def test_exit_1_if_something_regressed(tmp_path, capsys):
    code, out = compare(
        capsys,
        write_folder(tmp_path / "old", TEN),
        write_folder(tmp_path / "new", TEN, joules=11.0),
    )
    assert code == 1
    assert "1 with more energy" in out.out
    assert re.search(r"10\.0 → 11\.0 J .*\+10(\.\d)? % \[\+", out.out)
    assert re.search(r"energy \+10(\.\d)? % \[.*\], limit \+3 %", out.out)


def test_exit_3_only_with_strict(tmp_path, capsys):
    sides = write_run(tmp_path / "old.json"), write_run(tmp_path / "new.json", joules=11.0)
    assert compare(capsys, *sides)[0] == 0
    code, out = compare(capsys, *sides, "--strict")
    assert code == 3
    assert (
        "FEW RUNS (1 against 1)" in out.out
        and "+93%" in out.out
        and "pytest --energy --energy-against c0ffee" in out.out
    )


def test_regressed_is_1_even_with_strict(tmp_path, capsys):
    sides = write_run(tmp_path / "old.json"), write_run(tmp_path / "new.json", joules=30.0)
    assert compare(capsys, *sides, "--strict")[0] == 1


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"machine": {**MACHINE, "cpu": "another"}}, "another machine: *cpu: one / another"),
        ({"machine": {**MACHINE, "memory_gib": None}}, "another machine: *memory_gib: 8 / None"),
        (
            {"machine": {k: v for k, v in MACHINE.items() if k != "cores"}},
            "another machine: *cores: 2 / not recorded",
        ),
        (
            {"meter": replace(SENSOR, name="nvml")},
            "another meter: *made-up, measured*nvml, measured",
        ),
        ({"meter": replace(SENSOR, provenance="estimated")}, "another meter: *measured*estimated"),
        (
            {
                "meter": replace(
                    SENSOR,
                    domains=(*SENSOR.domains[:2], replace(SENSOR.domains[2], parent="package-0")),
                )
            },
            "another meter",
        ),
        ({"names": ("b.py::test_b",)}, "nothing to compare: none of the 1 benchmarks"),
        ({"names": ()}, "no benchmark of this run has joules"),
    ],
)
def test_exit_2_if_runs_are_not_comparable(tmp_path, capsys, other, words):
    code, out = compare(
        capsys, write_run(tmp_path / "old.json"), write_run(tmp_path / "new.json", **other)
    )
    assert code == 2 and not out.out
    assert re.search(words.replace("*", ".*"), out.err), out.err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        ("", "not JSON"),
        ("{}", "not a run"),
        ('{"benchmarks": []}', "saved without --energy"),
        ("[1", "not JSON"),
    ],
)
@pytest.mark.parametrize("side", [0, 1])
def test_exit_2_for_files_that_are_not_runs(tmp_path, capsys, content, words, side):
    good, bad = write_run(tmp_path / "good.json"), tmp_path / "bad.json"
    if content is not None:
        bad.write_text(content)
    code, out = compare(capsys, *([good, bad] if side else [bad, good]))
    assert code == 2 and words in out.err and str(bad) in out.err


def test_exit_2_for_an_empty_folder_and_invalid_options(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    run = write_run(tmp_path / "run.json")
    assert compare(capsys, run, tmp_path / "empty")[0] == 2
    for option in ("--last=0", "--tolerance=x", "--alpha=2", "--quality-tolerance=-1"):
        code, out = compare(capsys, run, run, option)
        assert code == 2 and option.split("=")[0][2:] in out.err


def test_missing_benchmarks_are_named(tmp_path, capsys):
    old = write_run(tmp_path / "old.json", names=("test_both", "test_gone"))
    code, out = compare(
        capsys, old, write_run(tmp_path / "new.json", names=("test_both", "test_new"))
    )
    assert code == 0
    assert re.search(r"- test_new *\n    not in the baseline\n", out.out)
    assert re.search(r"- test_gone *\n    in the baseline, but not in the new run\n", out.out)
    assert "NOT GATED (1x): not in the baseline" in out.out


def test_a_quality_with_a_ceiling_is_better_when_smaller(tmp_path, capsys):
    low = write_run(tmp_path / "low.json", qualities={"error": 0.2}, ceiling=0.9)
    high = write_run(tmp_path / "high.json", qualities={"error": 0.5}, ceiling=0.9)
    assert compare(capsys, low, high)[0] == 1
    assert compare(capsys, high, low)[0] == 0


def test_null_quality_regresses(tmp_path, capsys):
    old = write_run(tmp_path / "old.json", qualities={"accuracy": 0.9})
    code, out = compare(
        capsys, old, write_run(tmp_path / "new.json", qualities={"accuracy": math.nan})
    )
    assert code == 1 and "0.900 → not a number" in out.out
    assert "accuracy is not a number in the new run" in out.out


def test_a_folder_gives_its_newest_runs(tmp_path, capsys):
    folder = write_folder(tmp_path / "runs", [9.0, 8.0, *TEN])
    assert [run.path[-13:-9] for run in load_runs(folder, 3)] == ["0010", "0011", "0012"]
    assert compare(capsys, folder, write_folder(tmp_path / "new", TEN))[0] == 0
    told = json.loads(
        compare(capsys, folder, tmp_path / "new", "--last", "12", "--format=json")[1].out
    )
    assert len(told["old"]) == 12


def test_runs_without_numbers_are_sorted_by_date(tmp_path):
    for name, at in (("b", "2026-01-01"), ("a", "2026-03-01"), ("c", "2026-02-01")):
        write_run(tmp_path / f"{name}.json", at=at)
    assert [run.path[-6:] for run in load_runs(tmp_path, 2)] == ["c.json", "a.json"]


def test_a_folder_skips_runs_without_joules_and_names_broken_ones(tmp_path):
    write_run(tmp_path / "0001_ours.json")
    (tmp_path / "0002_plain.json").write_text('{"benchmarks": []}')
    (tmp_path / "0003_cut.json").write_text("{")
    (tmp_path / "0004_empty.json").touch()
    skipped = []
    assert len(load_runs(tmp_path, on_skip=skipped.append)) == 1
    assert [line.partition(": not JSON")[0] for line in skipped] == [
        str(tmp_path / name) for name in ("0004_empty.json", "0003_cut.json")
    ]


def test_a_folder_of_broken_files_is_refused(tmp_path):
    (tmp_path / "0001_cut.json").write_text("{")
    with pytest.raises(RunUnreadable, match="none of 1 files is a run with joules"):
        load_runs(tmp_path)


def test_compare_names_the_broken_files_of_a_folder(tmp_path, capsys):
    new = write_run(tmp_path / "new.json")
    write_run(tmp_path / "runs" / "0001_ours.json")
    (tmp_path / "runs" / "0002_cut.json").write_text('{"benchmarks": [')
    code, out = compare(capsys, tmp_path / "runs", new)
    assert code == 0
    assert "passed over: " in out.err and "0002_cut.json: not JSON" in out.err


CPYTHON = {"python": "CPython 3.13.0", "distributions": {"polars": "1.9.0", "scipy": "1.14.1"}}


@pytest.mark.parametrize(
    ("software", "difference"),
    [
        ({**CPYTHON, "python": "PyPy 3.13.0"}, "python: CPython 3.13.0 / PyPy 3.13.0"),
        ({**CPYTHON, "distributions": {"polars": "1.10.0"}}, "polars: 1.9.0 / 1.10.0"),
        ({**CPYTHON, "distributions": {"pandas": "2.2.3"}}, None),
        (None, None),
    ],
)
def test_runs_of_other_software_are_compared_only_if_asked(tmp_path, capsys, software, difference):
    old = write_run(tmp_path / "old.json", software=CPYTHON)
    new = write_run(tmp_path / "new.json", software=software)
    code, out = compare(capsys, old, new)
    if difference is None:
        assert code == 0
        assert "software: CPython 3.13.0, " in out.out
        assert ("software of NEW: saved by an older version" in out.out) == (software is None)
        return
    assert code == 2
    assert f"{difference}; pytest-energy compare --across software" in out.err
    code, out = compare(capsys, old, new, "--across", "software")
    assert code == 0
    assert f"software differs, OLD / NEW: {difference}" in out.out


def test_a_file_is_identical_to_itself(tmp_path, capsys):
    run = write_run(tmp_path / "run.json", qualities={"f1": 0.7}, at="2026-02-03T04:05:06")
    code, out = compare(capsys, run, run, "--strict")
    assert code == 0
    assert out.out.startswith("OLD and NEW are identical")
    assert "1 test: 1 within 3 %" in out.out
    later = write_run(tmp_path / "later.json", qualities={"f1": 0.7}, at="2026-02-03T04:05:07")
    assert compare(capsys, run, later, "--strict")[0] == ExitCode.INCONCLUSIVE


@pytest.mark.parametrize("cpu", ["unknown", "", None])
def test_an_unknown_cpu_equals_no_other(tmp_path, capsys, cpu):
    runs = [write_run(tmp_path / name, machine={**MACHINE, "cpu": cpu}) for name in ("a", "b")]
    code, out = compare(capsys, *runs)
    assert code == 2 and f"cpu: {cpu} / {cpu}" in out.err


@pytest.mark.parametrize(("old", "new", "code"), [(31, 32, 0), (30, 32, 2), (2, 3, 2)])
def test_memory_may_differ_by_rounding(tmp_path, capsys, old, new, code):
    runs = [
        write_run(tmp_path / str(gib), machine={**MACHINE, "memory_gib": gib}) for gib in (old, new)
    ]
    assert compare(capsys, *runs)[0] == code


def test_a_folder_of_two_machines_is_refused(tmp_path, capsys):
    write_run(tmp_path / "runs" / "one" / "0001_a.json")
    write_run(tmp_path / "runs" / "two" / "0001_b.json", machine={**MACHINE, "cores": 64})
    code, out = compare(capsys, tmp_path / "runs", write_run(tmp_path / "new.json"))
    assert code == 2 and "cores: 2 / 64" in out.err


EVIL = (
    'a.py::test["<img src=x onerror=alert(1)>|`*_@someone_*`](http://evil.example)#1 '
    'www.evil.example\x1b[31m\n## boo"]'
)


def test_names_are_escaped_in_every_output(tmp_path, capsys):
    sides = [
        write_folder(tmp_path / side, TEN, names=(EVIL,), joules=joules)
        for side, joules in (("old", 10.0), ("new", 12.0))
    ]
    code, table = compare(capsys, *sides)
    assert code == 1 and "\x1b" not in table.out and "\n##" not in table.out
    _, text = compare(capsys, *sides, "--format=markdown")
    rows = [line for line in text.out.splitlines() if line.startswith("| 🔴 | <code>")]
    assert len(rows) == 1
    for row in rows:
        assert row.count("|") == 7
        name = row.split("</code>")[0].removeprefix("| 🔴 | <code>")
        assert not set(name) & set("<>`*_@[]#:\"'\\!") - set("#")
        assert html.unescape(name) == plain(EVIL.removeprefix("a.py::"))
    assert (
        json.loads(compare(capsys, *sides, "--format=json")[1].out)["benchmarks"][0]["name"] == EVIL
    )


@given(st.text())
def test_markdown_renders_as_the_original_text(text):
    assert html.unescape(in_markdown(text)) == plain(text)
    assert not set(in_markdown(text)) & set("<>`*_[]|\\~!@:\"'\n")


def test_markdown_folds_rows_that_did_not_regress(tmp_path, capsys):
    old = write_folder(tmp_path / "old", TEN)
    text = compare(
        capsys, old, write_folder(tmp_path / "worse", TEN, joules=12.0), "--format=markdown"
    )[1].out
    assert (
        text.startswith(f"{MARKER}\n### 🔴 Energy: 1 with more energy") and "<details>" not in text
    )
    text = compare(capsys, old, write_folder(tmp_path / "same", TEN), "--format=markdown")[1].out
    assert text.startswith(f"{MARKER}\n### ⚪ Energy: 1 within 3 %")
    assert text.index("<details>") < text.index("| benchmark")


def test_carbon_is_printed_only_with_the_users_intensity(tmp_path, capsys):
    sides = [write_run(tmp_path / f"{joules}.json", joules=joules) for joules in (9.0, 18.0)]
    grams, meaning = "1.00 → 2.00 kg", "grams per million calls at 400 g per kWh"
    for shape in ((), ("--format=markdown",)):
        out = compare(capsys, *sides, "--carbon-intensity", "400", *shape)[1].out
        shown = html.unescape(out).replace("\N{NO-BREAK SPACE}", " ")
        assert grams in shown and meaning in shown
    document = json.loads(
        compare(capsys, *sides, "--carbon-intensity", "400", "--format=json")[1].out
    )
    assert document["carbon_intensity_g_per_kwh"] == 400
    assert document["benchmarks"][0]["changes"][0]["new_grams_per_million_calls"] == pytest.approx(
        2000
    )
    for shape in ((), ("--format=markdown",)):
        assert "CO2e" not in compare(capsys, *sides, *shape)[1].out
    code, said = compare(capsys, *sides, "--carbon-intensity", "dirty")
    assert code == 2 and said.err.startswith(
        "pytest-energy: --carbon-intensity takes the grams of CO2e per kWh"
    )


def test_the_noise_of_a_machine_is_saved_and_used(tmp_path, capsys):
    save_noise(Noise(0.01, 0.02, 12, "measured by the test"), MACHINE, SENSOR.name)
    assert load_noise({**MACHINE, "cores": 4}, SENSOR.name) == DEFAULT_NOISE
    assert load_noise(MACHINE, "another") == DEFAULT_NOISE
    code, out = compare(
        capsys, write_run(tmp_path / "old.json"), write_run(tmp_path / "new.json", joules=12.0)
    )
    assert code == 1 and "measured by the test" in out.out
    for broken in (
        '{"schema": 1}',
        "{",
        '{"schema": 1, "seconds_sd": -1, "joules_sd": 0.1, "runs": 12, "source": ""}',
        '{"schema": 1, "seconds_sd": 0.1, "joules_sd": 0.1, "runs": Infinity, "source": ""}',
        f'{{"schema": 1, "seconds_sd": 1{"0" * 400}, "joules_sd": 1, "runs": 2, "source": ""}}',
        "[" * 100_000,
    ):
        noise_path(MACHINE, SENSOR.name).write_text(broken)
        code, out = compare(capsys, tmp_path / "old.json", tmp_path / "new.json")
        assert code == 2 and "pytest-energy noise" in out.err


@pytest.mark.slow
def test_noise_is_measured(capsys):
    command = [
        sys.executable,
        "-m",
        "pytest_energy",
        "noise",
        "--minutes",
        "0.02",
        "--meter",
        "estimate",
    ]
    ended = subprocess.run(
        [*command, "--format=json"], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    kept = load_noise(fingerprint(), "estimate")
    assert kept.runs == 12 and kept.seconds_sd == told["seconds_sd"] > 0


@pytest.mark.parametrize("minutes", ["0", "-1", "nan", "inf"])
def test_invalid_minutes_are_refused(capsys, minutes):
    assert cli.main(["noise", f"--minutes={minutes}"]) == 2
    assert "--minutes" in capsys.readouterr().err


# Inside pytest.

MEASURED = (
    "--energy",
    "--energy-meter",
    "clock",
    "--energy-max-time",
    "0.25",
    "-p",
    "no:cacheprovider",
)
SUITE = """
def test_it(energy):
    energy(lambda: sum(range({steps})))
    energy.quality("accuracy", {accuracy})
"""


@pytest.mark.slow
def test_against_the_newest_saved_run(suite):
    # On a busy machine the same code took 2.2 times as long in a later run. With this tolerance it
    # would have to take 3.7 times as long; the slower code below takes 100 times.
    measured = (*MEASURED, "--energy-tolerance=90%")
    suite.makepyfile(SUITE.format(steps=10_000, accuracy=0.9))
    assert suite.runpytest(*measured, "--benchmark-autosave").ret == 0
    unchanged = suite.runpytest(*measured, "--energy-compare")
    assert unchanged.ret == 0
    unchanged.stdout.fnmatch_lines(
        [
            "*energy against saved runs*",
            "? test_it *",
            "OLD: *0001_*",
            "NEW: this run",
        ]
    )
    strict = suite.runpytest(*measured, "--energy-compare", "--energy-strict")
    # Two runs of the same code are usually inconclusive; on a busy machine they may look improved.
    assert strict.ret == ("inconclusive" in strict.stdout.str())
    suite.makepyfile(SUITE.format(steps=1_000_000, accuracy=0.9))
    slower = suite.runpytest(*measured, "--energy-compare", "--benchmark-autosave")
    slower.assert_outcomes(passed=1)
    assert slower.ret == 1
    slower.stdout.re_match_lines([r"    time \+.* %.*, limit \+90 %"])
    suite.makepyfile(SUITE.format(steps=10_000, accuracy=0.8))
    first = next(suite.path.glob(".benchmarks/*/0001_*.json"))
    assert (
        suite.runpytest(
            *measured, f"--energy-compare={first}", "--energy-quality-tolerance", "20%"
        ).ret
        == 0
    )
    assert suite.runpytest(*measured, f"--energy-compare={first}").ret == 1


@pytest.mark.parametrize("option", ["--energy-compare", "--energy-compare=nowhere.json"])
def test_no_saved_run_is_a_usage_error(suite, option):
    suite.makepyfile(SUITE.format(steps=10, accuracy=1))
    result = suite.runpytest(*MEASURED, option)
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: --energy-compare: *"])


def test_energy_compare_requires_energy(suite):
    result = suite.runpytest("--energy-compare")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: --energy-compare requires --energy*"])


def test_another_machine_is_printed_as_not_gated(suite):
    write_run(suite.path / "old.json")
    suite.makepyfile(SUITE.format(steps=10_000, accuracy=0.9))
    result = suite.runpytest(*MEASURED, "--energy-compare=old.json")
    assert result.ret == 4
    result.stderr.fnmatch_lines(
        ["ERROR: --energy-compare would gate nothing: another machine: *cpu: one / *"]
    )
    allowed = suite.runpytest(*MEASURED, "--energy-compare=old.json", "--energy-allow-ungated")
    assert allowed.ret == 0
    allowed.stdout.fnmatch_lines(["NOT GATED against old.json: another machine: *cpu: one / *"])


def test_nothing_measured_is_not_gated(suite):
    write_run(suite.path / "old.json", machine=fingerprint())
    suite.makepyfile("def test_it(): pass")
    suite.runpytest(
        *MEASURED, "--energy-compare=old.json", "--energy-allow-ungated"
    ).stdout.fnmatch_lines(
        ["NOT GATED against old.json: this run: no benchmark of this run has joules*"]
    )
