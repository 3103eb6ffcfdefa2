"""The `.ts` reader against real files, generated ones and damaged ones."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsbench import datasets
from tsbench.errors import DataFormatError, DatasetUnavailable

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
        "import sys, tsbench, tsbench.datasets, tsbench.variants as v; v.get('l1_structured');"
        "tsbench.datasets.load('PLAID');"
        "sys.exit(str([m for m in ('torch', 'sktime', 'pandas') if m in sys.modules] or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


def test_a_dataset_that_is_nowhere_says_how_to_get_it(tmp_path, monkeypatch):
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
    assert "GunPoint" in datasets.available(tmp_path)
    assert "PLAID" in datasets.available(tmp_path)


def test_splits_with_other_classes_are_an_error(tmp_path):
    folder = tmp_path / "Odd"
    folder.mkdir()
    _write(folder, HEADER + "1:a\n", "Odd_TRAIN.ts")
    _write(folder, HEADER.replace("a b", "a c") + "1:a\n", "Odd_TEST.ts")
    with pytest.raises(DataFormatError, match="Odd_TEST.ts.*differ"):
        datasets.load("Odd", tmp_path)


values = st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=8)


@given(rows=st.lists(st.tuples(values, st.sampled_from("ab")), min_size=1, max_size=5), bom=st.booleans())
def test_what_is_written_is_read(rows, bom, tmp_path_factory):
    path = tmp_path_factory.mktemp("made") / "Made.ts"
    lines = "".join(",".join(map(repr, row)) + f":{label}\n" for row, label in rows)
    path.write_text(("\ufeff" if bom else "") + "# made\n\n" + HEADER + lines, encoding="utf-8")
    classes, split = datasets.read_ts(path)
    assert classes == ("a", "b")
    assert [case[0].tolist() for case in split.cases] == [row for row, _ in rows]
    assert [classes[label] for label in split.labels] == [label for _, label in rows]


def test_channels_are_separated_by_colons(tmp_path):
    header = HEADER.replace("@univariate true", "@univariate false\n@dimensions 2")
    _, split = datasets.read_ts(_write(tmp_path, header + "1,2:3,4:b\n"))
    np.testing.assert_array_equal(split.cases[0], [[1, 2], [3, 4]])


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        (HEADER + "1,2:a\n1,x:b\n", 7, "value 2 is 'x', not a number"),
        (HEADER + "1,2:a\n1,2", 7, "cut short"),
        (HEADER + "1,2:c\n", 6, "class 'c' is not one of a, b"),
        (HEADER + "1,?:a\n", 6, "missing"),
        (HEADER + "1,nan:a\n", 6, "not a finite number"),
        (HEADER + "1,:a\n", 6, "value 2 is '', not a number"),
        (HEADER + "1:2:a\n", 6, "2 channels, but the header declares 1"),
        (HEADER.replace("@data", "@equalLength true\n@data") + "1,2:a\n1:a\n", 8, "every case has 2"),
        (HEADER.replace("@data", "@equalLength true\n@seriesLength 3\n@data") + "1:a\n", 8, "has 3"),
        (HEADER.replace("@univariate true\n", "") + "1,2:3:a\n", 5, "differ in length"),
        ("@timeStamps true\n", 1, "not supported"),
        ("@univariate perhaps\n", 1, "true or false"),
        ("@seriesLength -3\n", 1, "positive whole number"),
        ("@sparkles true\n", 1, "unknown declaration"),
        ("@classLabel true a a\n", 1, "twice"),
        ("@classLabel false\n", 1, "two classes"),
        ("@missing\n", 1, "one value"),
        ("@data\n1:a\n", 1, "before a @classLabel"),
        ("\x00\x01nonsense", 1, "expected a comment"),
        ("# only a comment\n", None, "no @data"),
        (HEADER, None, "no cases"),
    ],
)
def test_damage_names_file_and_line(tmp_path, text, line, problem):
    path = _write(tmp_path, text)
    with pytest.raises(DataFormatError, match="Made_TRAIN.ts") as caught:
        datasets.read_ts(path)
    assert caught.value.line == line
    assert problem in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataFormatError, match="gone.ts: cannot be read: No such file"):
        datasets.read_ts(tmp_path / "gone.ts")
