"""The properties of each preprocessing step, over wide inputs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tsbench.data import preprocess
from tsbench.data.datasets import Dataset, Split
from tsbench.data.prepared import prepare

cases = arrays(
    np.float64,
    st.tuples(st.integers(1, 3), st.integers(1, 40)),
    elements=st.floats(-1e3, 1e3, width=32),
)


@given(cases, st.sampled_from([1e-30, 1e-12, 1.0, 1e6]))
def test_z_norm_has_mean_0_and_std_1_or_is_0(case, scale):
    normed = preprocess.z_norm(case * scale)
    np.testing.assert_allclose(normed.mean(axis=1), 0, atol=1e-3)
    for raw, row in zip(case, normed, strict=True):
        if raw.std() > 1e-3:
            assert row.std() == pytest.approx(1, abs=1e-6)
        elif raw.std() <= preprocess.MIN_RELATIVE_STD * abs(raw).max():
            assert not row.any()


def test_z_norm_of_a_constant_with_rounding_errors_is_0():
    case = np.array([[230.1, 230.1, 230.1]]) + np.array([[0.0, 3e-14, -3e-14]])
    assert not preprocess.z_norm(case).any()


@given(cases, st.floats(0.01, 100), st.floats(-10, 10))
def test_z_norm_removes_scale_and_offset_and_log_std_keeps_the_scale(case, scale, offset):
    if case.std(axis=1).min() < 1e-2:
        return
    moved = case * scale + offset
    np.testing.assert_allclose(preprocess.z_norm(moved), preprocess.z_norm(case), atol=1e-5)
    difference = preprocess.log_std(moved) - preprocess.log_std(case)
    np.testing.assert_allclose(difference, np.log10(scale), atol=1e-6)


@given(cases, st.integers(1, 100))
def test_tile_repeats_with_the_cases_length(case, timepoints):
    tiled = preprocess.tile(case, timepoints)
    assert tiled.shape == (case.shape[0], timepoints)
    for t in range(timepoints):
        np.testing.assert_array_equal(tiled[:, t], case[:, t % case.shape[1]])


@pytest.mark.parametrize("timepoints", [0, -1])
def test_tile_to_nothing_is_an_error(timepoints):
    with pytest.raises(ValueError, match="cannot tile"):
        preprocess.tile(np.ones((1, 3)), timepoints)


def test_to_array_stacks_signal_and_level():
    made = [np.array([[1.0, 3.0]]), np.array([[10.0, 30.0, 10.0, 30.0, 10.0]])]
    x = preprocess.to_array(made, 4)
    assert x.shape == (2, 2, 4)
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x[0], [[-1, 1, -1, 1], [0, 0, 0, 0]])
    assert x[1, 1] == pytest.approx(np.log10(np.std(made[1])))


@given(st.integers(0, 1000), st.integers(1, 5), st.integers(1, 30))
def test_circular_shift_rolls_each_case_and_nothing_else(seed, n_cases, timepoints):
    batch = np.random.default_rng(0).normal(size=(n_cases, 2, timepoints))
    before = batch.copy()
    shifted = preprocess.circular_shift(batch, np.random.default_rng(seed))
    np.testing.assert_array_equal(batch, before)
    for old, new in zip(batch, shifted, strict=True):
        rolls = [np.roll(old, -amount, axis=1) for amount in range(timepoints)]
        assert any(np.array_equal(new, roll) for roll in rolls)


@given(
    arrays(np.int64, st.integers(4, 60), elements=st.integers(0, 3)),
    st.floats(0.05, 0.95),
    st.integers(0, 100),
)
def test_stratified_split_is_a_partition_that_keeps_every_class(labels, fraction, seed):
    rest, held_out = preprocess.stratified_split(labels, fraction, np.random.default_rng(seed))
    assert sorted([*rest, *held_out]) == list(range(len(labels)))
    assert set(labels[rest]) == set(labels)
    for label, count in zip(*np.unique(labels, return_counts=True), strict=True):
        n_held_out = (labels[held_out] == label).sum()
        assert abs(n_held_out - fraction * count) <= 1


@pytest.mark.parametrize("seed", range(5))
def test_splice_returns_the_share_of_each_case(seed):
    batch = np.arange(6, dtype=np.float32)[:, None, None] * np.ones((6, 2, 50), np.float32)
    before = batch.copy()
    spliced, others, share = preprocess.splice(batch, 1.0, np.random.default_rng(seed))
    assert (batch == before).all() and spliced.dtype == np.float32
    assert sorted(others) == list(range(6))
    for own, (case, other) in enumerate(zip(spliced, others, strict=True)):
        assert set(np.unique(case)) <= {own, other}
        assert (case[0] == case[1]).all()
        if other != own:
            assert (case[0] == own).mean() == pytest.approx(share)


def test_stratified_split_holds_blocks_out_whole():
    labels = np.repeat([0, 1], [20, 13])  # the last block of the second class has 3
    for seed in range(5):
        rest, held_out = preprocess.stratified_split(labels, 0.3, np.random.default_rng(seed), 5)
        assert sorted([*rest, *held_out]) == list(range(33))
        for block in ([0, 5], [5, 10], [10, 15], [15, 20], [20, 25], [25, 30], [30, 33]):
            assert len(np.intersect1d(held_out, range(*block))) in (0, block[1] - block[0])
        assert set(labels[held_out]) == set(labels[rest]) == {0, 1}
    with pytest.raises(ValueError, match="block_cases must be at least 1"):
        preprocess.stratified_split(labels, 0.3, np.random.default_rng(0), 0)


@pytest.mark.parametrize("fraction", [0, 1, -0.5])
def test_stratified_split_of_all_or_nothing_is_an_error(fraction):
    with pytest.raises(ValueError, match="between 0 and 1"):
        preprocess.stratified_split(np.zeros(4), fraction, np.random.default_rng(0))


@given(
    arrays(
        np.float64,
        st.tuples(st.integers(1, 3), st.integers(1, 30)),
        elements=st.floats(-1e3, 1e3) | st.just(np.nan),
    )
)
def test_fill_gaps_keeps_known_values_and_their_range(case):
    known = ~np.isnan(case)
    if not known.any(axis=1).all():
        with pytest.raises(ValueError, match="any known value"):
            preprocess.fill_gaps(case)
        return
    filled = preprocess.fill_gaps(case)
    np.testing.assert_array_equal(filled[known], case[known])
    for row, raw in zip(filled, case, strict=True):
        assert np.nanmin(raw) <= row.min() and row.max() <= np.nanmax(raw)


@given(cases, st.integers(1, 100))
def test_resample_keeps_the_ends_and_the_range(case, timepoints):
    resampled = preprocess.resample(case, timepoints)
    assert resampled.shape == (case.shape[0], timepoints)
    np.testing.assert_array_equal(resampled[:, 0], case[:, 0])
    if timepoints > 1:
        np.testing.assert_allclose(resampled[:, -1], case[:, -1])
    assert resampled.min() >= case.min() and resampled.max() <= case.max()
    np.testing.assert_array_equal(preprocess.resample(case, case.shape[1]), case)


def test_a_rate_keeps_the_time_scale_of_shorter_cases():
    long, short = np.arange(40.0)[None], np.arange(20.0)[None]
    x = preprocess.to_array([long, short], 20, with_level=False, rate=0.5)
    assert x.shape == (2, 1, 20)
    np.testing.assert_allclose(
        x[0, 0],
        preprocess.z_norm(np.linspace(0, 39, 20)[None])[0]
        * np.linspace(0, 39, 20).std()
        / np.arange(40.0).std(),
        atol=1e-6,
    )
    np.testing.assert_array_equal(x[1, 0, :10], x[1, 0, 10:])  # tiled after resampling


def _dataset(*trains):
    cases = tuple(np.asarray(case, float)[None] for case in trains)
    split = Split(cases, np.arange(len(cases)) % 2)
    return Dataset("Made", ("a", "b"), split, split, source=None)


def test_a_level_that_all_cases_share_is_not_fed():
    data = prepare(_dataset([1, 3, 1, 3], [3, 1, 3, 1]), 4)
    assert data.train_x.shape == (2, 1, 4)
    assert data.notes == ("all training cases have the same level, which is not part of the input",)
    assert prepare(_dataset([1, 3, 1, 3], [30, 10, 30, 10]), 4).train_x.shape == (2, 2, 4)


def test_what_is_cut_or_resampled_is_noted():
    made = _dataset(range(8), range(0, 12, 3))
    assert prepare(made, 4).notes == ("2 of 4 cases are cut after 4 timepoints",)
    resampled = prepare(made, 4, resampled=True)
    assert resampled.rate == 0.5
    assert resampled.notes == ("resampled to 0.5 times its timepoints, so that the longest has 4",)
