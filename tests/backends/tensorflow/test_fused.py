"""What XLA makes of a measurement measures the same, against plain NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from floatline.backends.tensorflow import TensorFlowBackend, fused
from floatline.backends.tensorflow.fused import measuring_one
from floatline.backends.tensorflow.lanes import raised
from floatline.records import Site, Statistics
from floatline.tracing.decoding import decode
from floatline.tracing.sharing import Sharing
from floatline.tracing.statistics import Pack
from tests.tracing.vectors import DTYPES, Lanes, assert_same, by_the_book, lanes

quick = settings(max_examples=15, deadline=None)


def statistics(found: Lanes, dtype: str, sharing: Sharing) -> Statistics:
    computed = tf.as_dtype(dtype)
    dtypes = [computed if lane == 0 else raised(computed) for lane in sharing.distinct]
    lanes = zip(sharing.distinct, dtypes, strict=True)
    distinct = [tf.constant(found[lane], kind) for lane, kind in lanes]
    pack = measuring_one(dtype, sharing)(*distinct)
    return decode(Pack(*(np.asarray(part) for part in pack)))[0]


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data())
@quick
def test_three_lanes(dtype: str, data: st.DataObject) -> None:
    found = data.draw(lanes(dtype, most=5))
    assert_same(statistics(found, dtype, Sharing.of(1, 2, 3)), by_the_book(found, dtype))


@pytest.mark.parametrize("shared", [(0, 0, 0), (0, 0, 2), (0, 1, 0), (0, 1, 1)])
@given(data=st.data())
@quick
def test_lanes_that_are_one(shared: tuple[int, ...], data: st.DataObject) -> None:
    drawn = data.draw(lanes("float16", most=5))
    objects = [object() for _ in range(3)]
    found = Lanes(*(drawn[lane] for lane in shared))
    sharing = Sharing.of(*(objects[lane] for lane in shared))
    assert_same(statistics(found, "float16", sharing), by_the_book(found, "float16"))


def traced() -> tuple[Site, ...]:
    """The sites of a step with tensors that are large enough to be measured alone."""
    weight = tf.Variable(tf.fill([128, 256], 0.5))

    @tf.function  # type: ignore[untyped-decorator]  # (TensorFlow carries no types)
    def train(x: Any) -> Any:
        with tf.GradientTape() as tape:
            halves = tf.cast(x, tf.float16) @ tf.cast(weight, tf.float16)
            loss = tf.reduce_mean(tf.cast(tf.exp(halves), tf.float32))
        weight.assign_sub(1e-3 * tape.gradient(loss, weight))
        return loss

    step = TensorFlowBackend().function_step(train, lambda _: None)
    x = np.random.default_rng(0).normal(size=(64, 128)).astype("float32")
    step.prepare(x)
    return step.trace(step.snapshot(), x).sites


def test_a_trace_on_a_gpu_says_what_one_on_a_processor_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The code that runs on a GPU only, run where there is none."""
    found = traced()
    measuring_one.cache_clear()
    monkeypatch.setattr(fused, "on_gpu", lambda: True)
    for site, other in zip(found, traced(), strict=True):
        assert other.place == site.place
        assert_same(other.statistics, site.statistics)
    assert measuring_one.cache_info().currsize
    assert any(site.statistics.inf for site in found)
