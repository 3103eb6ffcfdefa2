"""README's examples, run as a reader would run them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_energy.options import SETTINGS

README = Path(__file__).parents[2] / "README.md"
TEXT = README.read_text(encoding="utf8")
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
FAST = ("--energy-max-time", "0.5")


def example(words):
    (found,) = [block for block in PYTHON if words in block]
    return found


@pytest.mark.parametrize("options", [(), ("--energy", *FAST)], ids=["off", "on"])
def test_the_tests_of_the_example_pass(pytester, options):
    pytester.makepyfile(example("def test_infer"))
    pytester.runpytest_subprocess(*options).assert_outcomes(passed=3)


def test_the_example_without_pytest_prints_joules_and_what_they_are():
    done = subprocess.run([sys.executable, "-c", example("open_meter")], capture_output=True, text=True, check=True)
    assert re.match(r"Interval\(value=.*\) (measured|estimated)\n", done.stdout)


def test_the_hook_of_the_example_is_one_that_there_is(pytester):
    pytester.makeconftest(example("def pytest_energy_synchronize"))
    result = pytester.runpytest_subprocess("--energy")  # an unknown hook would be refused by pluggy's validation
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_every_option_is_in_the_table():
    assert [setting.flag for setting in SETTINGS if f"`{setting.flag}" not in TEXT] == []


def test_every_option_of_the_table_is_there():
    known = {setting.flag for setting in SETTINGS}
    shown = subprocess.run([sys.executable, "-m", "pytest", "--help"], capture_output=True, text=True, check=True).stdout
    assert known < set(re.findall(r"^  (--energy[a-z-]*)", shown, re.MULTILINE))
    assert set(re.findall(r"`(--energy[a-z-]*)", TEXT)) <= set(re.findall(r"^  (--energy[a-z-]*)", shown, re.MULTILINE))
