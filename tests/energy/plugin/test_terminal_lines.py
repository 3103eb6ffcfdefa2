"""What pytest prints about energy itself: the header, and its line FAILED."""

from __future__ import annotations

import pytest

from pytest_energy.report.terminal import wrapped

TEST = """
import pytest

@pytest.mark.energy(max_seconds=1e-9)
def test_b(energy):
    energy(sum, range(20_000))
"""


def test_the_value_and_the_limit_follow_the_name_in_pytests_line_failed(suite, monkeypatch):
    """Left of column 80, where a terminal ends."""
    monkeypatch.setenv("COLUMNS", "80")
    suite.makepyfile(test_a=TEST)
    done = suite.runpytest("--energy", "--energy-meter=clock", "--energy-max-time=0.25")
    assert done.ret == 1
    (line,) = [line for line in done.outlines if line.startswith("FAILED")]
    assert line.startswith("FAILED test_a.py::test_b - time "), line
    assert ", limit 1 ns" in line[:80], line
    done.stdout.fnmatch_lines(["energy gate: time * per call, limit 1 ns: seconds missed *"])


LONG = """
import pytest

@pytest.mark.parametrize("n", ["PLAID-t1-l1_structured-batch32"])
def test_of_a_model_that_has_many_parameters(energy, n):
    energy.quality("accuracy", 0.4, floor=0.5)
"""


@pytest.mark.parametrize("options", [(), ("-v",)], ids=["short", "verbose"])
def test_a_long_name_is_cut_so_that_the_limit_stays_left_of_column_80(suite, monkeypatch, options):
    """With -v it stays whole, to be copied."""
    monkeypatch.setenv("COLUMNS", "80")
    suite.makepyfile(test_a=LONG)
    done = suite.runpytest(*options)
    assert done.ret == 1
    name = "test_of_a_model_that_has_many_parameters[PLAID-t1-l1_structured-batch32]"
    (line,) = [line for line in done.outlines if line.startswith("FAILED")]
    if options:
        assert line.startswith(f"FAILED test_a.py::{name}"), line
    else:
        assert line.startswith("FAILED …") and "l1_structured-batch32] - accuracy" in line, line
        assert "accuracy 0.4, floor 0.5" in line[:80], line
    assert [each.nodeid for each in done.reprec.getfailures()] == [f"test_a.py::{name}"]


def test_other_failures_are_as_pytest_prints_them(pytester):
    pytester.makepyfile(test_a="import pytest\ndef test_it(): pytest.fail('energy: no')")
    done = pytester.runpytest()
    done.stdout.fnmatch_lines(["FAILED test_a.py::test_it - Failed: energy: no"])


def test_an_estimate_is_named_once_in_the_header(pytester):
    pytester.makepyfile(test_a="def test_it(): pass")
    options = ("--energy", "--energy-meter=estimate", "--energy-watts=1,4")
    done = pytester.runpytest(*options)
    header = [line for line in done.outlines if line.startswith("energy: ")]
    assert "\n".join(header).casefold().count("estimated") == 1
    assert header[1].startswith("energy: no sensor: from the CPU seconds")


@pytest.mark.parametrize("width", [40, 80])
def test_long_lines_end_between_words(width):
    line = "warning: " + " ".join(f"word{n}" for n in range(40))
    lines = wrapped(f"short\n    {line}", width).splitlines()
    assert lines[0] == "short" and max(map(len, lines)) <= width
    assert all(part.startswith("      word") for part in lines[2:])
    assert " ".join(" ".join(lines[1:]).split()) == line
