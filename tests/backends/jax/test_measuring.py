"""JAX's own way to measure, against plain NumPy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from floatline.backends.jax.measuring import kernels
from floatline.records import Statistics
from floatline.tracing.decoding import decode
from floatline.tracing.fused import measure
from floatline.tracing.statistics import ROW, Pack, Segments, least_normal
from tests.tracing.vectors import DTYPES, Lanes, assert_same, by_the_book, in_rows, lanes

quick = settings(max_examples=25, deadline=None)


@jax.jit  # type: ignore[untyped-decorator]
def alone(computed: jax.Array, shadow: jax.Array, local: jax.Array, least: jax.Array) -> Pack:
    return measure(computed, shadow, local, least, None, kernels())


def statistics(found: Lanes, dtype: str) -> Statistics:
    pack = alone(*map(jnp.asarray, found), jnp.float32(least_normal(dtype)))
    return decode(Pack(*map(np.asarray, pack)))[0]


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data())
@quick
def test_one_array(dtype: str, data: st.DataObject) -> None:
    found = data.draw(lanes(dtype, most=5))
    assert_same(statistics(found, dtype), by_the_book(found, dtype))


@given(parts=st.lists(lanes("float16", most=6), min_size=3, max_size=3))
@quick
def test_several_arrays_in_one_pool(parts: list[Lanes]) -> None:
    pooled = Lanes(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    sizes = [len(part.computed) for part in parts]
    rows = [-(-size // ROW) for size in sizes]
    numbers = jnp.asarray(np.repeat(np.arange(3, dtype=np.int32), rows))
    segments = Segments(numbers, jnp.asarray(sizes, jnp.int32), 3)
    least = jnp.full(3, least_normal("float16"))
    computed, shadow, local = (jnp.asarray(in_rows(lane, sizes)) for lane in pooled)
    pack = measure(computed, shadow, local, least, segments, kernels())
    for row, part in zip(decode(Pack(*map(np.asarray, pack))), parts, strict=True):
        assert_same(row, by_the_book(part, "float16"))
