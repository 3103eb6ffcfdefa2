"""docs/your-model.md: each block of Python runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("torch")

PAGE = Path(__file__).parents[2] / "docs" / "your-model.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_a_module_of_ones_own(pytester):
    pytester.makepyfile(test_mine=BLOCKS[0])
    result = pytester.runpytest_subprocess("-q")
    result.assert_outcomes(passed=2)


@pytest.mark.slow
def test_techniques_for_a_module_of_ones_own(capsys):
    exec(compile(BLOCKS[1], PAGE.name, "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "int8_dynamic",
        "onnx_fp32",
        "onnx_int8_static",
    ]
    assert "KiB, built in" in lines[0]


def test_arrays_of_ones_own(capsys):
    exec(compile(BLOCKS[2], PAGE.name, "exec"), {})
    assert float(capsys.readouterr().out) > 0.9
