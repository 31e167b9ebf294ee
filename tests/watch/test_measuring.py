"""What a sample says, against numbers that are known by other means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from floatline.scaling.optimizer import LossScaleOptimizer
from floatline.scaling.scales import FixedScale
from floatline.watch.callback import Watch
from floatline.watch.records import Sample
from tests.watch.samples import BATCH


class Keeps(Watch):
    """Keeps the samples."""

    def __init__(self, folder: Path, **arguments: Any) -> None:
        super().__init__(folder, **arguments)
        self.samples: list[Sample] = []

    def _sampled(self, sample: Sample) -> None:
        self.samples.append(sample)


def sampled(trained: keras.Model, x: Any, y: Any, folder: Path) -> Sample:
    """The sample of the second step."""
    watch = Keeps(folder, every=1)
    trained.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0, callbacks=[watch])
    return watch.samples[0]


def test_gradient_update_and_activation_are_those_of_the_step(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    trained = keras.Sequential(
        [keras.Input((3,)), layers.Dense(1, use_bias=False, kernel_initializer="ones", name="d")]
    )
    trained.compile(keras.optimizers.SGD(0.5), "mse")
    x = np.repeat(np.array([[1.0, 2.0, 0.0]], "float32"), 2 * BATCH, axis=0)
    sample = sampled(trained, x, np.zeros((2 * BATCH, 1), "float32"), tmp_path)
    # The loss is (w.x)^2: its gradient is 2 (w.x) x, and half of that is taken off the weights.
    before = np.ones(3) - 3.0 * x[0]
    output = float(before @ x[0])
    (gradient,), (activation,) = sample.variables, sample.activations
    assert gradient.layer == "d"
    assert gradient.largest == pytest.approx(abs(2 * output * 2.0))
    assert gradient.nonzero == 2  # The third input is always 0.
    assert gradient.flushed is None  # float32 has no larger scale to compare with.
    assert gradient.update == pytest.approx(np.abs(output * x[0]).sum())
    assert gradient.weight == pytest.approx(np.abs(before).sum())
    assert gradient.lost == 0
    assert (activation.layer, activation.dtype) == ("d", "float32")
    assert activation.largest == pytest.approx(abs(output))


def test_updates_below_the_last_digit_are_lost(tmp_path: Path) -> None:
    trained = keras.Sequential(
        [keras.Input((4,)), layers.Dense(1, use_bias=False, kernel_initializer="ones")]
    )
    trained.compile(keras.optimizers.SGD(1.0), "mse")
    x = np.full((2 * BATCH, 4), 1e-5, "float32")
    x[:, 0] = 1e-3
    sample = sampled(trained, x, np.zeros((2 * BATCH, 1), "float32"), tmp_path)
    # Around 1, float32 rounds away what is less than 6e-8: the update of the last three.
    assert sample.variables[0].nonzero == 4
    assert sample.variables[0].lost == 3


@pytest.mark.parametrize(("scale", "share"), [(1.0, 1.0), (2.0**10, 0.0)])
def test_what_float16_flushes_is_seen(scale: float, share: float, tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    hidden = layers.Dense(4, dtype="mixed_float16", name="first")(inputs)
    outputs = layers.Dense(1, dtype="float32")(hidden)
    trained = keras.Model(inputs, layers.Rescaling(1e-7)(outputs))
    optimizer = LossScaleOptimizer(keras.optimizers.SGD(0.0), scale=FixedScale(scale))
    trained.compile(optimizer, "mae")
    x = np.random.default_rng(0).uniform(0.5, 1.0, (2 * BATCH, 4)).astype("float32")
    sample = sampled(trained, x, np.full((2 * BATCH, 1), -1.0, "float32"), tmp_path)
    first = next(entry for entry in sample.variables if entry.layer == "first")
    # Each element of the loss' gradient is 1e-7 / 16, and float16 ends at 6e-8.
    assert first.flushed is not None
    assert first.flushed / (first.flushed + first.nonzero) == pytest.approx(share)


def test_a_recurrent_layer_is_measured_from_outside(tmp_path: Path) -> None:
    trained = keras.Sequential([keras.Input((5, 3)), layers.LSTM(4), layers.Dense(1)])
    trained.compile("adam", "mse")
    x = np.ones((2 * BATCH, 5, 3), "float32")
    sample = sampled(trained, x, x[:, 0, :1], tmp_path)
    assert {"lstm", "dense"} <= {entry.layer.rstrip("_0123456789") for entry in sample.activations}


def test_a_skipped_step_lost_no_update(tmp_path: Path) -> None:
    trained = keras.Sequential([keras.Input((4,)), layers.Dense(1)])
    trained.compile(LossScaleOptimizer(keras.optimizers.SGD(0.1), scale=FixedScale(1.0)), "mse")
    x = np.ones((2 * BATCH, 4), "float32")
    x[BATCH:] = np.inf
    sample = sampled(trained, x, x[:, :1], tmp_path)
    assert not sample.applied
    assert {entry.lost for entry in sample.variables} == {0.0}
