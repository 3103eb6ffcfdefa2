"""What a run says in the terminal, in JUnit XML and in a pull request's comment."""

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
from pytest_energy.model import Quality
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
EVIL = "test_it.py::test_a[<script>alert(1)</script>|`x`\x1b[31m\n# ä🔥\"&'@team]"


def made(name, speed, power, meter=SENSOR, group="PLAID t1"):
    """A benchmark whose candidate is so many times as fast, at so many times the power; judged."""
    blocks = tuple(
        block(window(2e-3 * f, 24e-3 * f), window(2e-3 / speed, 24e-3 / speed * power))
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


@pytest.mark.parametrize("width", [80, 120, 200])
def test_the_table(width, snapshot):
    text = summary(RUN, SENSOR, Look(width, grams_per_kwh=400.0))
    assert text == snapshot
    table = text.split("\n4 benchmarks")[0]
    assert max(map(len, table.splitlines())) <= width
    assert "…" not in table, "something was cut"


@pytest.mark.parametrize("width", [60, 80, 139, 140, 200])
@pytest.mark.parametrize("meter", [SENSOR, ESTIMATE], ids=lambda meter: meter.provenance)
def test_each_figure_of_energy_has_its_provenance_and_each_verdict_its_word(width, meter):
    text = summary([made("a.py::test_a", 0.5, 0.8, meter)], meter, Look(width, grams_per_kwh=400.0))
    for figure in (" W ", " mJ ", " g CO2e "):
        assert (
            f"{figure}{meter.provenance}" in text or f"k{figure.strip()} {meter.provenance}" in text
        )
    for said in ("speedup regressed", "accuracy met", ": slower, less power, not"):
        assert said in text
    assert "400 g per kWh" in text and "\x1b" not in text


@given(results(), st.integers(1, 250), st.booleans())
@settings(max_examples=50)
def test_any_result_is_text_and_no_escape_sequence(any_result, width, quiet):
    text = summary([any_result], any_result.measurement.meter, Look(width, quiet=quiet))
    assert all(line.isprintable() for line in text.split("\n"))


def test_colour_is_beside_the_words_and_not_in_their_place():
    of = [made("a.py::test_a", 0.5, 0.8)]
    coloured = summary(of, SENSOR, Look(80, colour=True))
    assert "\x1b[1;31mspeedup regressed\x1b[0m" in coloured
    strip = re.sub(r"\x1b\[[\d;]*m", "", coloured)
    assert [line.rstrip() for line in strip.split("\n")] == summary(of, SENSOR, Look(80)).split(
        "\n"
    )


def test_quiet_leaves_the_table_out_and_nothing_that_was_not_gated(suite):
    suite.makepyfile(WORK + "def test_it(energy): energy(work)")
    quiet = suite.runpytest(*MEASURED, "-q")
    quiet.stdout.fnmatch_lines(["1 benchmarks; *", "NOT GATED (1x): *"])
    quiet.stdout.no_fnmatch_line("*per call, baseline*")


@given(st.text(), st.sampled_from(["ascii", "cp1252", "utf-8", None]))
def test_a_terminal_gets_only_characters_that_it_has(text, encoding):
    shown = encodable(text, encoding)
    if encoding != "utf-8" and encoding is not None:
        shown.encode(encoding)
    assert shown.count("\n") == text.count("\n")


def test_an_ascii_log_keeps_its_lines(suite, monkeypatch):
    suite.makepyfile(
        WORK
        + "def test_it(energy):\n    energy(work)\n    energy.quality('q', 1.0, 0.5)\n    energy.quality('µ', 1.0)"
    )
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    shown = suite.runpytest_subprocess(*MEASURED)
    shown.stdout.fnmatch_lines(["*q 1.000 >= 0.500*"])
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
    suite.runpytest(*MEASURED, "--junitxml", "out.xml").assert_outcomes(failed=1)
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
    assert found["energy_baseline"] == "fp32" and found["energy_speedup"].startswith("1.51 [")
    assert found["energy_category"] == "2: faster, same power" and found[
        "energy_verdict_speedup"
    ].startswith("improved: ")
    assert math.isclose(float(found["energy_joules"]), 16e-3)


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
        *MEASURED, "--energy-markdown", "out.md", "--energy-carbon-intensity", "400"
    ).assert_outcomes(passed=1, failed=1)
    text = (suite.path / "out.md").read_text(encoding="utf8")
    assert text.startswith(f"{MARKER}\n### Energy: **missed**\n")
    assert (
        text.index("test&#95;worse")
        < text.index("<details>")
        < text.index("test&#95;fine")
        < text.index("</details>")
    )
    assert (
        "<script>" not in text and "@team" not in text and "<script>|`@team" in html.unescape(text)
    )
    assert "at 400 g per kWh" in text and "1 tests of this run failed" in text


def test_a_comment_without_energy_or_into_nowhere_is_an_error(suite):
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
entries = st.builds(
    Entry,
    names,
    st.booleans(),
    st.lists(st.tuples(names, names, names), min_size=1, max_size=3).map(tuple),
)


@given(st.lists(entries, max_size=8), st.integers(1, 60), st.lists(names, max_size=30))
@settings(max_examples=50)
def test_any_comment_fits_says_what_was_cut_and_keeps_what_failed(some, times, notes):
    comment = Comment("nothing", "counts", tuple(some * times), tuple(notes))
    text = rendered(comment)
    assert text.startswith(MARKER) and len(text) <= LONGEST_COMMENT
    shown = sum(len(part) for part in [re.findall(r"(?m)^\| <code>", text)])
    wanted = sum(len(entry.lines) for entry in comment.entries)
    cut = re.search(r"\*\*Cut: (\d+) of (\d+) benchmarks, (\d+) of them failed", text)
    assert (cut is None) == (shown == wanted)
    assert text.count("<details>") == text.count("</details>")
    if cut and int(cut[3]):
        assert "<details>" not in text


def test_a_comment_of_2000_regressions_shows_as_many_as_fit():
    many = tuple(
        Entry(f"test_it.py::test_a[{n}]", True, (("12 → 13 mJ measured", "1.1", "regressed"),))
        for n in range(2000)
    )
    text = rendered(Comment("**regressed**", "2000 regressed", many, ("a note",)))
    assert LONGEST_COMMENT * 0.97 < len(text) <= LONGEST_COMMENT
    shown = text.count("<code>")
    assert (
        f"**Cut: {2000 - shown} of 2000 benchmarks, {2000 - shown} of them failed**" in text
        and text.endswith("- a note")
    )


def test_the_comment_names_the_evil_test_as_text():
    text = live_markdown(RUN, SENSOR, [])
    assert plain(EVIL) in html.unescape(text) and "<script>" not in text and "\x1b" not in text


@pytest.mark.parametrize("text", ["x", "-1", "nan", "inf", "4,2"])
def test_a_carbon_intensity_that_is_none_is_refused(text):
    with pytest.raises(
        OptionError, match="--energy-carbon-intensity takes the grams .* 0 or more, such as 400"
    ):
        Options.of({"carbon_intensity": text})


def test_nothing_is_told_within_a_window():
    """Of each pair of readings of a fast meter the first opens a window: there must be an even number before each step."""
    meter = ClockMeter()
    told = []

    def work():
        return sum(range(1000))

    plan = Plan(max_time_s=0.2, on_step=lambda step: told.append((step.phase, meter.reads)))
    measure(work, meter=meter, plan=plan)
    versus(work, work, meter=meter, plan=plan)
    assert {phase for phase, _ in told} == {"warm-up", "calibration", "windows", "blocks"}
    assert not any(
        reads % 2 for _, reads in told
    )  # how many there are is up to how busy the machine is


def test_the_stopwatch_gives_each_phase_its_time_and_none_to_showing():
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


def test_time_left():
    step = Step("blocks", 8, 1.0, 5.0)
    assert left_s(step, [], 2, 5.0) == 14.0 and left_s(step, [2.0, 4.0], 2, 5.0) == 10.0
    assert (
        live_line(step, "test_a", 1, 3, 75.0, 200)
        == "energy 1/3, about 1 min 15 s left: 8 blocks, 1.0 of 5.0 s; test_a"
    )
    assert len(live_line(step, "x" * 300, 1, 3, 75.0, 79)) == 79


def test_a_log_gets_plain_lines(suite):
    suite.makepyfile(
        WORK + "def test_a(energy): energy(work)\ndef test_b(energy): energy.versus(work, work)"
    )
    shown = suite.runpytest_subprocess(*MEASURED, "-v")
    shown.stdout.re_match_lines(
        [
            r".*::test_a PASSED +\[ 50%\]",
            r"energy 1/2: [\d.]+ s, warm-up .*, calibration .*, windows .* \(\d+\); about .* left",
            r".*::test_b PASSED +\[100%\]",
            r"energy 2/2: [\d.]+ s, warm-up .*, calibration .*, blocks .* s \(\d+\)$",
        ]
    )
    assert not set(shown.stdout.str()) & {"\r", "\x1b", "\b"}
    suite.runpytest(*MEASURED).stdout.no_fnmatch_line("energy 1/2*")


def test_a_terminal_gets_one_line_that_is_written_over(suite):
    suite.makepyfile(WORK + "def test_a(energy): energy(work)")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "pytest", *MEASURED, "-v", "--color=no"]
    environment = {**os.environ, "COLUMNS": "100", "TERM": "xterm"}
    with subprocess.Popen(
        command, cwd=suite.path, stdout=theirs, stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 4096):
                shown += piece
        except OSError:  # EIO: how a terminal says that the other side is gone
            pass
    os.close(ours)
    text = shown.decode()
    assert process.returncode == 0, text
    assert re.search(
        r"\renergy 1/1, about [\d.]+ s left: .*; test_a +\r +\r\S*::test_a PASSED", text
    ), text
