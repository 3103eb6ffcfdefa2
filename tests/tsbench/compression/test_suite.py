"""The marker `compress`: a gated suite in five lines."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch._dynamo  # noqa: F401 - torch loads it late; the second inner run could not load it

SUITE = """
import pytest, torch
torch.manual_seed(0)
model, x = torch.nn.Sequential(torch.nn.Linear(6, 32), torch.nn.Linear(32, 3)), torch.randn(8, 6)
@pytest.mark.compress(model, x, techniques=["int8_dynamic", "l1_unstructured"]{more})
def test_mine(compressed):
    compressed.gate({gate})
"""
ACCURACY = '"accuracy", lambda call: float(call(x).shape[0] == 8), floor=1'


@pytest.fixture
def run(pytester, inner_pytest):
    """Writes a test file and runs it."""

    def written(text, *arguments):
        pytester.makepyfile(text)
        return inner_pytest(*arguments)

    return written


def test_each_technique_is_a_benchmark(run):
    result = run(SUITE.format(more="", gate=ACCURACY), "-v")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        ["*test_mine[[]int8_dynamic[]] PASSED*", "*[[]l1_unstructured[]] PASSED*"]
    )


def test_joules_and_floors_are_gated_and_a_slower_technique_is_a_result(run):
    options = ("--energy", "--energy-max-time=0.3", "--energy-meter=estimate", "-vv")
    result = run(SUITE.format(more="", gate=ACCURACY), *options)
    result.assert_outcomes(passed=2)  # one adds work to so small a model
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*agreement*"])
    again = SUITE.format(more=", speedup=50.0", gate=ACCURACY)
    result = run(again, *options, "--energy-max-time=2")  # enough on a busy machine, too
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*energy gate: speedup *, asked at least 50: speedup missed*"])


def test_a_floor_and_the_agreement_fail_without_the_option_too(run):
    quality = '"accuracy", lambda call: 0.5, floor=0.6'
    run(SUITE.format(more="", gate=quality)).assert_outcomes(failed=2)
    ceiling = '"error", lambda call: 0.5, ceiling=0.6'
    run(SUITE.format(more="", gate=ceiling)).assert_outcomes(passed=2)
    pruned = SUITE.replace("l1_unstructured", "l1_unstructured@sparsity=1").format(more="", gate="")
    result = run(pruned)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["energy gate: agreement *, floor 0.9: agreement missed"])


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ('model, x, techniques=["int4"]', "the compress marker: unknown variant 'int4'"),
        ("model", "the compress marker: *missing 1 required positional argument: 'example'"),
        ("model, x, floor=1", "the compress marker: *unexpected keyword argument 'floor'"),
    ],
)
def test_a_wrong_marker_is_one_line(run, arguments, problem):
    text = SUITE.replace('model, x, techniques=["int8_dynamic", "l1_unstructured"]', arguments)
    result = run(text.format(more="", gate=""))
    result.stdout.fnmatch_lines([f"*{problem}*"])
    assert "Traceback" not in result.stdout.str()


def test_a_model_that_fails_is_one_line(run):
    result = run(SUITE.format(more="", gate="").replace("randn(8, 6)", "randn(8, 7)"))
    result.stdout.fnmatch_lines(["the model fails on the example: RuntimeError: *"])
    result.assert_outcomes(errors=2)


def test_the_fixture_without_the_marker_is_one_line(run):
    result = run("def test_it(compressed): pass")
    result.stdout.fnmatch_lines(["the fixture `compressed` requires the marker compress: *"])


def test_an_unavailable_technique_skips_with_the_reason(run):
    text = SUITE.replace("l1_unstructured", "int8_qat").format(more="", gate="")
    result = run(text, "-rs")
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*pass retrain=*"])


def test_the_plugin_loads_no_torch():
    script = "import sys, tsbench.plugin\nassert not {'torch', 'numpy', 'rich'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
