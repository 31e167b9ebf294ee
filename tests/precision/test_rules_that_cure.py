"""Layers that go wrong in float16 inside of Keras 3.15.1, and right under a rule of a plan."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from floatline import Plan
from tests.precision.models import value

layers = keras.layers
HALF = Plan.of("mixed_float16")


@keras.saving.register_keras_serializable(package="floatline_tests")
class Counter(keras.Layer):  # type: ignore[misc]  # (Keras carries no types)
    """Counts its calls in a float32 weight."""

    def build(self, _shape: Any) -> None:
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False, name="calls")

    def call(self, x: Any) -> Any:
        self.calls.assign_add(1.0)
        return x


def counted(plan: Plan) -> float:
    """What the weight holds after four more calls; right is 2050."""
    inputs = keras.Input((2,))
    model = keras.Model(inputs, Counter(name="counter")(inputs))
    plan.apply(model)
    model.get_layer("counter").calls.assign(2046.0)
    for _ in range(4):
        model(np.ones((1, 2), "float32"))
    return float(value(model.get_layer("counter").calls))


def test_a_float32_state_is_written_in_float32() -> None:
    # float16 holds no odd integer above 2048, and PyTorch writes into a copy that is dropped.
    assert counted(HALF) == (2046.0 if keras.backend.backend() == "torch" else 2048.0)
    assert counted(HALF.with_rule("float32", path="counter", reason="r")) == 2050.0


def unit_vector(plan: Plan) -> list[float]:
    model = keras.Sequential([keras.Input((2,)), layers.UnitNormalization(name="unit")])
    plan.apply(model)
    return [float(x) for x in model.predict(np.array([[300.0, 400.0]]), verbose=0)[0]]


@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
def test_a_norm_that_overflows_gives_zero_without_a_trace() -> None:
    assert unit_vector(HALF) == [0.0, 0.0]
    cured = unit_vector(HALF.with_rule("float32", layer_class="UnitNormalization", reason="r"))
    np.testing.assert_allclose(cured, [0.6, 0.8], rtol=1e-6)


def penalized(plan: Plan) -> float:
    """The loss of one step with a penalty on 32 x 512 activations of 2; right is 2048 + 4."""
    penalty = keras.regularizers.L2(1.0)
    hidden = layers.Dense(
        512,
        kernel_initializer="zeros",
        bias_initializer=keras.initializers.Constant(2.0),
        activity_regularizer=penalty,
        name="hidden",
    )
    head = layers.Dense(1, kernel_initializer="zeros", name="head")
    model = keras.Sequential([keras.Input((2,)), hidden, head])
    model.compile("sgd", "mse", jit_compile=False)
    plan.apply(model)
    x, y = np.ones((32, 2), "float32"), np.full((32, 1), 2.0, "float32")
    return float(model.evaluate(x, y, batch_size=32, verbose=0))


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_a_penalty_on_activations_is_summed_in_float32() -> None:
    if keras.backend.backend() == "tensorflow":
        with pytest.raises(TypeError):
            penalized(HALF)  # Keras adds a float16 and a float32 loss.
    else:
        assert not np.isfinite(penalized(HALF))
    assert penalized(HALF.with_rule("float32", path="hidden", reason="r")) == 2052.0
