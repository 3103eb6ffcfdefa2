"""A stranger reads only the beginning: what failed, by how much, and which limit it had.

16 rows of a suite, one slower and one inconclusive. The first 15 lines of the terminal's energy
part, the page's first screen and the comment's first three lines each have to say all three.
"""

import html
import json
import re
import shutil
import subprocess
from dataclasses import replace

import pytest

from pytest_energy.gate import Gate
from pytest_energy.report.markdown import live_markdown
from pytest_energy.report.terminal import Look, summary
from pytest_energy.report.view import RunView
from pytest_energy.runs import json_format
from tests.energy.report.test_page import BROWSER, in_a_browser, page
from tests.energy.report.test_terminal import made
from tests.energy.rigs.made_up import ESTIMATE, SENSOR, block, compared, measurement, result, window

VARIANTS = ("fp32", "int8_static", "l1_unstructured", "student", "onnx_fp32", "bf16", "t2", "t1")
NAME = "benchmarks/test_compression.py::test_compression[PLAID-t1-{}-batch{}]"
FAILED = "l1_structured-batch32"
# What a stranger has to find: the name, the change, and the limit beside it.
CHANGE = re.compile(r"time \+2[23] % \[\+22, \+24\], limit \+3 %")


def suite(meter):
    """Sixteen results: one 23 % slower, one undecided, the others unchanged or faster."""
    results = [
        made(NAME.format(variant, batch), 1.0 if variant in ("fp32", "t1") else 1.5, 1.0, meter)
        for variant in VARIANTS
        for batch in (1, 32)
    ][:14]
    results.append(undecided(NAME.format("int8_dynamic", 1), meter))
    results.insert(7, made(NAME.format("l1_structured", 32), 1 / 1.237, 1.0, meter))
    return results


def undecided(name, meter):
    """A comparison whose blocks disagree by more than the tolerance."""
    blocks = tuple(
        block(window(0.2, 2.4), window(0.2 * factor, 2.4 * factor)) for factor in (0.95, 1.07) * 8
    )
    taken = replace(measurement(*[each.side("B") for each in blocks], meter=meter), name=name)
    judged = result(taken, compared(blocks, meter))
    return replace(judged, verdicts=Gate().judge(judged))


@pytest.fixture(params=[SENSOR, ESTIMATE], ids=["sensor", "estimate"])
def meter(request):
    return request.param


def view_of(meter):
    return RunView.of_results(suite(meter), meter, Gate().tolerance)


def assert_tells(text):
    assert FAILED in text
    assert CHANGE.search(text), text


@pytest.mark.parametrize("width", [80, 120])
def test_the_first_15_lines_of_the_terminal(width, meter):
    lines = summary(view_of(meter), Look(width)).splitlines()
    assert_tells("\n".join(lines[:15]))
    assert lines[0] == "16 tests: 1 slower, 1 inconclusive, 12 faster, 2 within 3 %"
    (reason,) = [line for line in lines if CHANGE.search(line) and "limit" in line]
    assert CHANGE.search(reason).end() < 80


def test_the_first_three_lines_of_the_comment(meter):
    text = live_markdown(view_of(meter))
    assert_tells(html.unescape("\n".join(text.splitlines()[:3])))


@in_a_browser
@pytest.mark.slow
@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
def test_the_first_screen_of_the_page(width, height, meter, tmp_path):
    run = json_format.Run("run.json", {}, tuple(suite(meter)), {"id": "c0ffee"}, "")
    assert_tells(first_screen(page(run), width, height, tmp_path))


PROBE = """<script>addEventListener("load", () => {
  const seen = [...document.querySelectorAll("h1, p, li, b, td, th")]
    .filter((each) => each.getBoundingClientRect().bottom <= HEIGHT)
    .map((each) => each.textContent);
  parent.postMessage(seen.join("\\n"), "*");
});</script>"""
FRAME = """<body style="margin:0"><script>addEventListener("message", (event) => {
  const out = document.createElement("pre");
  out.id = "seen"; out.textContent = JSON.stringify(event.data); document.body.append(out);
});</script><iframe src="page.html" style="border:0;width:WIDTHpx;height:HEIGHTpx"></iframe>"""


def first_screen(text, width, height, folder):
    """The text of what ends above the fold, in a frame as wide as a phone or a laptop."""
    probe = PROBE.replace("HEIGHT", str(height))
    (folder / "page.html").write_text(text.replace("<body>", "<body>" + probe, 1), "utf8")
    frame = FRAME.replace("WIDTH", str(width)).replace("HEIGHT", str(height))
    (folder / "frame.html").write_text(frame, "utf8")
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=8000")
    done = subprocess.run(
        [
            *(BROWSER, *options, "--allow-file-access-from-files", "--window-size=1280,900"),
            *(f"--user-data-dir={folder / 'profile'}", "--dump-dom"),
            (folder / "frame.html").as_uri(),
        ],
        capture_output=True,
        encoding="utf8",
        timeout=120,
        check=True,
    )
    found = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stdout[-2000:]
    return json.loads(html.unescape(found[1]))


def test_thirty_tests_print_at_most_40_lines(suite_of_thirty):
    assert len(suite_of_thirty) <= 40, "\n".join(suite_of_thirty)


@pytest.fixture
def suite_of_thirty(pytester, monkeypatch):
    """The lines that pytest prints for 30 tests, of which one fails."""
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:hypothesispytest -p no:randomly")
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("n", range(29))
        def test_size(energy, n):
            energy(sum, range(10_000 + n))

        def test_bad(energy):
            energy(sum, range(10_000))
            energy.quality("accuracy", 0.4, floor=0.5)
        """
    )
    # Long enough for windows that need no warning.
    options = ("--energy", "--energy-meter=estimate", "--energy-max-time=0.1")
    result = pytester.runpytest_inprocess(*options, "-p", "no:cacheprovider")
    result.assert_outcomes(passed=29, failed=1)
    assert shutil.get_terminal_size().columns >= 80
    return result.outlines
