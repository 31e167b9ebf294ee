"""LossScaler: loops written by hand train as float32 does, compiled as each framework compiles."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import tree

import floatline
from floatline.scaling.scaler import LossScaler
from tests.scaling.samples import array, only_jax, tensor

INF = float("inf")


def test_counts_and_scale_travel_in_the_state() -> None:
    scaler = LossScaler(floatline.DynamicScale(8.0))
    state = scaler.initial_state()
    for value in [8.0, INF, 4.0]:
        state = scaler.update(state, scaler.unscale([None, tensor([value])], state))
    report = scaler.report(state, ["embedding", "kernel"])
    assert (report.scale, report.skipped, report.consecutive, report.backoffs) == (4.0, 1, 0, 1)
    assert report.culprit == "kernel"


@settings(deadline=None, max_examples=20)
@given(
    st.lists(st.floats(-1e3, 1e3, width=32, allow_subnormal=False), min_size=1, max_size=8),
    st.integers(0, 20),
)
def test_unscaling_by_a_power_of_two_is_exact(values: list[float], exponent: int) -> None:
    scaler = LossScaler(floatline.FixedScale(2.0**exponent))
    state = scaler.initial_state()
    scaled = [tensor(values) * 2.0**exponent]
    np.testing.assert_array_equal(
        array(scaler.unscale(scaled, state).gradients[0]), np.asarray(values, "float32")
    )


def test_select_keeps_the_old_values_of_a_bad_step() -> None:
    scaler = LossScaler()
    state = scaler.initial_state()
    old, new = {"w": tensor([1.0])}, {"w": tensor([2.0])}
    for value, expected in [(1.0, 2.0), (INF, 1.0)]:
        unscaled = scaler.unscale([tensor([value])], state)
        assert array(scaler.select(unscaled, new, old)["w"])[0] == expected


def test_step_undoes_a_bad_update_of_whatever_it_is_told() -> None:
    scaler = LossScaler(floatline.FixedScale(1.0))
    state = scaler.initial_state()
    optimizer, weight = keras.optimizers.Adam(0.5), keras.Variable([1.0])
    optimizer.build([weight])
    for value, expected in [(INF, 0), (1.0, 1)]:
        unscaled = scaler.unscale([tensor([value])], state)
        scaler.step(
            unscaled,
            lambda gradients: optimizer.apply(gradients, [weight]),
            [*optimizer.variables, weight],
        )
        assert int(optimizer.iterations.value) == expected
    assert array(weight)[0] == pytest.approx(0.5, abs=1e-4)


@only_jax
def test_the_state_is_a_pytree_that_survives_compilation() -> None:
    import jax

    scaler = LossScaler(floatline.DynamicScale(4.0, floor=2.0**-3))
    state = scaler.initial_state()

    @jax.jit
    def overflow(state: Any) -> Any:
        return scaler.update(state, scaler.unscale([tensor([1.0]) * INF], state))

    for _ in range(10):
        state = overflow(state)
    assert scaler.report(state).scale == 2.0**-3
    assert [leaf.dtype for leaf in tree.flatten(state)] == [
        leaf.dtype for leaf in tree.flatten(scaler.initial_state())
    ]
