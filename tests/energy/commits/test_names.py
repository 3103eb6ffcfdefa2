"""Pairing the tests of two commits by name, however many were renamed."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_energy.commits.names import MOST_COMPARISONS, pair_names


def test_names_are_paired():
    names = pair_names(["a", "b", "t[one]"], ["b", "c", "t[one1]"])
    assert names.paired == {"b"}
    assert names.new == ("c", "t[one1]")
    assert names.vanished == ("a", "t[one]")
    assert names.renamed == (("t[one]", "t[one1]"),)


def renamed(then, now):
    return dict(pair_names(then, now).renamed)


def test_a_test_in_another_folder_or_file_or_under_another_name():
    then = ["bench/test_io.py::test_read[8]", "bench/test_io.py::test_write[8]", "t.py::T::test_go"]
    now = [
        "bench/io/test_io.py::test_read[8]",
        "bench/test_io.py::test_rewrite[8]",
        "u.py::T::test_go",
    ]
    assert renamed(then, now) == dict(zip(then, now, strict=True))


def test_the_parameters_decide_among_the_tests_of_a_renamed_function():
    then = [f"bench/test_fit.py::test_fit[{n}]" for n in range(300)]
    now = [f"bench/test_fit.py::test_fitted[{n}]" for n in range(300)]
    assert renamed(then, now) == dict(zip(then, now, strict=True))


CHANGES = {
    "another folder": lambda n: f"slow/bench/test_conv.py::test_conv[{n}-a]",
    "another file": lambda n: f"bench/test_convolve.py::test_conv[{n}-a]",
    "another function": lambda n: f"bench/test_conv.py::test_conv2d[{n}-a]",
    "other parameters": lambda n: f"bench/test_conv.py::test_conv[{n}-a-fp32]",
    "each file another": lambda n: f"bench/test_{n}_new.py::test_conv",
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_thousands_of_renamed_tests_take_no_time(change):
    """All pairs would take 12 minutes."""
    then = [f"bench/test_conv.py::test_conv[{n}-a]" for n in range(5_000)]
    began_s = time.process_time()
    names = pair_names(then, [change(n) for n in range(5_000)])
    assert time.process_time() - began_s < 10
    assert len(names.new) == len(names.vanished) == 5_000
    assert 5_000**2 > MOST_COMPARISONS


def test_ten_thousand_unchanged_tests_take_no_time():
    then = [f"bench/test_conv.py::test_conv[{n}]" for n in range(10_000)]
    began_s = time.process_time()
    assert len(pair_names(then, then).paired) == 10_000
    assert time.process_time() - began_s < 2


node_ids = st.lists(
    st.builds(
        "{}.py::{}{}".format,
        *[st.sampled_from(["a", "ab", "abc", "abd"])] * 2,
        st.sampled_from(["", "[1]", "[2]"]),
    ),
    unique=True,
)


@given(node_ids, node_ids)
def test_each_name_is_renamed_once_at_most(then, now):
    names = pair_names(then, now)
    assert names.paired == set(then) & set(now)
    olds, news = [old for old, _ in names.renamed], [new for _, new in names.renamed]
    assert len(set(olds)) == len(olds) and set(olds) <= set(names.vanished)
    assert len(set(news)) == len(news) and set(news) <= set(names.new)
