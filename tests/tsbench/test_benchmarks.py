"""The suite under benchmarks/ on data that it has never seen."""

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
    """Two classes of 720 timepoints as UCR 2018 writes them, one value missing."""
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
    assert "--tsbench-config t9: must be one of t1, t2, student, statistics" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_dataset_that_cannot_be_had_skips_with_the_layout(tmp_path):
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


def test_every_threshold_is_of_a_variant_that_there_is():
    from benchmarks import test_compression
    from tsbench import variants

    for dataset, config, variant, batch_cases in test_compression.EXPECTED:
        assert (dataset, config) in test_compression.MODELS
        assert variant in variants.names()
        assert batch_cases in test_compression.BATCHES
    assert {*test_compression.CORE} <= {*variants.BUILT_IN}
