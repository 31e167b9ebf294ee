"""TensorFlow's own search for NaN, where a script asks for it, does not end what is looked into."""

from __future__ import annotations

from collections.abc import Iterator

import keras
import numpy as np
import pytest
import tensorflow as tf

import floatline
from tests.contract.samples import policy


@pytest.fixture
def searching() -> Iterator[None]:
    """As a script asks for it at its top."""
    tf.debugging.enable_check_numerics()
    yield
    tf.debugging.disable_check_numerics()


@pytest.mark.usefixtures("searching")
def test_a_training_that_it_would_stop_is_diagnosed_and_it_goes_on_afterwards() -> None:
    with policy("mixed_float16"):
        inputs = keras.Input((4,))
        squares = keras.layers.Lambda(lambda x: x * x, name="squares")(inputs)
        model = keras.Model(inputs, keras.layers.Dense(1, dtype="float32")(squares))
        model.compile(keras.optimizers.SGD(1e-11), "mse", jit_compile=False)
    x = np.full((64, 4), 300.0, dtype="float32")
    diagnosis = floatline.diagnose(model, x, x[:, :1], batch_size=8, epochs=3)
    assert diagnosis.verdict == "precision"
    assert diagnosis.findings[0].place is not None
    assert diagnosis.findings[0].place.layer == "squares"
    assert any("tf.debugging's checks" in note for note in diagnosis.notes)
    with pytest.raises(tf.errors.InvalidArgumentError):
        tf.math.log(-1.0)
