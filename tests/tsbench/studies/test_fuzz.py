"""Each target of the fuzzing works, and a few cases of it are no fault."""

from __future__ import annotations

import math
import os
from random import Random

import pytest

from pytest_energy.report import html
from studies import fuzz
from studies.fuzzing.commands import COMMANDS
from studies.fuzzing.parsers import PARSERS
from studies.fuzzing.target import FileTarget

CASES = 25
TARGETS = {**PARSERS, **COMMANDS}


@pytest.fixture
def own_process(monkeypatch):
    """Targets change the environment, the folder and the page as if the process were theirs."""
    before, folder = dict(os.environ), os.getcwd()
    monkeypatch.setattr(html, "_charts_code", html._charts_code)
    yield
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", TARGETS)
def test_a_few_cases_of_each_target_are_no_fault(name, tmp_path, own_process):
    target = TARGETS[name](tmp_path)
    row = fuzz.fuzz(name, target, CASES, 0, tmp_path / "faults", math.inf)
    assert row[1] == row[2] + row[3] == CASES


def test_a_fault_is_counted_and_its_case_kept(tmp_path, capsys):
    def make(dice: Random) -> bytes:
        return b"%d" % dice.randrange(2)

    def parse(path):
        if path.read_bytes() == b"1":
            raise ZeroDivisionError

    target = FileTarget(tmp_path / "case", make, parse, ValueError)
    row = fuzz.fuzz("made", target, CASES, 0, tmp_path / "faults", math.inf)
    assert 0 < row[-2] < CASES and row[-2] + row[2] == CASES
    assert [path.read_bytes() for path in (tmp_path / "faults").iterdir()] == [b"1"]
    assert "ZeroDivisionError at test_fuzz.py" in capsys.readouterr().err
