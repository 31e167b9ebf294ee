"""Variables that change dtype in place: rounded as NumPy rounds, and back bit for bit."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from floatline.precision.plan import Plan
from floatline.precision.variables import convert
from tests.precision.models import bits, data, functional, nested, rounded, value


def pure_half() -> Any:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float16")
    try:
        model = nested()
    finally:
        keras.config.set_dtype_policy(before)
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    return model


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_value_is_rounded_and_comes_back_bit_for_bit(dtype: str) -> None:
    variable = keras.Variable(np.array([1 + 2.0**-20, -0.0, np.nan, 3e-8, 1e5], "float32"))
    before = bits([variable])
    expected = rounded(value(variable), dtype)
    back = convert(variable, dtype)
    assert str(variable.dtype) == dtype
    np.testing.assert_array_equal(value(variable).astype("float32"), expected)
    back()
    assert bits([variable]) == before


def test_a_value_that_changed_meanwhile_is_kept() -> None:
    variable = keras.Variable(np.full(3, 1 + 2.0**-20, "float32"))
    back = convert(variable, "float16")
    variable.assign_add(np.ones(3, "float16"))
    back()
    assert str(variable.dtype) == "float32"
    np.testing.assert_array_equal(value(variable), np.full(3, 2.0, "float32"))


def test_pure_float16_becomes_mixed_with_float32_master_weights() -> None:
    model = pure_half()
    before = [value(v).astype("float32") for v in model.weights]
    held = list(model.weights)
    changes = Plan.of("mixed_float16").apply(model).changes
    assert {str(v.dtype) for v in model.trainable_variables} == {"float32"}
    assert all(now is then for now, then in zip(model.weights, held, strict=True))
    for now, then in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(value(now), then)  # Widening loses nothing.
    said = {change.path: (change.before, change.after) for change in changes.variables}
    assert all(said[v.path] == ("float16", "float32") for v in model.trainable_variables)


def test_the_optimizers_state_follows_its_variables() -> None:
    model = pure_half()
    Plan.of("mixed_float16").apply(model)
    inner = model.optimizer.inner_optimizer
    floats = [v for v in inner.variables if len(v.shape)]
    assert len(floats) == 2 * len(model.trainable_variables)
    assert {str(v.dtype) for v in floats} == {"float32"}
    model.fit(*data(), verbose=0)
    assert np.isfinite(np.concatenate([value(v).ravel() for v in model.weights])).all()


def test_mixed_becomes_pure_float16_and_back() -> None:
    model = functional()
    before = bits(model.weights)
    application = Plan.of("float16").apply(model)
    assert {str(v.dtype) for v in model.trainable_variables} == {"float16"}
    assert model.predict(data()[0], verbose=0).dtype == np.float16
    application.undo()
    assert bits(model.weights) == before


def test_weights_of_a_dtype_of_their_own_stay() -> None:
    class Counting(keras.Layer):  # type: ignore[misc]  # (Keras carries no types)
        def build(self, shape: Any) -> None:
            self.scale = self.add_weight(shape=(), name="scale", initializer="ones")
            self.seen = self.add_weight(shape=(), name="seen", dtype="float32", trainable=False)

        def call(self, x: Any) -> Any:
            return x * keras.ops.cast(self.scale, x.dtype)

    counting = Counting(dtype="float16", name="counting")
    model = keras.Sequential([keras.Input((2,)), counting], name="sequential")
    changes = Plan.of("mixed_bfloat16").apply(model).changes
    assert [change.path for change in changes.variables] == ["sequential/counting/scale"]
