"""Whole diagnoses of steps that users write for Keras on TensorFlow."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from floatline.capture.capture import Budget
from floatline.pipeline import diagnose
from tests.contract.samples import policy


class Forgetful(keras.Model):  # type: ignore[misc]
    """Its step leaves the loss unscaled, and its optimizer divides by the scale all the same."""

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y = data
        with tf.GradientTape() as tape:
            predicted = self(x, training=True)
            loss = self.compute_loss(y=y, y_pred=predicted)
        weights = self.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        logs: dict[str, Any] = self.compute_metrics(x, y, predicted, None)
        return logs


def test_a_loss_that_was_never_scaled_is_found_beside_an_accuracy() -> None:
    with policy("mixed_float16"):
        inputs = keras.Input((8,))
        outputs = keras.layers.Dense(3, activation="softmax")(inputs)
        model = Forgetful(inputs, outputs)
        model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    x = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
    diagnosis = diagnose(model, x, x[:, :3].argmax(axis=1), epochs=10, budget=Budget(steps=20))
    assert [entry.operation for entry in diagnosis.evidence.traces[0].not_traced] == ["Bitcast"]
    assert (diagnosis.verdict, diagnosis.findings[0].rule) == ("precision", "FL404")
