"""Saved and loaded: settings, scale, counters and the inner optimizer's state, each once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

import floatline
from floatline.scaling.laws import scale_from_config, scale_to_config
from tests.scaling.samples import array, data, small_model

# Keras converts its variables in a way that NumPy 2 calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")

LAWS = [
    floatline.NoScale(),
    floatline.FixedScale(128.0),
    floatline.DynamicScale(64.0, hysteresis=2, floor=0.25),
    floatline.CalibratedScale(memory_steps=7),
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
def test_settings_survive_their_plain_form(law: Any) -> None:
    assert scale_from_config(scale_to_config(law)) == law
    optimizer = floatline.LossScaleOptimizer(keras.optimizers.Adam(0.25), scale=law)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert again.scale == law
    assert float(again.learning_rate.value) == 0.25
    assert keras.optimizers.serialize(again) == keras.optimizers.serialize(optimizer)


def test_settings_in_words_of_keras_stay_in_them() -> None:
    optimizer = floatline.LossScaleOptimizer(
        keras.optimizers.SGD(), initial_scale=0.5, dynamic_growth_steps=7
    )
    again = floatline.LossScaleOptimizer.from_config(optimizer.get_config())
    assert again.scale == floatline.DynamicScale(0.5, growth_interval=7, floor=0.5)


def trained(tmp_path: Path, make: Any) -> tuple[keras.Model, Path]:
    x, y = data()
    x[:8] = 1e30  # Makes the first step a skipped one.
    model = small_model()
    model.compile(make(keras.optimizers.Adam(1e-3)), "mse")
    model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
    file = tmp_path / "model.keras"
    model.save(file)
    return model, file


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_a_saved_model_comes_back_with_its_loss_scaling(tmp_path: Path, policy: str) -> None:
    model, file = trained(tmp_path, floatline.LossScaleOptimizer)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        loaded = keras.models.load_model(file)
    finally:
        keras.config.set_dtype_policy(before)
    assert isinstance(loaded.optimizer, floatline.LossScaleOptimizer)
    assert loaded.optimizer.report() == model.optimizer.report()
    assert loaded.optimizer.report().skipped == 2
    pairs = zip(loaded.optimizer.variables, model.optimizer.variables, strict=True)
    for have, want in pairs:
        np.testing.assert_array_equal(array(have), array(want), err_msg=want.path)


def stored_values(file: Path, tmp_path: Path) -> int:
    """How many values the optimizer has in a `.keras` file."""
    import zipfile

    with zipfile.ZipFile(file) as archive:
        archive.extract("model.weights.h5", tmp_path)
    counts: list[int] = []
    with h5py.File(tmp_path / "model.weights.h5") as weights:
        weights["optimizer"].visititems(
            lambda _, node: counts.append(node.size) if isinstance(node, h5py.Dataset) else None
        )
    return sum(counts)


def test_the_inner_optimizers_state_is_stored_once(tmp_path: Path) -> None:
    ours, file = trained(tmp_path, floatline.LossScaleOptimizer)
    inner = sum(array(v).size for v in ours.optimizer.inner_optimizer.variables)
    assert inner <= stored_values(file, tmp_path) <= inner + 12
    _, file = trained(tmp_path, keras.optimizers.LossScaleOptimizer)
    assert stored_values(file, tmp_path) >= 2 * inner


def test_weights_that_keras_class_has_stored_can_be_loaded(tmp_path: Path) -> None:
    theirs, file = trained(tmp_path, keras.optimizers.LossScaleOptimizer)
    weights = tmp_path / "model.weights.h5"
    stored_values(file, tmp_path)  # Unpacks them.
    model = small_model()
    model.compile(floatline.LossScaleOptimizer(keras.optimizers.Adam(1e-3)), "mse")
    model.optimizer.build(model.trainable_variables)
    model.load_weights(weights)
    optimizer = model.optimizer
    assert float(optimizer.dynamic_scale.value) == float(theirs.optimizer.dynamic_scale.value)
    assert int(optimizer.iterations) == int(theirs.optimizer.iterations) > 0
