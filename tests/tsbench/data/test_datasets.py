"""Where datasets are found, and how they are read."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from tsbench.data import datasets
from tsbench.errors import DataFormatError, DatasetUnavailable, TsbenchError

HEADER = "@problemName Made\n@timeStamps false\n@univariate true\n@classLabel true a b\n@data\n"


def test_plaid_is_what_its_header_says(plaid):
    assert (len(plaid.train), len(plaid.test), len(plaid.classes)) == (537, 537, 11)
    assert plaid.channels == 1
    assert max(case.shape[1] for case in plaid.train.cases) == 1344
    assert set(plaid.test.labels) == set(range(11))


def test_refrigeration_devices_is_what_its_header_says(refrigeration_devices):
    data = refrigeration_devices
    assert (len(data.train), len(data.test), len(data.classes)) == (375, 375, 3)
    assert {case.shape for case in data.train.cases + data.test.cases} == {(1, 720)}


def test_names_ignore_case(plaid):
    assert datasets.load("plaid").fingerprint == plaid.fingerprint


def test_the_packages_names_load_neither_torch_nor_sktime():
    code = (
        "import sys, tsbench, tsbench.data.datasets, tsbench.variants as v; v.get('l1_structured');"
        "tsbench.data.datasets.load('PLAID');"
        "sys.exit(str([m for m in ('torch', 'sktime', 'pandas') if m in sys.modules] or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


def test_a_missing_dataset_names_the_folder_layout(tmp_path, monkeypatch):
    monkeypatch.delenv(datasets.DATA_FOLDER_VARIABLE, raising=False)
    with pytest.raises(DatasetUnavailable, match=r"set TSBENCH_DATA .*Nowhere_TRAIN\.ts"):
        datasets.load("Nowhere")
    with pytest.raises(DatasetUnavailable, match=str(tmp_path)):
        datasets.load("Nowhere", tmp_path)


def _write(folder, text, name="Made_TRAIN.ts"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_folder_comes_before_sktime(tmp_path):
    folder = tmp_path / "GunPoint"
    folder.mkdir()
    for half in ("TRAIN", "TEST"):
        _write(folder, HEADER + "1,2:a\n3,4:b\n", f"GunPoint_{half}.ts")
    assert len(datasets.load("GunPoint", tmp_path).train) == 2


def test_splits_with_other_classes_are_an_error(tmp_path):
    folder = tmp_path / "Odd"
    folder.mkdir()
    _write(folder, HEADER + "1:a\n", "Odd_TRAIN.ts")
    _write(folder, HEADER.replace("a b", "a c") + "1:a\n", "Odd_TEST.ts")
    with pytest.raises(DataFormatError, match="Odd_TEST.ts.*differ"):
        datasets.load("Odd", tmp_path)


@pytest.mark.parametrize(
    ("train", "suffix", "where"),
    [
        ("1\t1\t2\tNaN\n2\t1\t2\t3\n3\t1\tNaN\tNaN\n", ".tsv", "Made_TRAIN.tsv"),
        (HEADER + "1,2,?:a\n1,2,3:b\n1,?,?:a\n", ".ts", "Made_TRAIN.ts"),
    ],
)
def test_padding_is_removed_with_a_note_from_each_format(tmp_path, train, suffix, where):
    test = "1\t1\n" if suffix == ".tsv" else HEADER + "1:a\n"
    data = datasets.load("Made", _made(tmp_path, train, test, suffix))
    assert [case.shape[1] for case in data.train.cases] == [2, 3, 1]
    assert data.notes == (f"{where}: 2 cases end in missing values, which are removed",)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Made_TRAIN.ts", "@problemName Made\n@univariate true\n@targetLabel true\n@data\n1:2.5\n"),
        ("Made_TRAIN.ts", "@problemName Made\n@classLabel false\n@data\n1:2.5\n"),
        ("Made_TRAIN.arff", "@attribute t1 real\n@attribute y real\n@data\n1,2.5\n"),
        ("Made_TRAIN.tsv", "1.5\t1\n0.25\t2\n3\t3\n"),
    ],
)
def test_a_regression_set_is_named_as_one(tmp_path, name, text):
    folder = tmp_path / "Made"
    folder.mkdir()
    for half in ("TRAIN", "TEST"):
        _write(folder, text, name.replace("TRAIN", half))
    with pytest.raises(DataFormatError, match=r"Made_TRAIN.*a regression set"):
        datasets.load("Made", tmp_path)


def _made(folder, train, test, suffix=".tsv"):
    """A dataset folder called Made with these two files."""
    made = folder / "Made"
    made.mkdir()
    _write(made, train, f"Made_TRAIN{suffix}")
    _write(made, test, f"Made_TEST{suffix}")
    return folder


def test_gaps_are_interpolated_with_a_note(tmp_path):
    data = datasets.load("made", _made(tmp_path, "1\t1\tNaN\t3\n2\t1\t2\t3\n", "1\tNaN\t5\t6\n"))
    np.testing.assert_array_equal(data.train.cases[0], [[1, 2, 3]])
    np.testing.assert_array_equal(data.test.cases[0], [[5, 5, 6]])
    assert data.notes == (
        "Made_TRAIN.tsv: 1 missing values in 1 cases interpolated",
        "Made_TEST.tsv: 1 missing values in 1 cases interpolated",
    )


@pytest.mark.parametrize("suffix", [".tsv", ".txt", ""])
def test_classes_without_a_header_are_those_of_the_training_split_in_order(tmp_path, suffix):
    data = datasets.load("Made", _made(tmp_path, "10\t1\n9\t2\n-1\t3\n", "9\t1\n", suffix))
    assert data.classes == ("-1", "9", "10")
    assert data.test.labels.tolist() == [1]


@pytest.mark.parametrize(
    ("train", "test", "where", "problem"),
    [
        ("1\t2\n2\t3\n", "1\t2\n3\t4\n", r"Made_TEST\.tsv:2", "class '3' has no training case"),
        ("1\t2\t3\n2\tNaN\tNaN\n", "1\t2\t3\n", r"Made_TRAIN\.tsv:2", "no known value"),
        ("1\t2\n1\t3\n", "1\t2\n", r"Made_TRAIN\.tsv", "one class only"),
    ],
)
def test_invalid_cases_are_named_by_file_and_line(tmp_path, train, test, where, problem):
    with pytest.raises(DataFormatError, match=f"{where}: .*{problem}"):
        datasets.load("Made", _made(tmp_path, train, test))


def test_splits_with_other_channels_are_an_error(tmp_path):
    header = HEADER.replace("@univariate true\n", "")
    with pytest.raises(
        DataFormatError, match=r"Made_TEST\.ts:5: 2 channels where the first case has 1"
    ):
        datasets.load("Made", _made(tmp_path, header + "1:a\n", header + "1:2:a\n", ".ts"))


def test_ts_is_preferred_and_half_a_dataset_is_none(tmp_path):
    _made(tmp_path, HEADER + "1:a\n2:b\n", HEADER + "1:a\n", ".ts")
    _write(tmp_path / "Made", "1\t2\n2\t3\n", "Made_TRAIN.tsv")
    assert datasets.load("Made", tmp_path).classes == ("a", "b")
    (tmp_path / "Made" / "Made_TEST.ts").unlink()
    with pytest.raises(
        DatasetUnavailable,
        match=r"Made_TRAIN\.ts and Made/Made_TEST\.ts \(or \.arff, \.tsv, \.txt\)",
    ):
        datasets.load("Made", tmp_path)


@pytest.mark.slow
def test_electric_devices_shape_in_ucrs_format(tmp_path):
    """8926/7711 cases of 96 timepoints, 7 classes, in UCR 2018's format, with generated values."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "ElectricDevices"
    folder.mkdir()
    for half, n_cases in (("TRAIN", 8926), ("TEST", 7711)):
        table = np.column_stack([np.arange(n_cases) % 7 + 1, rng.normal(size=(n_cases, 96))])
        np.savetxt(
            folder / f"ElectricDevices_{half}.tsv",
            table,
            fmt=["%d"] + ["%.8g"] * 96,
            delimiter="\t",
        )
    data = datasets.load("ElectricDevices", tmp_path)
    assert (len(data.train), len(data.test), data.classes) == (8926, 7711, tuple("1234567"))
    assert {case.shape for case in data.train.cases + data.test.cases} == {(1, 96)}
    assert not data.notes


def test_synthetic_data_is_deterministic_and_marked_as_generated():
    name = "synthetic:classes=4,timepoints=720,cases=16,seed=1"
    data = datasets.load(name)
    assert data.name == name
    assert data.classes == tuple(f"generated-{i}" for i in range(1, 5))
    assert "generated, not measured" in data.notes[0]
    assert {case.shape for case in data.train.cases} == {(1, 720)}
    assert data.fingerprint == datasets.load(name).fingerprint
    assert data.fingerprint != datasets.load(name.replace("seed=1", "seed=2")).fingerprint
    assert not np.array_equal(data.train.cases[0], data.test.cases[0])
    assert datasets.load("Synthetic").name == "synthetic:classes=3,timepoints=256,cases=60,seed=0"


@pytest.mark.parametrize(
    "wrong",
    ["classes=1", "cases=3", "timepoints=1", "cases", "cases=-1", "colour=3", "n_classes=3"],
)
def test_invalid_synthetic_names_are_errors(wrong):
    with pytest.raises(TsbenchError, match="synthetic:"):
        datasets.load(f"synthetic:{wrong}")
