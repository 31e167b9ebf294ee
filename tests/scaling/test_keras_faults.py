"""Faults of Keras 3.15.1's loss scaling: each is shown there, and shown to be gone here.

`keras` and `floatline` stand for the two classes. When a newer Keras mends a fault, its half of the
test fails: then the half is deleted.
"""

from __future__ import annotations

import functools
from typing import Any

import keras
import numpy as np
import pytest

import floatline
from floatline.errors import InputError
from floatline.scaling.stall import StallError
from tests.scaling.samples import (
    BACKEND,
    apply,
    array,
    data,
    not_jax,
    only_jax,
    only_tensorflow,
    small_model,
    tensor,
    variable,
)

INF = float("inf")
# Keras converts its variables and logs in a way that NumPy 2 calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")


def step(optimizer: Any, gradient: Any, variables: Any) -> None:
    """One update, in the only form that Keras' class has on JAX."""
    if BACKEND != "jax":
        apply(optimizer, [gradient], variables)
        return
    optimizer.scale_loss(tensor(1.0))
    before = [[v.value for v in group] for group in (optimizer.variables, variables)]
    after = _compiled(optimizer)(before[0], [tensor(gradient)], before[1])
    for group, values in zip((variables, optimizer.variables), after, strict=True):
        for each, value in zip(group, values, strict=True):
            each.assign(value)


@functools.cache
def _compiled(optimizer: Any) -> Any:
    import jax

    return jax.jit(optimizer.stateless_apply)


def made(make: Any, **arguments: Any) -> tuple[Any, list[keras.Variable]]:
    optimizer, variables = make(keras.optimizers.SGD(1.0), **arguments), [variable([1.0])]
    optimizer.build(variables)
    return optimizer, variables


KERAS, OURS = keras.optimizers.LossScaleOptimizer, floatline.LossScaleOptimizer


def test_a_scale_without_a_floor_reaches_zero_and_then_a_good_step_writes_nan() -> None:
    results = {}
    for name, make in (("keras", KERAS), ("floatline", OURS)):
        optimizer, variables = made(make, initial_scale=2.0**15)
        for _ in range(170):
            step(optimizer, [INF], variables)
        scale = float(optimizer.dynamic_scale.value)
        step(optimizer, [0.25 * scale], variables)
        results[name] = (scale, float(array(variables[0])[0]))
    assert results["keras"][0] == 0.0
    assert np.isnan(results["keras"][1])
    assert results["floatline"] == (1.0, 0.75)


def test_a_scale_without_a_ceiling_becomes_infinite_and_never_returns() -> None:
    scales = {}
    for name, make in (("keras", KERAS), ("floatline", OURS)):
        optimizer, variables = made(make, initial_scale=2.0**126, dynamic_growth_steps=1)
        for gradient in [0.0, 0.0, INF, INF, INF]:
            step(optimizer, [gradient], variables)
        scales[name] = float(optimizer.dynamic_scale.value)
    assert scales == {"keras": INF, "floatline": 2.0**123}


def test_a_growth_test_by_equality_never_grows_past_a_counter() -> None:
    scales = {}
    for name, make in (("keras", KERAS), ("floatline", OURS)):
        optimizer, variables = made(make, initial_scale=8.0, dynamic_growth_steps=10)
        optimizer.step_counter.assign(15)  # From a checkpoint with a longer interval.
        for _ in range(12):
            step(optimizer, [0.0], variables)
        scales[name] = float(optimizer.dynamic_scale.value)
    assert scales == {"keras": 8.0, "floatline": 32.0}


@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
def test_a_forward_overflow_stops_with_its_reason_instead_of_training_nothing() -> None:
    x, y = data(64)
    model = small_model(factor=1e5)
    model.compile(KERAS(keras.optimizers.SGD(0.01)), "mse")
    history = model.fit(x, y, batch_size=8, epochs=7, verbose=0).history
    assert np.isnan(history["loss"]).all()
    assert list(history) == ["loss"]
    assert int(model.optimizer.iterations) == 0

    model.compile(OURS(keras.optimizers.SGD(0.01)), "mse")
    with (
        pytest.warns(UserWarning, match="Training stands still: the last 8 steps"),
        pytest.raises(StallError, match="the forward pass fails, and no loss scale can cure that"),
    ):
        model.fit(x, y, batch_size=8, epochs=7, verbose=0)


def test_statistics_of_a_skipped_step_do_not_stay_and_its_loss_is_not_in_the_mean() -> None:
    x, y = data(64)
    x[8:16] = 1e30  # One batch overflows in float16.
    model = small_model()
    weights = model.get_weights()
    seen = {}
    for name, make in (("keras", KERAS), ("floatline", OURS)):
        model.set_weights(weights)
        optimizer = make(keras.optimizers.SGD(0.01), initial_scale=64.0)
        model.compile(optimizer, "mse", metrics=["mae"])
        history = model.fit(x, y, batch_size=8, shuffle=False, verbose=0).history
        predicted = model.predict(x[:8], verbose=0)
        numbers = (history["loss"][0], history["mae"][0], predicted.sum())
        seen[name] = (np.isfinite(numbers).tolist(), int(model.optimizer.iterations))
    assert seen["keras"] == ([False] * 3, 7)
    assert seen["floatline"] == ([True] * 3, 7)
    assert history["skipped_steps"] == [1]


def test_terminate_on_nan_does_not_end_a_training_that_only_backs_off() -> None:
    x, y = data(64)
    x[0:8] = 1e30
    steps = {}
    for name, make in (("keras", KERAS), ("floatline", OURS)):
        model = small_model()
        model.compile(make(keras.optimizers.SGD(0.01), initial_scale=64.0), "mse")
        stop = keras.callbacks.TerminateOnNaN()
        model.fit(x, y, batch_size=8, shuffle=False, verbose=0, callbacks=[stop])
        steps[name] = int(model.optimizer.iterations)
    assert steps == {"keras": 0, "floatline": 7}


@not_jax
def test_apply_gradients_returns_a_counter_that_advances() -> None:
    counts = {}
    for name, make in (("keras", KERAS), ("floatline", OURS)):
        optimizer, variables = made(make)
        for _ in range(3):
            optimizer.scale_loss(tensor(1.0))
            count = optimizer.apply_gradients([(tensor([1.0]), variables[0])])
        counts[name] = int(count)
    assert counts == {"keras": 0, "floatline": 3}


def test_set_weights_sets_the_inner_optimizers_weights() -> None:
    restored = {}
    for name, make in (("keras", KERAS), ("floatline", OURS)):
        optimizer, _ = made(lambda _, make=make: make(keras.optimizers.Adam(1.0)))
        weights = [np.full(v.shape, 3, v.dtype) for v in optimizer.variables]
        optimizer.set_weights(weights)
        moments = [v for v in optimizer.inner_optimizer.variables if "momentum" in v.path]
        restored[name] = float(array(moments[0])[0])
    assert restored == {"keras": 0.0, "floatline": 3.0}


def test_gradients_that_are_all_missing_are_refused_in_plain_words() -> None:
    optimizer, variables = made(KERAS)
    with pytest.raises(Exception, match=r"Cond\.call|No gradients|iterable|empty|stack") as theirs:
        optimizer.apply([None], variables)
    optimizer, variables = made(OURS)
    with pytest.raises(InputError, match="No gradients provided for any variable") as ours:
        optimizer.apply([None], variables)
    assert len(str(ours.value)) < len(str(theirs.value)) or "differentiate" in str(ours.value)


@only_jax
def test_a_compiled_loop_on_jax_cannot_use_a_scale_that_is_out_of_date() -> None:
    import jax

    def trained(make: Any, pass_variables: bool) -> list[float]:
        optimizer, variables = made(make, initial_scale=8.0, dynamic_growth_steps=2)

        @jax.jit  # type: ignore[untyped-decorator]  # (JAX carries no types here)
        def train_step(weights: Any, state: Any) -> Any:
            def loss(weights: Any) -> Any:
                arguments = (state,) if pass_variables else ()
                return optimizer.scale_loss(weights[0].sum(), *arguments)

            return optimizer.stateless_apply(state, jax.grad(loss)(weights), weights)

        weights, state = [variables[0].value], [v.value for v in optimizer.variables]
        moved = []
        for _ in range(8):
            before = float(weights[0][0])
            weights, state = train_step(weights, state)
            moved.append(before - float(weights[0][0]))
        return moved

    # The true gradient is 1 in every step.
    assert trained(KERAS, False) == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]
    with pytest.raises(InputError, match="in a function that JAX compiles"):
        trained(OURS, False)
    assert trained(OURS, True) == [1.0] * 8


@only_jax
def test_apply_works_on_jax_outside_of_compiled_functions() -> None:
    import jax

    optimizer, variables = made(KERAS)
    with pytest.raises(jax.errors.UnexpectedTracerError):
        apply(optimizer, [[2.0**15]], variables) or array(variables[0])  # type: ignore[func-returns-value]  # (leaks in either)
    optimizer, variables = made(OURS, initial_scale=4.0)
    apply(optimizer, [[4.0]], variables)
    assert float(array(variables[0])[0]) == 0.0


@only_tensorflow
def test_a_search_for_infinite_values_is_not_stopped_by_the_search_for_a_scale() -> None:
    """Keras tries scales until one overflows no more; ours is computed from the gradients.

    Where a step must be skipped, an infinite gradient exists, and any search finds it.
    """
    import tensorflow as tf

    applied = {}
    tf.debugging.enable_check_numerics()
    try:
        for name, make in (("keras", KERAS), ("floatline", OURS)):
            dense = keras.layers.Dense(1, dtype="mixed_float16", kernel_initializer="zeros")
            model = keras.Sequential([keras.Input((4,)), dense])
            model.compile(make(keras.optimizers.SGD(1e-3)), lambda y, p: 16 * (p - y))
            x = np.ones((8, 4), "float32")
            try:
                model.fit(x, x[:, :1], batch_size=8, epochs=2, verbose=0)
            except tf.errors.InvalidArgumentError:
                assert name == "keras"
            applied[name] = int(model.optimizer.iterations)
    finally:
        tf.debugging.disable_check_numerics()
    assert applied == {"keras": 0, "floatline": 2}
