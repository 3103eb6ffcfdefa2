"""The suite under benchmarks/ on an unknown dataset, and its thresholds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


def run(*arguments, **environment):
    command = [
        sys.executable,
        "-m",
        "pytest",
        "benchmarks",
        "-q",
        "-p",
        "no:cacheprovider",
        *arguments,
    ]
    return subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.fixture
def unseen(tmp_path):
    """Two classes of 720 timepoints in UCR 2018's format, with one missing value."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "data" / "Unseen"
    folder.mkdir(parents=True)
    for half in ("TRAIN", "TEST"):
        labels = np.arange(16) % 2
        waves = np.sin(np.arange(720) / 720 * 2 * np.pi * (3 + 4 * labels[:, None])) + rng.normal(
            0, 0.1, (16, 720)
        )
        waves[0, 5] = np.nan
        np.savetxt(
            folder / f"Unseen_{half}.tsv",
            np.column_stack([labels + 1, waves]),
            fmt=["%d"] + ["%.7g"] * 720,
            delimiter="\t",
        )
    return folder.parent


@pytest.mark.slow
def test_a_two_class_tsv_folder_runs_through_the_suite(unseen):
    done = run(
        "--tsbench-dataset",
        "unseen",
        "--tsbench-config",
        "student",
        "--tsbench-data",
        unseen,
        "-k",
        "not int8_static",
    )  # half a minute of compiling: `make bench` does that
    assert done.returncode == 0, done.stdout
    assert "14 passed, 2 deselected" in done.stdout
    assert re.search(
        r"\[14/14\] unseen-student-student-batch32: \d+ s, about 0 s left", done.stdout
    )
    assert "Unseen: Unseen_TRAIN.tsv: 1 missing values in 1 cases interpolated" in done.stdout


def test_bad_options_are_usage_errors():
    done = run("--tsbench-config", "t9")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "--tsbench-config t9: must be one of t1, t2, t1_2024, t2_2024, student" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_an_unavailable_dataset_skips_with_the_folder_layout(tmp_path):
    done = run("--tsbench-dataset", "Computers", "--tsbench-data", tmp_path, "-k", "fp32", "-rs")
    assert done.returncode == 0
    assert "4 skipped" in done.stdout  # fp32 and onnx_fp32
    assert "Computers/Computers_TRAIN.ts" in done.stdout


@pytest.mark.slow
def test_without_an_engine_its_benchmarks_skip_and_the_rest_run(unseen, tmp_path):
    tmp_path.joinpath("no_onnxruntime.py").write_text(
        "import sys\nsys.modules['onnxruntime'] = None\n"
    )
    done = run(
        "--tsbench-dataset",
        "unseen",
        "--tsbench-config",
        "student",
        "--tsbench-data",
        unseen,
        "-rs",
        "-p",
        "no_onnxruntime",
        "-k",
        "(onnx_fp32 or l1_unstructured) and batch1",
        PYTHONPATH=str(tmp_path),
        COLUMNS="300",
    )
    assert done.returncode == 0, done.stdout
    assert "1 passed, 1 skipped" in done.stdout
    assert 'onnxruntime not installed; pip install "tsbench[onnx]"' in done.stdout


def test_the_thresholds_are_those_that_were_set():
    from benchmarks import thresholds

    suite = thresholds.read()
    sets = ("PLAID", "RefrigerationDevices", "ElectricDevices")
    assert suite.models == tuple((name, "t1") for name in sets)
    assert len(suite.expected) == (23 + 23 + 20) * 2  # ElectricDevices: none in bf16
    assert suite.expected["PLAID", "t1", "fp32", 1] == thresholds.Expected(0.87, {})
    student = suite.expected["RefrigerationDevices", "t1", "student", 32]
    assert student.accuracy == 0.5
    assert student.ratios["vnni"] == 33.0
    assert "fp32" in suite.core
    assert all("EPYC" in machine for machine in suite.machines.values())


@pytest.mark.parametrize(
    ("instructions", "kind", "ratio"),
    [(("avx2", "vnni"), "vnni", 2.0), (("avx2",), "avx2", 1.5), ((), "", None)],
)
def test_a_ratio_is_that_of_the_kind_of_cpu(monkeypatch, instructions, kind, ratio):
    import torch

    from benchmarks import thresholds

    for each in ("avx2", "vnni"):
        supported = each in instructions
        monkeypatch.setattr(
            torch.cpu, f"_is_{each}_supported", lambda supported=supported: supported
        )
    monkeypatch.setattr(thresholds, "cpu_kind", thresholds.cpu_kind.__wrapped__)
    assert thresholds.cpu_kind() == kind
    assert thresholds.Expected(0.8, {"vnni": 2.0, "avx2": 1.5}).ratio == ratio


VALID = """
[machines]
vnni = "m"
avx2 = "n"
[suite]
batches = [1, 32]
core = ["fp32"]
[models.PLAID.t1]
fp32 = { accuracy = 0.8, vnni = { 1 = 1, 32 = 0.5 } }
"""


@pytest.mark.parametrize(
    ("valid", "invalid", "problem"),
    [
        ("fp32 = {", "int4 = {", r"PLAID\.t1\.int4 must be one of fp32"),
        ("PLAID.t1", "PLAID.t9", r"PLAID\.t9 must be one of t1"),
        ("0.8", "80.0", r"accuracy must be between 0 and 1"),
        ("0.8", '"0.8"', r"accuracy must be between 0 and 1"),
        ("accuracy = 0.8, ", "", r"fp32\.accuracy must be present"),
        ("32 = 0.5", "16 = 0.5", r"vnni\.32 must be present"),
        ("32 = 0.5", "32 = 0.5, 64 = 1", r"vnni\.64 must be left out"),
        ("32 = 0.5", "32 = -1", r"vnni\.32 must be a number above 0"),
        ("32 = 0.5", "32 = true", r"vnni\.32 must be a number above 0"),
        ("vnni = {", "sse = {", r"fp32\.sse must be left out"),
        ('core = ["fp32"]', 'core = ["fp64"]', "core: fp64 must be one of"),
        ("[1, 32]", "[0]", "batches must be whole numbers above 0"),
        ("[1, 32]", "3", "batches must be a list"),
        ('["fp32"]', "true", "core must be a list"),
        ("32 = 0.5", f"32 = 1{'0' * 400}", r"vnni\.32 must be a number above 0"),
        ("32 = 0.5", "32 = inf", r"vnni\.32 must be a number above 0"),
        ("[machines]", f"deep = {'[' * 10_000}\n[machines]", "nested too deeply"),
        ("[machines]", "[places]", "machines must be present"),
        ('avx2 = "n"', "", r"machines\.avx2 must be present"),
    ],
)
def test_an_invalid_threshold_is_named(tmp_path, valid, invalid, problem):
    from benchmarks import thresholds

    path = tmp_path / "thresholds.toml"
    path.write_text(VALID)
    assert len(thresholds.read(path).expected) == 2
    path.write_text(VALID.replace(valid, invalid))
    with pytest.raises(ValueError, match=problem):
        thresholds.read(path)
