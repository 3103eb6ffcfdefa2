"""The readers of the archive's formats, with generated and damaged files."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsbench.data import formats
from tsbench.errors import DataFormatError

HEADER = "@problemName Made\n@timeStamps false\n@univariate true\n@classLabel true a b\n@data\n"
ARFF = (
    "% made\n@relation Made\n@attribute t1 numeric\n@attribute 't 2' REAL\n"
    "@attribute target {a,b}\n@data\n"
)

gappy = st.lists(st.floats(allow_infinity=False), min_size=1, max_size=8)


def _write(folder, text, name="Made_TRAIN.ts"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def _same(table, rows):
    """Asserts that the table has these (values, label); NaN equals NaN."""
    np.testing.assert_equal(
        [case.values[0].tolist() for case in table.cases], [row for row, _ in rows]
    )
    assert [case.label for case in table.cases] == [label for _, label in rows]


@given(
    rows=st.lists(st.tuples(gappy, st.sampled_from("ab")), min_size=1, max_size=5),
    bom=st.booleans(),
    crlf=st.booleans(),
)
def test_ts_round_trip(rows, bom, crlf, tmp_path_factory):
    path = tmp_path_factory.mktemp("made") / "Made.ts"
    word = {True: "?", False: "NaN"}[bom]
    lines = "".join(
        ",".join(map(repr, row)).replace("nan", word) + f":{label}\n" for row, label in rows
    )
    text = ("\ufeff" if bom else "") + "# made\n%# too\n\n" + HEADER + lines
    path.write_bytes((text.replace("\n", "\r\n") if crlf else text).encode())
    table = formats.read(path)
    assert table.classes == ("a", "b")
    _same(table, [(_unpadded(row), label) for row, label in rows])


@given(
    rows=st.integers(1, 8).flatmap(
        lambda n: st.lists(
            st.tuples(
                st.lists(st.floats(allow_infinity=False), min_size=n, max_size=n),
                st.sampled_from(["1", "-1", "10"]),
            ),
            min_size=1,
            max_size=5,
        )
    ),
    separator=st.sampled_from(["\t", "\t ", " \t  ", ",", ", ", "   "]),
    style=st.sampled_from([str, lambda label: f"{float(label):.7e}"]),
    suffix=st.sampled_from([".tsv", ".txt", ""]),
)
def test_columns_round_trip(rows, separator, style, suffix, tmp_path_factory):
    path = tmp_path_factory.mktemp("made") / f"Made_TRAIN{suffix}"
    lines = [separator.join([style(label), *map(repr, row)]) for row, label in rows]
    path.write_text("\ufeff# made\n" + "\n".join(lines) + "\n")
    table = formats.read(path)
    assert table.classes is None
    _same(table, [(_unpadded(row), label) for row, label in rows])
    assert [case.line for case in table.cases] == list(range(2, len(rows) + 2))


def _unpadded(row):
    """The case without its padding; one without any value is kept."""
    known = [i for i, value in enumerate(row) if not math.isnan(value)]
    return row[: known[-1] + 1] if known else row


pairs = st.tuples(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=2),
    st.sampled_from("ab"),
)


@given(rows=st.lists(pairs, min_size=1, max_size=5))
def test_arff_round_trip(rows, tmp_path_factory):
    lines = "".join(f"{row[0]!r}, {row[1]!r},'{label}'\n" for row, label in rows)
    table = formats.read(_write(tmp_path_factory.mktemp("made"), ARFF + lines, "Made_TEST.arff"))
    assert table.classes == ("a", "b")
    _same(table, rows)


@given(content=st.binary(max_size=200), suffix=st.sampled_from(formats.SUFFIXES))
def test_any_bytes_give_a_table_or_an_error_that_names_the_file(content, suffix, tmp_path_factory):
    path = tmp_path_factory.mktemp("made") / f"Made{suffix}"
    path.write_bytes(content)
    try:
        assert formats.read(path).cases
    except DataFormatError as error:
        assert error.path == path


def test_relational_arff_has_channels(tmp_path):
    text = (
        "@relation Made\n@attribute all relational\n@attribute t1 numeric\n"
        "@attribute t2 numeric\n@end all\n"
        "@attribute target {a,b}\n@data\n'1,2\\n3,?',b\n"
    )
    (case,) = formats.read(_write(tmp_path, text, "Made.arff")).cases
    np.testing.assert_array_equal(case.values, [[1, 2], [3, np.nan]])
    assert case.label == "b"


def test_channels_are_separated_by_colons(tmp_path):
    header = HEADER.replace("@univariate true", "@univariate false\n@dimensions 2")
    (case,) = formats.read(_write(tmp_path, header + "1,2:3,4:b\n")).cases
    np.testing.assert_array_equal(case.values, [[1, 2], [3, 4]])


def test_cases_padded_with_nan_are_cut_to_their_own_length(tmp_path):
    table = formats.read(_write(tmp_path, "1\t5\tNaN\t6\tNaN\tNaN\n2\t1\t2\t3\t4\t5\n", "Made.tsv"))
    assert [case.values.shape for case in table.cases] == [(1, 3), (1, 5)]


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        (HEADER + "1,2:a\n1,x:b\n", 7, "value 2 is 'x', not a number"),
        (HEADER + "1,2:a\n1,2", 7, "cut short"),
        (HEADER + "1,2:c\n", 6, "class 'c' is not one of a, b"),
        (HEADER + "1,inf:a\n", 6, "not a finite number"),
        (HEADER + "1,:a\n", 6, "value 2 is '', not a number"),
        (HEADER + "1:2:a\n", 6, "2 channels, but the header declares 1"),
        (
            HEADER.replace("@data", "@equalLength true\n@data") + "1,2:a\n1:a\n",
            8,
            "every case has 2",
        ),
        (
            HEADER.replace("@data", "@equalLength true\n@seriesLength 3\n@data") + "1:a\n",
            8,
            "has 3",
        ),
        (HEADER.replace("@univariate true\n", "") + "1,2:3:a\n", 5, "differ in length"),
        ("@timeStamps true\n", 1, "not supported"),
        ("@univariate perhaps\n", 1, "true or false"),
        ("@seriesLength -3\n", 1, "positive whole number"),
        ("@sparkles true\n", 1, "unknown declaration"),
        ("@classLabel true a a\n", 1, "twice"),
        ("@classLabel true a\n", 1, "at least two classes"),
        ("@classLabel false\n", 1, "no classes"),
        ("@missing\n", 1, "one value"),
        ("@data\n1:a\n", 1, "before a @classLabel"),
        ("\x00\x01nonsense", 1, "expected a comment"),
        ("# only a comment\n", None, "no @data"),
        (HEADER, None, "no cases"),
    ],
)
def test_damage_to_ts_names_file_and_line(tmp_path, text, line, problem):
    path = _write(tmp_path, text)
    with pytest.raises(DataFormatError, match="Made_TRAIN.ts") as caught:
        formats.read(path)
    assert caught.value.line == line
    assert problem in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataFormatError, match="gone.ts: cannot be read: No such file"):
        formats.read(tmp_path / "gone.ts")


@pytest.mark.parametrize(
    ("name", "text", "line", "problem"),
    [
        ("Made.tsv", "1\t2\t3\n1\t2\n", 2, "2 columns where the first case has 3"),
        ("Made.tsv", "1\t2\t\t3\n", 1, "value 2 is '', not a number"),
        ("Made.tsv", "1\t2\t3e\n", 1, "value 2 is '3e', not a number"),
        ("Made.tsv", "1\n", 1, "one column"),
        ("Made.tsv", "NaN\t2\n", 1, "no class label"),
        ("Made.txt", "1 2 inf\n", 1, "not a finite number"),
        ("Made.txt", "# nothing\n", None, "no cases"),
        ("Made", "\x00", 1, "one column"),
        ("Made.arff", ARFF + "1,2,a\n1,2\n", 8, "1 values where the header has 2 attributes"),
        ("Made.arff", ARFF + "1,2,c\n", 7, "class 'c' is not one of a, b"),
        ("Made.arff", ARFF + "1\n", 7, "cut short"),
        ("Made.arff", "@attribute t1 string\n", 1, "numeric, relational or a class"),
        ("Made.arff", "@attribute t1 numeric\n@data\n", 2, "no attribute is a class"),
        ("Made.arff", "@attribute c {a,b}\n@data\n", 2, "before the attributes"),
        ("Made.arff", "@attribute c {a,a}\n", 1, "at least two different values"),
        ("Made.arff", "@attribute c {a,b\n", 1, "must end in }"),
        ("Made.arff", "@attribute c {a,b}\n@attribute t1 real\n", 2, "class must be the last"),
        ("Made.arff", "@sparkle\n", 1, "expected a comment"),
        ("Made.arff", "@relation Made\n", None, "no @data"),
        (
            "Made.arff",
            "@attribute r relational\n@attribute t real\n@end r\n@attribute c {a,b}\n@data\n'1,b\n",
            6,
            "quoted",
        ),
    ],
)
def test_damage_to_other_formats_names_file_and_line(tmp_path, name, text, line, problem):
    path = _write(tmp_path, text, name)
    with pytest.raises(DataFormatError) as caught:
        formats.read(path)
    assert (caught.value.path, caught.value.line) == (path, line)
    assert problem in str(caught.value)
