"""Saved runs stay small: 20 kB a benchmark at most."""

import json

import pytest

from tests.energy.plugin.test_plugin import MEASURED, WORK

MOST_BYTES = 20_000


@pytest.mark.parametrize("options", [(), ("--benchmark-save-data",)], ids=["default", "all data"])
def test_seconds_are_saved_once_unless_all_data_is_asked_for(suite, options):
    suite.makepyfile(WORK + "def test_it(energy): energy.versus(work, work)")
    suite.runpytest(*MEASURED, "--benchmark-json=run.json", *options)
    (entry,) = json.loads((suite.path / "run.json").read_text(encoding="utf8"))["benchmarks"]
    assert ("data" in entry["stats"]) == bool(options)
    assert entry["stats"]["rounds"] >= 2


@pytest.mark.slow
def test_a_comparison_of_many_blocks_stays_small_and_pytest_benchmark_opens_it(suite):
    suite.makepyfile("def test_it(energy): energy.versus(lambda: None, lambda: None)")
    options = (*MEASURED, "--energy-max-time", "1", "--benchmark-json=run.json")
    suite.runpytest(*options, "--benchmark-save=x")
    text = (suite.path / "run.json").read_text(encoding="utf8")
    (entry,) = json.loads(text)["benchmarks"]
    assert len(json.dumps(entry)) <= MOST_BYTES
    shown = suite.run("pytest-benchmark", "compare")
    shown.stdout.fnmatch_lines(["*test_it*"])
