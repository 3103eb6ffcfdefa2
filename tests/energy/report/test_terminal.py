"""The report of a run in the terminal, in JUnit XML and in a pull request's comment."""

import html
import math
import os
import pty
import re
import subprocess
import sys
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_energy.errors import OptionError
from pytest_energy.gate import Gate
from pytest_energy.measuring.paired import versus
from pytest_energy.measuring.single import measure
from pytest_energy.measuring.stopwatch import PhaseTimes, Stopwatch
from pytest_energy.model import CpuSeconds, Quality, Verdict
from pytest_energy.options import Options
from pytest_energy.plan import Plan, Step
from pytest_energy.report.escape import encodable, plain
from pytest_energy.report.junit import properties
from pytest_energy.report.markdown import (
    LONGEST_COMMENT,
    MARKER,
    Comment,
    Entry,
    live_markdown,
    rendered,
)
from pytest_energy.report.terminal import Look, summary
from pytest_energy.report.timings import left_s, live_line
from pytest_energy.report.view import STATES, RunView
from tests.energy.rigs.clock_meter import ClockMeter, VirtualClock
from tests.energy.rigs.made_up import (
    ESTIMATE,
    SENSOR,
    block,
    compared,
    measurement,
    result,
    results,
    window,
)

WORK = "def work(n=20_000): return sum(range(n))\n"
MEASURED = (
    "--energy",
    "--energy-meter",
    "clock",
    "--energy-max-time",
    "0.5",
    "-p",
    "no:cacheprovider",
)
# For tests that need a verdict: on a busy machine, six windows take longer.
PATIENT = (*MEASURED, "--energy-max-time", "2")
EVIL = "test_it.py::test_a[<script>alert(1)</script>|`x`\x1b[31m\n# ä🔥\"&'@team]"


def made(name, speed, power, meter=SENSOR, group="PLAID t1", scale=100.0):
    """A judged comparison whose candidate has `speed` times the speed, `power` times the power."""
    seconds, joules = 2e-3 * scale, 24e-3 * scale
    blocks = tuple(
        block(window(seconds * f, joules * f), window(seconds / speed, joules / speed * power))
        for f in [1 + 0.001 * n for n in range(16)]
    )
    idle = (window(0.1, 0.3, 0),) * 6
    of = replace(measurement(*[b.side("B") for b in blocks], meter=meter, idle=idle), name=name)
    judged = replace(
        result(of, compared(blocks, meter), Quality("accuracy", 0.89, 0.87)), group=group
    )
    return replace(judged, verdicts=Gate().judge(judged))


RUN = (
    made("benchmarks/test_compression.py::test_compression[PLAID-t1-int8_static-batch1]", 1.5, 1.0),
    made(
        "benchmarks/test_compression.py::test_compression[PLAID-t1-l1_structured_int8-batch1]",
        1.2,
        1.4,
    ),
    made(
        "benchmarks/test_compression.py::test_compression[ECG200-t1-layerwise_magnitude-batch256]",
        0.5,
        0.8,
        group="ECG200 t1",
    ),
    made(EVIL, 1.0, 1.0, group=None),
)


def view_of(*made_up, meter=SENSOR, tolerance=0.03):
    return RunView.of_results(made_up, meter, tolerance)


@pytest.mark.parametrize("width", [80, 120, 200])
@pytest.mark.parametrize("meter", [SENSOR, ESTIMATE], ids=lambda meter: meter.provenance)
def test_the_table(width, meter, snapshot):
    run = [replace(each, measurement=replace(each.measurement, meter=meter)) for each in RUN]
    run = [replace(each, verdicts=Gate().judge(each)) for each in run]
    text = summary(view_of(*run, meter=meter), Look(width, grams_per_kwh=400.0))
    assert text == snapshot
    table = text.split("\nNOT GATED")[0].split("\nCO2e: ")[0].splitlines()
    rows = [line for line in table if not line.startswith(("    ", "~"))]
    assert max(map(len, rows[:1] + rows[2:])) <= max(width, max(map(len, view_of(*run).labels)) + 2)
    assert "…" not in text, "something was cut"


def test_failed_tests_come_first_with_their_limits():
    """The first lines name the failed test, its change and the limit, left of column 80."""
    run = [made(f"a.py::test_{n}", 1.0, 1.0) for n in range(20)] + [
        made("a.py::test_bad", 0.5, 0.8)
    ]
    lines = summary(view_of(*run), Look(80)).splitlines()
    assert lines[0] == "21 tests: 1 slower, 20 within 3 %"
    assert lines[3].startswith("✗ test_bad ")
    assert lines[4] == "    time +99 % [+97, +100], limit +3 %"
    assert len(lines) <= 40


def test_an_estimate_is_labelled_once_and_repeats_no_time():
    shown = summary(view_of(made("a.py::test_a", 0.5, 0.8, ESTIMATE), meter=ESTIMATE), Look(200))
    assert shown.casefold().count("estimated") == 1
    assert "energy ~" in shown
    for repeated in ("powerup", "greenup", "watts", "energy change"):
        assert repeated not in shown


@pytest.mark.parametrize(
    ("cpu", "line"),
    [
        (CpuSeconds(0.3, 0.1), "other programs: 25% of the CPU time, their joules included"),
        (None, None),
    ],
)
def test_details_show_the_share_of_other_programs(cpu, line):
    windows = [window(1.0, 2.0)._replace(cpu=cpu)] * 6
    shown = summary(view_of(result(measurement(*windows))), Look(80, details=True))
    assert line in shown if line else "other programs" not in shown


def test_details_show_every_figure_and_reason():
    run = [made("a.py::test_a", 0.5, 0.8)]
    assert "powerup" not in summary(view_of(*run), Look(80))
    shown = summary(view_of(*run), Look(80, details=True))
    for figure in (
        "speedup 0.5",
        "greenup",
        "powerup",
        "category 6: slower",
        "power ",
        "Idle power",
    ):
        assert figure in shown
    assert "(baseline fp32, 16 blocks at 99%" in shown


@pytest.mark.parametrize(
    ("sort", "first"), [("change", "slow"), ("name", "big"), ("time", "big"), ("energy", "big")]
)
def test_rows_are_sorted(sort, first):
    big = made("a.py::test_big", 1.0, 1.0, scale=1000.0)
    slow = made("a.py::test_slow", 0.99, 1.0)
    lines = summary(view_of(slow, big), Look(80, sort=sort)).splitlines()
    assert lines[3].startswith(f"✓ test_{first} ")


@given(results(), st.integers(1, 250), st.booleans())
@settings(max_examples=50)
def test_the_summary_of_any_result_is_printable(any_result, width, quiet):
    text = summary(
        view_of(any_result, meter=any_result.measurement.meter),
        Look(width, quiet=quiet, details=True),
    )
    assert all(line.isprintable() for line in text.split("\n"))


def test_colour_changes_no_words():
    view = view_of(made("a.py::test_a", 0.5, 0.8))
    coloured = summary(view, Look(80, colour=True))
    assert "\x1b[1;31m" in coloured and "✗" in coloured
    plain_text = re.sub(r"\x1b\[[\d;]*m", "", coloured)
    assert [line.rstrip() for line in plain_text.split("\n")] == summary(view, Look(80)).split("\n")


def test_quiet_omits_the_table_and_keeps_what_was_not_gated(suite):
    suite.makepyfile(WORK + "def test_it(energy): energy(work)")
    quiet = suite.runpytest(*MEASURED, "-q")
    quiet.stdout.fnmatch_lines(["1 test: 1 not gated", "NOT GATED (1x): *"])
    quiet.stdout.no_fnmatch_line("*energy  *")


@given(st.text(), st.sampled_from(["ascii", "cp1252", "utf-8", None]))
def test_text_is_reduced_to_the_terminals_encoding(text, encoding):
    shown = encodable(text, encoding)
    if encoding != "utf-8" and encoding is not None:
        shown.encode(encoding)
    assert shown.count("\n") == text.count("\n")


def test_an_ascii_log_keeps_its_lines(suite, monkeypatch):
    suite.makepyfile(
        WORK + "def test_it(energy):\n    energy(work)\n"
        "    energy.quality('q', 1.0, 0.5)\n    energy.quality('µ', 1.0)"
    )
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    shown = suite.runpytest_subprocess(*MEASURED)
    shown.stdout.fnmatch_lines(["*1.000 >= 0.5*"])
    shown.stdout.no_fnmatch_line("*\\n*")


def test_junit_xml_has_joules_provenance_and_verdicts(suite):
    suite.makepyfile(
        WORK
        + """
import pytest
@pytest.mark.parametrize("x", ["<script>|`\\"ä🔥"])
@pytest.mark.energy(max_watts=1)
def test_it(energy, x):
    energy(work)
    energy.quality("<b>&", 0.5)
"""
    )
    suite.runpytest(*PATIENT, "--junitxml", "out.xml").assert_outcomes(failed=1)
    case = ElementTree.parse(suite.path / "out.xml").getroot().find(".//testcase")
    found = {each.get("name"): each.get("value") for each in case.iter("property")}
    assert found["energy_provenance"] == "measured" and found["energy_meter"] == "clock"
    assert (
        float(found["energy_watts"]) == pytest.approx(20.0, rel=0.1)
        and float(found["energy_joules"]) > 0
    )
    assert (
        found["energy_verdict_watts"].startswith("missed: ")
        and found["energy_quality_<b>&"] == "0.5"
    )
    assert "<script>" in case.get("name")


def test_junit_properties_of_a_comparison():
    found = dict(properties(RUN[0]))
    assert found["energy_baseline"] == "fp32" and found["energy_speedup"].startswith("1.51")
    assert found["energy_category"] == "2: faster, same power" and found[
        "energy_verdict_speedup"
    ].startswith("improved: ")
    assert math.isclose(float(found["energy_joules"]), 1.6)


@pytest.mark.slow
def test_the_comment_of_a_live_run(suite):
    suite.makepyfile(
        WORK
        + """
import pytest
@pytest.mark.parametrize("x", ["<script>|`@team"])
def test_fine(energy, x): energy.versus(work, work)
@pytest.mark.energy(max_watts=1)
def test_worse(energy): energy(work)
"""
    )
    suite.runpytest(
        *PATIENT, "--energy-markdown", "out.md", "--energy-carbon-intensity", "400"
    ).assert_outcomes(passed=1, failed=1)
    text = (suite.path / "out.md").read_text(encoding="utf8")
    assert text.startswith(f"{MARKER}\n### 🔴 Energy: 1 over the limit, ")
    assert text.index("test&#95;worse") < text.index("test&#95;fine")
    assert (
        "<script>" not in text and "@team" not in text and "<script>|`@team" in html.unescape(text)
    )
    assert "at 400 g per kWh" in text and "of this run failed" not in text


def test_a_comment_requires_energy_and_a_writable_path(suite):
    suite.makepyfile(WORK + "def test_it(energy): energy(work)")
    alone = suite.runpytest("--energy-markdown", "out.md")
    assert alone.ret == 4
    alone.stderr.fnmatch_lines(["ERROR: --energy-markdown requires --energy*"])
    nowhere = suite.runpytest(*MEASURED, "--energy-markdown", "no/out.md")
    assert nowhere.ret == 4
    nowhere.stdout.fnmatch_lines(
        ["*ERROR: --energy-markdown no/out.md: cannot be written: No such file*"]
    )


names = st.text(max_size=30) | st.integers(500, 3000).map(lambda size: "<ä🔥|" * size)
entries = st.builds(Entry, st.sampled_from(STATES), names, st.tuples(names, names, names, names))


@given(st.lists(entries, max_size=8), st.integers(1, 60), st.lists(names, max_size=30), names)
@settings(max_examples=50)
def test_any_comment_fits_reports_the_cut_and_keeps_failures(some, times, notes, command):
    ordered = sorted(some * times, key=lambda entry: STATES.index(entry.state))
    comment = Comment("⚪", "nothing", tuple(ordered), tuple(notes), "method", command)
    text = rendered(comment)
    assert text.startswith(MARKER) and len(text) <= LONGEST_COMMENT
    shown = len(re.findall(r"(?m)^\| \S+ \| <code>", text))
    cut = re.search(r"\*\*Cut: (\d+) of (\d+) benchmarks, (\d+) of them failed", text)
    assert (cut is None) == (shown == len(ordered))
    assert text.count("<details>") == text.count("</details>")
    if cut:
        assert int(cut[1]) == len(ordered) - shown
        assert not int(cut[3]) or "<details>" not in text


def test_a_comment_of_2000_regressions_shows_as_many_as_fit():
    many = tuple(
        Entry("failed", f"test_it.py::test_a[{n}]", ("12 → 13 ms", "+8 %", "12 → 13 mJ", "slower"))
        for n in range(2000)
    )
    text = rendered(Comment("🔴", "2000 slower", many, ("a note",)))
    assert LONGEST_COMMENT * 0.95 < len(text.encode()) <= LONGEST_COMMENT
    shown = text.count("<code>")
    assert f"**Cut: {2000 - shown} of 2000 benchmarks, {2000 - shown} of them failed**" in text
    assert text.endswith("- a note")


def test_failures_come_first_and_unchanged_benchmarks_are_folded():
    run = [made("a.py::test_same", 1.0, 1.0), made("a.py::test_bad", 0.5, 1.0)]
    lines = live_markdown(view_of(*run)).splitlines()
    assert lines[1] == "### 🔴 Energy: 1 slower, 1 within 3 %, against fp32"
    row = html.unescape(next(line for line in lines if "🔴 |" in line)).replace("\xa0", " ")
    assert "test_bad" in row and "202 → 400 ms | +99 % [+97, +100]" in row and "limit +3 %" in row
    assert (
        lines.index("<details><summary>1 other benchmark</summary>") > lines.index(row)
        if row in lines
        else True
    )


def test_the_evidence_in_a_comment_is_one_small_line():
    text = live_markdown(view_of(made("a.py::test_a", 1.0, 1.0, ESTIMATE), meter=ESTIMATE))
    last = text.splitlines()[-1]
    assert last.startswith("<sub>joules are ESTIMATED by guess") and "do not decide" in last
    assert "NOT GATED" not in text


def test_the_comment_escapes_test_names():
    text = live_markdown(view_of(*RUN))
    assert (
        plain(EVIL.removeprefix("test_it.py::")) in html.unescape(text)
        and "<script>" not in text
        and "\x1b" not in text
    )


@pytest.mark.parametrize("text", ["x", "-1", "nan", "inf", "4,2"])
def test_an_invalid_carbon_intensity_is_refused(text):
    with pytest.raises(
        OptionError, match="--energy-carbon-intensity takes the grams .* 0 or more, such as 400"
    ):
        Options.of({"carbon_intensity": text})


def test_no_progress_is_reported_within_a_window():
    """A window is a pair of readings, so each step comes after an even number of them."""
    meter = ClockMeter()
    steps = []

    def work():
        return sum(range(1000))

    plan = Plan(max_time_s=0.2, on_step=lambda step: steps.append((step.phase, meter.reads)))
    measure(work, meter=meter, plan=plan)
    versus(work, work, meter=meter, plan=plan)
    assert {phase for phase, _ in steps} == {"warm-up", "calibration", "windows", "blocks"}
    # The number of steps depends on how busy the machine is.
    assert not any(reads % 2 for _, reads in steps)


def test_the_stopwatch_excludes_the_time_of_the_progress_line():
    clock = VirtualClock()
    clock.LOOK_S = 0.0
    watch = Stopwatch("a", lambda step: clock.work(100.0), clock)
    for phase, seconds, done in (("warm-up", 1.0, 0), ("blocks", 2.0, 0), ("blocks", 3.0, 4)):
        watch(Step(phase, done, allowed_s=5.0))
        clock.work(seconds)
    spent = watch.stop()
    assert spent == PhaseTimes(
        "a", {"warm-up": pytest.approx(1.0), "blocks": pytest.approx(5.0)}, 4
    )


def test_the_progress_line_shows_the_time_left():
    step = Step("blocks", 8, 1.0, 5.0)
    assert left_s(step, [], 2, 5.0) == 14.0 and left_s(step, [2.0, 4.0], 2, 5.0) == 10.0
    assert (
        live_line(step, "test_a", 1, 3, 75.0, 200)
        == "energy 1/3, about 1 min 15 s left: 8 blocks, 1.0 of 5.0 s; test_a"
    )
    assert len(live_line(step, "x" * 300, 1, 3, 75.0, 79)) == 79
    assert live_line(step, f"{'x' * 300}-batch32]", 1, 3, 75.0, 79).endswith("x-batch32]")
    assert len(live_line(step, "x" * 300, 1, 3, 75.0, 20)) == 20
    assert ": 1 block, " in live_line(replace(step, done=1), "test_a", 1, 3, 75.0, 200)
    over = live_line(replace(step, spent_s=7.2), "test_a", 1, 3, 75.0, 200)
    assert over.endswith(": 8 blocks, 7.2 s; test_a")


def test_time_within_its_limit_does_not_settle_energy_that_is_open():
    judged = replace(
        made("a.py::test_a", 1.0, 1.0),
        verdicts=(
            Verdict("speedup", "unchanged", "time +0 % [-1, +1], limit +3 %"),
            Verdict("greenup", "inconclusive", "energy +0 % [-9, +9], limit +3 %"),
        ),
    )
    assert view_of(judged).sentence == "1 inconclusive"


def test_a_cell_of_the_comment_has_a_figure_a_line_and_a_limit_once():
    """Side by side the figures are wider than a comment on GitHub."""
    text = live_markdown(view_of(made("a.py::test_a", 0.8, 1.0)))
    (row,) = [line for line in text.splitlines() if line.startswith("| 🔴")]
    assert row.count("<br>") == 1
    assert row.endswith("| slower; limit +3 % |")


@pytest.mark.slow
def test_a_log_gets_one_plain_line_per_test(suite):
    suite.makepyfile(
        WORK + "def test_a(energy): energy(work)\ndef test_b(energy): energy.versus(work, work)"
    )
    shown = suite.runpytest_subprocess(*MEASURED, "-v")
    shown.stdout.re_match_lines(
        [
            r".*::test_a PASSED +\[ 50%\]",
            r"energy 1/2: [\d.]+ s, warm-up .*, calibration .*, windows .* \(\d+\); about .* left",
            r".*::test_b (PASSED|INCONCLUSIVE) +\[100%\]",
            r"energy 2/2: [\d.]+ s, warm-up .*, calibration .*, blocks .* s \(\d+\)$",
        ]
    )
    assert not set(shown.stdout.str()) & {"\r", "\x1b", "\b"}
    suite.runpytest(*MEASURED).stdout.no_fnmatch_line("energy 1/2*")


def test_an_inconclusive_test_has_a_letter_of_its_own_and_counts_as_passed(suite):
    suite.makepyfile(
        test_it=WORK
        + """
import pytest
def test_fine(energy): energy(work)
@pytest.mark.energy(max_seconds=1)
def test_open(energy):
    with energy.measuring("once"):
        work()
"""
    )
    result = suite.runpytest(*MEASURED)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*.py .[?] *100%]"])
    result = suite.runpytest(*MEASURED, "-v")
    result.stdout.fnmatch_lines(["*::test_fine PASSED*", "*::test_open INCONCLUSIVE*"])


def on_a_terminal(suite, *options):
    """What pytest writes to a terminal of 100 columns."""
    reader, terminal = pty.openpty()
    command = [sys.executable, "-m", "pytest", *MEASURED, "--color=no", *options]
    environment = {**os.environ, "COLUMNS": "100", "TERM": "xterm"}
    with subprocess.Popen(
        command, cwd=suite.path, stdout=terminal, stderr=terminal, env=environment
    ) as process:
        os.close(terminal)
        shown = b""
        try:
            while piece := os.read(reader, 4096):
                shown += piece
        except OSError:  # EIO: the other side closed the terminal
            pass
    os.close(reader)
    assert process.returncode == 0, shown.decode()
    return shown.decode()


def test_a_terminal_gets_one_line_that_is_overwritten(suite):
    suite.makepyfile(WORK + "def test_a(energy): energy(work)")
    text = on_a_terminal(suite, "-v")
    assert re.search(
        r"\renergy 1/1, about [\d.]+ s left: .*; test_a +\r +\r\S*::test_a PASSED", text
    ), text


@pytest.mark.slow
def test_a_terminal_shows_progress_without_an_option_and_keeps_pytests_percentages(suite):
    suite.makepyfile(
        WORK
        + """
import pytest
@pytest.mark.skip
def test_skipped(energy): energy(work)
def test_a(energy): energy(work)
def test_b(energy): energy(work)
"""
    )
    text = on_a_terminal(suite)
    assert re.search(r"\renergy 1/2, about .*; test_a", text), text
    # pytest's line is written again, with the letters so far; the percentage ends at column 100.
    line = text.replace("\r\n", "\n").split("[100%]")[0].rpartition("\n")[2]
    last = line.rpartition("\r")[2]
    assert re.fullmatch(r"\S+\.py s\.\. +", last), repr(last)
    assert len(last) + len("[100%]") == 100 - 1  # as pytest does
    assert "energy 1/2" not in on_a_terminal(suite, "-q")


def test_github_gets_an_annotation_and_the_comment_as_summary(suite, monkeypatch):
    summary_file = suite.path / "summary.md"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary_file))
    monkeypatch.setenv("GITHUB_WORKSPACE", str(suite.path.parent))
    test_file = suite.makepyfile(
        WORK
        + """
import pytest

@pytest.mark.parametrize("x", ["100%,:"])
def test_worse(energy, x):
    energy(work)
    energy.quality("accuracy", 0.5, floor=0.6)
"""
    )
    shown = suite.runpytest(*MEASURED)
    place = f"{suite.path.name}/{test_file.name}"
    shown.stdout.re_match_lines(
        [
            (
                rf"::error file={place},line=\d+,title=energy%3A .*100%25%2C%3A.*"
                r"::accuracy 0.5, floor 0.6"
            )
        ]
    )
    assert summary_file.read_text(encoding="utf8").startswith(
        f"{MARKER}\n### 🔴 Energy: 1 below the floor"
    )


def test_an_unknown_sort_is_refused():
    with pytest.raises(OptionError, match="--energy-sort takes one of change, name, time, energy"):
        Options.of({"sort": "colour"})
