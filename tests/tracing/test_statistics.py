"""Statistics against plain NumPy, and their laws: one pack or several, merged or at once."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from floatline.backends.tensorflow.recorder import KERNELS
from floatline.records import Statistics
from floatline.tracing.decoding import decode
from floatline.tracing.statistics import (
    Pack,
    concatenate,
    empty,
    least_normal,
    measure,
    merge,
)
from tests.tracing.measuring import measured, on_host, statistics
from tests.tracing.vectors import DTYPES, Lanes, assert_same, by_the_book, lanes, rounded_to

LEAST = least_normal("float16")

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="The kernels under test are TensorFlow's, and Keras' operations run on its own backend.",
)

quick = settings(max_examples=40, deadline=None)


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data())
@quick
def test_one_tensor(dtype: str, data: st.DataObject) -> None:
    found = data.draw(lanes(dtype))
    assert_same(statistics(found, dtype)[0], by_the_book(found, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data())
@quick
def test_several_tensors_in_one_pool(dtype: str, data: st.DataObject) -> None:
    parts = data.draw(st.lists(lanes(dtype, most=6), min_size=1, max_size=5))
    pooled = Lanes(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    rows = statistics(pooled, dtype, [len(part.computed) for part in parts])
    for row, part in zip(rows, parts, strict=True):
        assert_same(row, by_the_book(part, dtype))


@pytest.mark.parametrize("sizes", [(0, 3), (3, 0), (1, 0, 2), (0, 0, 3, 0, 0), (0, 0)])
def test_tensors_without_elements_leave_the_others_alone(sizes: tuple[int, ...]) -> None:
    values = np.array([3.0, -0.25, 0.0][: sum(sizes)], "float32")
    rows = statistics(Lanes(values, values, values), "float16", sizes)
    assert [row.count for row in rows] == list(sizes)
    assert [row for row in rows if row.count == 0] == [Statistics(0)] * sizes.count(0)
    start = 0
    for row, size in zip(rows, sizes, strict=True):
        part = values[start : start + size]
        start += size
        assert_same(row, by_the_book(Lanes(part, part, part), "float16"))


@pytest.mark.parametrize("same", ["shadow", "local", "both", "local and shadow"])
@given(data=st.data())
@quick
def test_lanes_that_are_one_object_are_measured_as_if_they_were_not(
    same: str, data: st.DataObject
) -> None:
    found = data.draw(lanes("float16"))
    computed, shadow, local = (tf.constant(lane) for lane in found)
    shadow = computed if same in ("shadow", "both") else shadow
    local = {"local": computed, "both": computed, "local and shadow": shadow}.get(same, local)
    (row,) = decode(on_host(measure(computed, shadow, local, LEAST, None, KERNELS)))
    assert_same(row, by_the_book(Lanes(computed.numpy(), shadow.numpy(), local.numpy()), "float16"))


def assert_same_packs(found: Pack, truth: Pack) -> None:
    np.testing.assert_array_equal(found.counts, truth.counts)
    np.testing.assert_array_equal(found.maxima, truth.maxima)
    np.testing.assert_allclose(found.sums, truth.sums, rtol=1e-5)


@given(data=st.data())
@quick
def test_two_halves_merge_into_the_whole(data: st.DataObject) -> None:
    whole = data.draw(lanes("float16"))
    cut = data.draw(st.integers(0, len(whole.computed)))
    halves = [measured(whole.part(part), "float16") for part in (slice(cut), slice(cut, None))]
    assert_same_packs(on_host(merge(*halves)), measured(whole, "float16"))


@given(data=st.data())
@quick
def test_pools_merge_row_by_row_even_where_one_has_no_elements(data: st.DataObject) -> None:
    parts = [data.draw(lanes("float16", most=4)) for _ in range(4)]
    packs = [
        measured(
            Lanes(*(np.concatenate(column) for column in zip(*pair, strict=True))),
            "float16",
            [len(part.computed) for part in pair],
        )
        for pair in (parts[:2], parts[2:])
    ]
    for row, pair in zip(
        decode(on_host(merge(*packs))), zip(parts[:2], parts[2:], strict=True), strict=True
    ):
        together = Lanes(*(np.concatenate(column) for column in zip(*pair, strict=True)))
        assert_same(row, by_the_book(together, "float16"))


@given(found=lanes("float16"))
@quick
def test_the_empty_pack_is_neutral_on_both_sides(found: Lanes) -> None:
    pack = measured(found, "float16")
    assert_same_packs(on_host(merge(empty(1), pack)), pack)
    assert_same_packs(on_host(merge(pack, empty(1))), pack)
    assert decode(on_host(empty(3))) == [Statistics(0)] * 3


@given(first=lanes("float16"), second=lanes("float16"))
@quick
def test_concatenated_packs_are_one_row_after_the_other(first: Lanes, second: Lanes) -> None:
    packs = [measured(found, "float16") for found in (first, second)]
    rows = decode(on_host(concatenate([*packs, empty(1)])))
    assert rows == [*decode(packs[0]), *decode(packs[1]), Statistics(0)]
    assert concatenate([packs[0]]) is packs[0]


@pytest.mark.parametrize(
    ("value", "exponent"),
    [
        (1.0, 0),
        (1 - 2.0**-24, -1),
        (-2.0, 1),
        (2 - 2.0**-22, 0),
        (65504.0, 15),
        (2.0**-24, -24),
        (2.0**-126, -126),
        (2.0**127, 127),
        (float(np.finfo("float32").max), 127),
    ],
)
def test_a_power_of_two_opens_its_own_bin(value: float, exponent: int) -> None:
    lane = np.array([value], "float32")
    (row,) = statistics(Lanes(rounded_to(lane, "float16"), lane, lane), "float16")
    assert row.exponents == {exponent: 1}


@given(
    pairs=st.lists(
        st.tuples(st.integers(-(2**24), 2**24), st.integers(-(2**24), 2**24))
        | st.integers(-5, 5).map(lambda n: (n, n))
    )
)
@quick
def test_integers_that_differ(pairs: list[tuple[int, int]]) -> None:
    lane: Any = np.array(pairs, "float32").reshape(-1, 2).T
    (row,) = statistics(Lanes(lane[0], lane[1], lane[0]), "int32")
    assert row.mismatched == sum(first != second for first, second in pairs)
    assert row.count == len(pairs)


def test_floats_that_differ_are_not_called_mismatched() -> None:
    lane = np.array([1.0, 2.0], "float32")
    assert statistics(Lanes(lane, lane + 1, lane), "float16")[0].mismatched == 0


def test_a_sum_beyond_float32_gives_an_error_that_is_a_number() -> None:
    huge = np.full(4, 3e38, "float32")
    small = np.ones(4, "float32")
    assert statistics(Lanes(small, huge, huge), "bfloat16")[0].error == 1.0
    assert statistics(Lanes(huge, huge * np.float32(0.99), huge), "bfloat16")[0].error <= 1.0


def test_a_difference_where_the_truth_is_zero_counts_as_one() -> None:
    zero, one = np.zeros(2, "float32"), np.ones(2, "float32")
    assert statistics(Lanes(one, zero, one), "float16")[0].error == 1.0
    assert statistics(Lanes(zero, zero, zero), "float16")[0].error == 0.0
