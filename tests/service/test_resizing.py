"""Pillow's resize along one axis is the matrix that it is taken for, and its norms are bounds."""

import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.Image import Resampling

from service import resizing
from service.resizing import LONGEST_SIDE, Axis, gains, largest_singular_value, matrix

FILTERS = [
    Resampling.NEAREST,
    Resampling.BOX,
    Resampling.BILINEAR,
    Resampling.HAMMING,
    Resampling.BICUBIC,
    Resampling.LANCZOS,
]


@st.composite
def axes(draw: st.DrawFn, longest: int = 400) -> Axis:
    before = draw(st.integers(4, longest))
    start = draw(st.just(0.0) | st.floats(0, before - 2))
    end = draw(st.just(float(before)) | st.floats(start + 1, before))
    return Axis(before, draw(st.integers(4, 300)), start, end, draw(st.sampled_from(FILTERS)))


@settings(deadline=None, max_examples=60)
@given(axes())
def test_resizing_rows_and_columns_is_this_matrix(axis: Axis) -> None:
    every = Image.fromarray(np.eye(axis.before, dtype=np.float32))
    across = every.resize((axis.after, axis.before), axis.filter, box=(axis.start, 0, axis.end, axis.before))
    down = every.resize((axis.before, axis.after), axis.filter, box=(0, axis.start, axis.before, axis.end))
    expected = matrix(axis).toarray()
    assert np.abs(np.asarray(across).T - expected).max() < 1e-6
    assert np.abs(np.asarray(down) - expected).max() < 1e-6


@settings(deadline=None, max_examples=40)
@given(axes(250))
def test_gains_are_those_of_numpy_rounded_up(axis: Axis) -> None:
    found, dense = gains(axis), matrix(axis).toarray()
    assert found is not None
    for bound, truth in (
        (found.l2, np.linalg.norm(dense, 2)),
        (found.single, np.linalg.norm(dense, axis=0).max()),
        (found.even, np.abs(dense).sum(axis=1).max()),
    ):
        assert truth * (1 - 1e-12) <= bound <= truth * (1 + 1e-5)


def test_a_side_that_stays_changes_nothing() -> None:
    found = gains(Axis(50, 50, 0, 50, Resampling.LANCZOS))
    assert found is not None
    assert (found.l2, found.single, found.even) == (1, 1, 1)
    moved = gains(Axis(50, 50, 0.25, 50, Resampling.LANCZOS))
    assert moved is not None
    assert moved.l2 != 1


def test_the_longest_side_is_quick_and_a_longer_one_has_no_gains() -> None:
    started = time.perf_counter()
    assert gains(Axis(LONGEST_SIDE, 224, 0, LONGEST_SIDE, Resampling.LANCZOS)) is not None
    assert gains(Axis(LONGEST_SIDE + 1, 224, 0, LONGEST_SIDE + 1, Resampling.BILINEAR)) is None
    assert time.perf_counter() - started < 10


def test_where_pillow_resizes_otherwise_there_are_no_gains(monkeypatch: pytest.MonkeyPatch) -> None:
    wider: tuple[Any, float] = (lambda x: np.maximum(1 - np.abs(x) / 1.01, 0), 1.01)
    monkeypatch.setitem(resizing._FILTERS, Resampling.BILINEAR, wider)
    assert gains(Axis(123, 45, 0, 123, Resampling.BILINEAR)) is None


@pytest.mark.parametrize("shape", [(7, 30), (30, 7), (30, 30), (1, 9)])
def test_the_largest_singular_value_of_any_matrix(shape: tuple[int, int]) -> None:
    for seed in range(20):
        dense = np.random.default_rng(seed).standard_normal(shape)
        truth = np.linalg.norm(dense, 2)
        assert truth * (1 - 1e-12) <= largest_singular_value(resizing.csr_array(dense)) <= truth * (1 + 1e-5)
