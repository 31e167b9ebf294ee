"""Targets that do not belong to their inputs are told in one sentence, and fitted models let be."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

import floatline
from floatline.findings.learning import DEALS

ROWS, EPOCHS = 512, 5


def classifier(rate: float = 3e-3) -> tuple[keras.Model, np.ndarray[Any, Any], Any]:
    """A mixed_float16 model, and rows around the centres of four classes."""
    keras.utils.set_random_seed(0)
    hidden = keras.layers.Dense(16, "relu", dtype="mixed_float16")
    model = keras.Sequential([keras.Input((8,)), hidden, keras.layers.Dense(4)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss)
    random = np.random.default_rng(0)
    labels = random.integers(0, 4, ROWS)
    x = random.normal(size=(4, 8))[labels] + random.normal(size=(ROWS, 8)) / 2
    return model, x.astype("float32"), labels


def test_shuffled_targets_are_no_fault_of_the_precision() -> None:
    model, x, labels = classifier()
    mixed = np.random.default_rng(1).permutation(labels)
    diagnosis = floatline.diagnose(model, x, mixed, batch_size=32, epochs=EPOCHS)
    assert diagnosis.verdict == "not-precision"
    assert [finding.rule for finding in diagnosis.findings] == ["FL606"]
    reference = diagnosis.evidence.reference
    assert reference is not None
    assert [len(others) for others in reference.dealt_out] == [len(reference.steps)] * DEALS


def test_a_fitted_model_whose_loss_is_flat_has_learned() -> None:
    model, x, labels = classifier()
    model.fit(x, labels, batch_size=32, epochs=20, verbose=0)
    model.optimizer.learning_rate = 1e-6
    diagnosis = floatline.diagnose(model, x, labels, batch_size=32, epochs=EPOCHS)
    assert (diagnosis.verdict, diagnosis.findings) == ("healthy", ())
    assert diagnosis.evidence.reference is None  # One training on other targets was enough.
