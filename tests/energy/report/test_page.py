"""The HTML page in a browser: it draws the run's results, fetches nothing, and escapes names."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from pytest_energy import cli
from pytest_energy.gate import Gate
from pytest_energy.model import Interval, Quality, Verdict
from pytest_energy.report.html import page
from pytest_energy.report.page_data import MOST_WINDOWS, bounded, embedded, windows_of
from pytest_energy.report.site import badge
from pytest_energy.runs import json_format
from tests.energy.rigs.made_up import ESTIMATE, SENSOR, block, measurement, result, window
from tests.energy.rigs.made_up import compared as compared_blocks
from tests.energy.rigs.saved_runs import METER, Runs, commit_of, write_runs

pytest.importorskip(
    "vl_convert", reason='vl-convert-python is not installed: pip install "pytest-energy[report]"'
)
BROWSER = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
in_a_browser = pytest.mark.skipif(BROWSER is None, reason="no chromium here")
EVIL = "a.py::test_a[<script>evil()</script>\"'&amp;\u2028漢字]"
MOST_BYTES = 1_500_000

# The probe waits for the page, sorts and filters the table, and writes its findings as JSON.
PROBE = """
<script>
const seen = {errors: []};
addEventListener("error", (event) => seen.errors.push(String(event.message)));
addEventListener("unhandledrejection", (event) => seen.errors.push(String(event.reason)));
addEventListener("securitypolicyviolation",
  (event) => seen.errors.push("forbidden: " + event.blockedURI));
for (const level of ["error", "warn"]) {
  const log = console[level];
  console[level] = (...all) => { seen.errors.push(all.join(" ")); log(...all); };
}
const drawn = (times) => new Promise((done) => {
  const look = () =>
    Number(document.body.dataset.drawn ?? 0) >= times ? done() : setTimeout(look, 20);
  look();
});
const points = (chart) =>
  document.querySelectorAll(`#${chart} g.mark-symbol.role-mark path`).length;
const visible = () => [...document.querySelectorAll("tbody tr")]
  .filter((row) => !row.hidden).map((row) => row.cells[0].textContent);
const charts = ["ranked", "pareto", "figures", "window_joules", "window_seconds"];
addEventListener("load", async () => {
  await drawn(1);
  seen.points = Object.fromEntries(charts.map((chart) => [chart, points(chart)]));
  seen.rows = visible();
  const heads = [...document.querySelectorAll("thead th")];
  const head = heads.find((each) => each.textContent.startsWith("joules"));
  head.querySelector("button").click();
  seen.ascending = visible(); seen.sort = head.getAttribute("aria-sort");
  head.querySelector("button").click();
  seen.descending = visible();
  const box = document.getElementById("filter");
  box.value = "batch1] two"; box.dispatchEvent(new Event("input"));
  await drawn(2);
  seen.filtered = visible();
  seen.row_count = document.getElementById("shown").textContent;
  seen.filtered_points = points("ranked");
  seen.trend_hidden = document.getElementById("t-trend").closest("section").hidden;
  seen.trends = document.querySelectorAll(".multiples figure").length;
  seen.fetched = performance.getEntriesByType("resource").length;
  const root = document.documentElement;
  seen.widest = [...document.querySelectorAll("body *")]
    .filter((each) => !each.closest(".wide"))
    .filter((each) => each.getBoundingClientRect().right > root.clientWidth)
    .map((each) => each.tagName + "#" + each.id + "." + each.className?.baseVal).slice(0, 6);
  seen.wider = root.scrollWidth - root.clientWidth;
  seen.alive = typeof evil;
  box.value = ""; box.dispatchEvent(new Event("input"));
  seen.chips = [];
  for (const chip of document.querySelectorAll(".chip")) {
    chip.click();
    seen.chips.push([chip.textContent, chip.getAttribute("aria-pressed"), visible().length]);
    chip.click();
  }
  seen.unfiltered = visible().length;
  const out = document.createElement("pre");
  out.id = "seen";
  out.textContent = JSON.stringify(seen);
  document.body.append(out);
});
</script>
"""


def browsed(path, tmp_path, width=1200):
    """Open the page in a browser and return the probe's findings."""
    probed = tmp_path / "probed.html"
    probed.write_text(
        path.read_text(encoding="utf8").replace("<body>", "<body>" + PROBE, 1), encoding="utf8"
    )
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--virtual-time-budget=20000",
        f"--window-size={width},900",
    ]
    done = subprocess.run(
        [
            BROWSER,
            *options,
            f"--user-data-dir={tmp_path / 'profile'}",
            "--dump-dom",
            probed.as_uri(),
        ],
        capture_output=True,
        encoding="utf8",
        timeout=120,
        check=True,
    )
    found = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stdout[-2000:] + done.stderr[-2000:]
    return json.loads(html.unescape(found[1]))


def results(meter=ESTIMATE):
    """Four benchmarks with an accuracy each; one has a name with markup."""
    made = []
    for number, name in enumerate(
        ["a.py::one[batch1]", "a.py::two[batch1]", "a.py::two[batch32]", EVIL]
    ):
        joules = 5.0 + (number * 7) % 4
        measured = replace(
            measurement(*[window(1.0, joules + 0.01 * i) for i in range(6)], meter=meter), name=name
        )
        each = result(measured, None, Quality("accuracy", 0.9 - 0.01 * number, 0.5))
        made.append(
            replace(
                each,
                name=name,
                group="<b>group</b>",
                verdicts=(Verdict("accuracy", "met", "<i>why</i>"),),
            )
        )
    return made


def save(path, made, at="2026-01-01T00:00:00"):
    entries = [
        {
            "name": each.name,
            "fullname": each.name,
            "group": each.group,
            "stats": {},
            "energy": json_format.result_to_json(each),
        }
        for each in made
    ]
    top = json_format.run_to_json(made[0].measurement.meter, ())
    path.write_text(
        json.dumps(
            {"benchmarks": entries, "commit_info": {"id": "c0ffee"}, "datetime": at, "energy": top}
        ),
        encoding="utf8",
    )
    return path


@pytest.fixture
def compared(pytester):
    """The folder of a saved run of four comparisons, with its page."""
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("batch", ["batch1", "batch32"])
        @pytest.mark.parametrize("which", ["one", "two"])
        def test_pair(energy, which, batch):
            energy.versus(lambda: sum(range(2000)), lambda: sum(range(1000)))
            energy.quality("accuracy", 0.9, floor=0.5)
        """
    )
    ended = pytester.runpytest_subprocess(
        "--energy", "--energy-meter=estimate", "--energy-watts=10,50", "--energy-max-time=0.3",
        "--benchmark-json=run.json", "--energy-report=page.html",
    )  # fmt: skip
    assert ended.ret == 0, ended.outlines
    return pytester.path


@in_a_browser
def test_the_page_of_a_run_works_in_a_browser(compared, tmp_path):
    page, run = compared / "page.html", json_format.read_run(compared / "run.json")
    assert page.stat().st_size < MOST_BYTES
    seen = browsed(page, tmp_path)
    assert seen["errors"] == []
    assert seen["fetched"] == 0
    n_windows = len(run.results[0].measurement.windows)
    assert seen["points"] == {
        "ranked": sum(each.comparison is not None for each in run.results),
        "pareto": sum(bool(each.qualities) for each in run.results),
        "figures": len(run.results),
        "window_joules": 0,  # an estimate's would repeat the seconds
        "window_seconds": n_windows,
    }
    by_joules = sorted(
        seen["rows"],
        key={e.name: json_format.figures(e.measurement).joules.value for e in run.results}.get,
    )
    assert seen["ascending"] == by_joules and seen["descending"] == by_joules[::-1]
    assert seen["sort"] == "ascending"
    assert seen["filtered"] == [
        name for name in seen["rows"] if "batch1]" in name and "two" in name
    ]
    assert seen["row_count"] == "1 of 4 benchmarks" and seen["filtered_points"] == 1
    assert seen["trend_hidden"]


@in_a_browser
def test_the_page_of_the_last_make_bench_works_in_a_browser(tmp_path):
    """Uses the newest saved run of `make bench`, and skips without one."""
    runs = sorted((Path(__file__).parents[3] / ".benchmarks").glob("*/[0-9]*.json"))
    if not runs:
        pytest.skip("no saved run in this tree: make bench saves one")
    page, run = tmp_path / "page.html", json_format.read_run(runs[-1])
    assert cli.main(["report", str(runs[-1]), "-o", str(page)]) == 0
    assert page.stat().st_size < MOST_BYTES
    seen = browsed(page, tmp_path)
    assert seen["errors"] == [] and seen["fetched"] == 0
    compared = [each for each in run.results if each.comparison is not None]
    assert seen["points"]["ranked"] >= len(compared)
    assert seen["points"]["pareto"] == sum(bool(each.qualities) for each in run.results)
    assert len(seen["rows"]) == len(run.results)
    by_joules = sorted(
        seen["rows"],
        key={e.name: json_format.figures(e.measurement).joules.value for e in run.results}.get,
    )
    assert seen["ascending"] == by_joules and seen["descending"] == by_joules[::-1]
    assert seen["filtered"] == [name for name in seen["rows"] if "batch1] two" in name]


@pytest.mark.slow
@in_a_browser
def test_names_are_escaped_and_the_page_fits_a_narrow_window(tmp_path):
    path = save(tmp_path / "run.json", results())
    page = tmp_path / "page.html"
    assert cli.main(["report", str(path), "-o", str(page)]) == 0
    text = page.read_text(encoding="utf8")
    assert "<script>evil" not in text and "<b>group" not in text and "<i>why" not in text
    assert "ESTIMATED by" in text and "joules per call, J ESTIMATED" in text
    seen = browsed(page, tmp_path, width=500)
    assert seen["errors"] == [] and seen["alive"] == "undefined"
    assert any("<script>evil()</script>" in name and "漢字" in name for name in seen["rows"])
    assert seen["points"]["ranked"] == 0 and seen["points"]["pareto"] == 4
    assert seen["wider"] <= 0, seen["widest"]


@pytest.mark.slow
@in_a_browser
def test_a_chip_shows_only_the_tests_that_came_out_so(tmp_path):
    outcomes = ["unchanged", "regressed", "unchanged", "inconclusive"]
    made = [
        replace(each, verdicts=(Verdict("speedup", outcome, f"time {outcome}"),))
        for each, outcome in zip(results(), outcomes, strict=True)
    ]
    path, page = save(tmp_path / "run.json", made), tmp_path / "page.html"
    assert cli.main(["report", str(path), "-o", str(page)]) == 0
    seen = browsed(page, tmp_path)
    assert seen["errors"] == []
    assert seen["chips"] == [
        ["1 slower", "true", 1],
        ["1 inconclusive", "true", 1],
        ["2 unchanged", "true", 2],
    ]
    assert seen["unfiltered"] == 4


@in_a_browser
def test_several_runs_have_a_trend(tmp_path):
    write_runs(tmp_path / "runs", Runs(12, 2))
    page = tmp_path / "page.html"
    assert cli.main(["report", str(tmp_path / "runs"), "-o", str(page)]) == 0
    seen = browsed(page, tmp_path, width=500)
    assert seen["errors"] == []
    assert not seen["trend_hidden"] and seen["trends"] == 2
    assert seen["wider"] <= 0, seen["widest"]


def figures_of(text):
    return re.findall(r"<figure data-name=.*?</figure>", text, re.DOTALL)


def test_each_machine_has_charts_of_its_own_in_the_trend(tmp_path):
    write_runs(tmp_path / "runs" / "a", Runs(3, 2))
    write_runs(tmp_path / "runs" / "b", Runs(2, 1, machine={"cpu": "another"}))
    write_runs(tmp_path / "runs" / "c", Runs(1, 1, machine={"cpu": "a single run of a third"}))
    page = tmp_path / "page.html"
    assert cli.main(["report", str(tmp_path / "runs"), "-o", str(page)]) == 0
    text = page.read_text(encoding="utf8")
    headings = re.findall(r"<h3>(.*?)</h3>", text)
    assert [each.split(",")[0] for each in headings] == ["a CPU", "another"]
    assert len(figures_of(text)) == 3


@pytest.mark.skipif(find_spec("otava") is None, reason="Apache Otava is not installed")
def test_the_trend_marks_a_change_with_its_commit(tmp_path):
    write_runs(tmp_path / "runs", Runs(60, 2, {(1, 40): 1.08}))
    page = tmp_path / "page.html"
    assert cli.main(["report", str(tmp_path / "runs"), "-o", str(page)]) == 0
    changed, unchanged = figures_of(page.read_text(encoding="utf8"))
    assert "test_model[1]" in changed
    up = re.search(r"<li class=worse>joules up (.*?)% since (\w+) \(run (\d+) of 60", changed)
    assert 7 <= float(up[1]) <= 9 and abs(int(up[3]) - 41) <= 2
    assert changed.count("<g class=worse>") == 1
    assert commit_of(0)[:9] in changed and commit_of(59)[:9] in changed
    assert "<g class" not in unchanged


def test_an_estimates_trend_is_of_the_time(tmp_path):
    write_runs(tmp_path / "runs", Runs(3, 1, meter=replace(ESTIMATE, domains=METER.domains)))
    page = tmp_path / "page.html"
    assert cli.main(["report", str(tmp_path / "runs"), "-o", str(page)]) == 0
    text = page.read_text(encoding="utf8")
    (figure,) = figures_of(text)
    assert "seconds of" in figure and "joules of" not in figure
    for constant in ("option value=watts", "option value=joules", "id=window_joules"):
        assert constant not in text


def test_two_files_are_old_and_new(tmp_path, capsys):
    write_runs(tmp_path, Runs(2, 2, {(1, 1): 3.0}, windows=9))
    old, new = sorted(map(str, tmp_path.glob("*.json")))
    page = tmp_path / "page.html"
    assert cli.main(["report", old, new, "-o", str(page)]) == 0
    assert capsys.readouterr().out == f"wrote {page}: {new} against {old}\n"
    text = page.read_text(encoding="utf8")
    assert "<title>Energy: 1 slower" in text
    (failed,) = re.findall(r"<li class=\"failed\"><b>(.*?)</li>", text)
    assert re.match(r"test_model\[1\]</b> (energy|time) \+\d+ % \[.*?\], limit \+3 %", failed)
    assert "OLD: commit " in text and "FEW RUNS" in text


def test_two_files_of_different_machines_are_not_compared(tmp_path, capsys):
    write_runs(tmp_path / "a", Runs(1, 1))
    write_runs(tmp_path / "b", Runs(1, 1, machine={"cpu": "another"}))
    files = [str(next((tmp_path / folder).glob("*.json"))) for folder in "ab"]
    assert cli.main(["report", *files]) == 2
    assert "another machine" in capsys.readouterr().err


def test_a_site_has_an_index_a_page_and_a_badge(tmp_path, capsys):
    write_runs(tmp_path / "runs", Runs(3, 2))
    site = tmp_path / "site"
    assert cli.main(["report", str(tmp_path / "runs"), "--site", str(site)]) == 0
    assert capsys.readouterr().out == f"wrote {site}: 3 runs\n"
    index = (site / "index.html").read_text(encoding="utf8")
    assert len(figures_of(index)) == 2 and 'href="latest.html"' in index
    assert "<script" not in index and len(index) < 30_000
    assert "Over saved runs" in (site / "latest.html").read_text(encoding="utf8")
    badge = json.loads((site / "badge.json").read_text(encoding="utf8"))
    assert badge == {
        "schemaVersion": 1,
        "label": "energy",
        "message": "2 not gated",
        "color": "lightgrey",
    }
    assert cli.main(["report", str(tmp_path / "runs"), "--site", str(site / "badge.json")]) == 2
    assert "--site" in capsys.readouterr().err


def test_the_badge_is_red_where_a_test_failed():
    run = json_format.Run("run.json", {}, tuple(compared_run()), {"id": "c0ffee"}, "")
    made = json.loads(badge(run))
    assert made["message"] == "1 slower, 1 unchanged" and made["color"] == "red"


def test_each_group_has_its_own_front_and_short_names(tmp_path):
    made = [
        replace(each, group=f"batch {n % 2}", name=f"a.py::t[PLAID-{which}-batch{n % 2}]", items=4)
        for n, (each, which) in enumerate(
            zip(results(SENSOR), ("int8", "int8", "student", "student"), strict=True)
        )
    ]
    text = page(json_format.Run("run.json", {}, tuple(made), {}, ""))
    data = json.loads(re.search(r"id=data>(.*?)</script>", text)[1])
    assert {row["short"] for row in data["rows"]} == {"int8", "student"}
    assert {row["group"] for row in data["rows"]} == {"batch 0", "batch 1"}
    assert all(row["energy"] == pytest.approx(row["joules"] / 4) for row in data["rows"])
    x = data["charts"]["pareto"]["layer"][0]["encoding"]["x"]
    assert x["title"] == "joules per item"


def test_the_page_of_a_large_run_stays_small(tmp_path):
    write_runs(tmp_path, Runs(1, 300, windows=60))
    assert cli.main(["report", str(tmp_path), "-o", str(tmp_path / "page.html")]) == 0
    assert (tmp_path / "page.html").stat().st_size < MOST_BYTES
    run = json_format.read_run(next(tmp_path.glob("0001_*.json")))
    assert sum(map(len, windows_of(run.results))) <= MOST_WINDOWS


def test_data_cannot_close_its_script_element():
    text = embedded({"name": "</script><!--\u2028", "value": 1.5})
    assert "<" not in text and "\u2028" not in text
    assert json.loads(text) == {"name": "</script><!--\u2028", "value": 1.5}


def test_errors_are_one_line(tmp_path, capsys, monkeypatch):
    path = save(tmp_path / "run.json", results())
    torn = tmp_path / "torn.json"
    torn.write_text("{")
    for arguments in (
        [str(tmp_path / "none")],
        [str(torn)],
        [str(path), "-o", str(tmp_path / "no" / "page.html")],
    ):
        assert cli.main(["report", *arguments]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    assert cli.main(["report", str(path)]) == 2
    assert 'pip install "pytest-energy[report]"' in capsys.readouterr().err


@pytest.mark.slow
def test_the_option_fails_early_and_never_loses_the_run(pytester, monkeypatch):
    pytester.makepyfile("def test_it(energy): energy(sum, range(1000))")
    options = (
        "--energy",
        "--energy-meter=estimate",
        "--energy-watts=10,50",
        "--energy-max-time=0.1",
    )
    done = pytester.runpytest_subprocess(
        *options, "--energy-report=no/page.html", "--benchmark-json=run.json"
    )
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stdout.fnmatch_lines(
        ["*ERROR: --energy-report no/page.html: cannot be written: No such file or directory*"]
    )
    assert json_format.read_run(pytester.path / "run.json").results
    without = pytester.runpytest_subprocess("--energy-report=page.html")
    assert without.ret == pytest.ExitCode.USAGE_ERROR
    without.stderr.fnmatch_lines(["*--energy-report requires --energy*"])
    pytester.makeconftest("import sys; sys.modules['vl_convert'] = None")
    missing = pytester.runpytest_subprocess(*options, "--energy-report=page.html")
    assert missing.ret == pytest.ExitCode.USAGE_ERROR
    assert 'pip install "pytest-energy[report]"' in missing.stderr.str()


def test_an_interval_without_bounds_is_drawn_as_a_point():
    assert bounded("x", Interval(2.0, 0.0, float("inf"))) == {"x": 2.0, "x_low": 2.0, "x_high": 2.0}


def test_the_title_is_the_verdict_and_failed_rows_come_first():
    """Title, heading and the first list name the failed test, its change and the limit."""
    run = json_format.Run("run.json", {}, tuple(compared_run()), {"id": "c0ffee"}, "")
    text = page(run)
    assert "<title>Energy: 1 slower, 1 unchanged</title>" in text
    first = text.index("<b>test_bad</b> time +100 % [+100, +100], limit +3 %")
    assert text.index("<h1>1 slower, 1 unchanged</h1>") < first < text.index("test_fine")
    assert 'data-outcome="slower">1 slower<' in text


def test_an_estimate_has_no_columns_that_repeat_the_time():
    made = [
        replace(each, measurement=replace(each.measurement, meter=ESTIMATE))
        for each in compared_run()
    ]
    text = page(json_format.Run("run.json", {}, tuple(made), {}, ""))
    table = text[text.index("<table>") : text.index("</table>")]
    assert "speedup" in table and "ESTIMATED" in table
    for repeated in ("greenup, ", ">greenup<", "powerup", "watts", "category"):
        assert repeated not in table.partition("</thead>")[0]


def compared_run():
    """Two comparisons; the candidate of the second takes twice as long."""
    for name, slower in (("a.py::test_fine", 1.0), ("a.py::test_bad", 2.0)):
        blocks = tuple(
            block(window(0.5, 5.0), window(0.5 * slower, 5.0 * slower)) for _ in range(16)
        )
        measured = replace(measurement(*[each.side("B") for each in blocks]), name=name)
        judged = result(measured, compared_blocks(blocks))
        yield replace(judged, verdicts=Gate().judge(judged))
