"""docs/your-model.md: each block of Python runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("torch")

PAGE = Path(__file__).parents[2] / "docs" / "your-model.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def block(words):
    (found,) = [text for text in BLOCKS if words in text]
    return found


def run_tests(pytester, text, *arguments):
    pytester.makepyfile(test_mine=text)
    options = ("-p", "tsbench.plugin", "-p", "no:cacheprovider")
    return pytester.runpytest_subprocess(*options, *arguments)


@pytest.mark.slow
def test_a_module_of_ones_own(pytester):
    run_tests(pytester, block("test_small_instead_of_large")).assert_outcomes(passed=2)


@pytest.mark.slow
def test_a_suite_of_compressed_cnns(pytester):
    pytest.importorskip("onnxruntime", reason='not installed: pip install "tsbench[onnx]"')
    options = ("--energy", "--energy-meter=estimate", "--energy-max-time=0.3")
    result = run_tests(pytester, block("def test_compressed"), *options)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*onnx_int8_static*"])


@pytest.mark.slow
def test_techniques_for_a_module_of_ones_own(capsys):
    exec(compile(block("results = tsbench.compress"), PAGE.name, "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "int8_dynamic",
        "onnx_fp32",
        "onnx_int8_static",
    ]
    assert "KiB, " in lines[0] and "built in" in lines[0]
    assert "100 % of FLOPs in int8" in lines[2]


@pytest.mark.slow
def test_a_scikit_learn_model_beside_a_linear_one(pytester):
    pytest.importorskip("sklearn", reason="not installed: pip install scikit-learn")
    run_tests(pytester, block("def test_linear")).assert_outcomes(passed=1)


@pytest.mark.slow
def test_a_scikit_learn_model_as_an_onnx_file(pytester):
    pytest.importorskip("skl2onnx", reason="not installed: pip install skl2onnx")
    run_tests(pytester, block("def test_network")).assert_outcomes(passed=2)


@pytest.mark.slow
def test_patch_tst_of_hugging_face():
    pytest.importorskip("transformers", reason="not installed: pip install transformers")
    import tsbench
    from studies.compress_models import ForPatchTst, waves
    from tsbench.compression import Compressed

    x, _ = waves(32, seed=0)
    names = ["int8_dynamic", "l1_unstructured", "onnx_fp32", "onnx_int8_static"]
    results = tsbench.compress(ForPatchTst(), x[:8], list(x.split(8)), names)
    for name, result in results.items():
        assert isinstance(result, Compressed), f"{name}: {result}"
    assert results["onnx_fp32"].difference < 1e-3


def test_arrays_of_ones_own(capsys):
    exec(compile(block("Split(cases, labels)"), PAGE.name, "exec"), {})
    assert float(capsys.readouterr().out) > 0.9
