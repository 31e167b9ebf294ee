"""What a skipped step wrote beside the optimizer's updates is put back, whatever comes between."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

import floatline
from tests.scaling.samples import array, data, not_jax, only_torch, small_model

# Keras converts its variables and logs in a way that NumPy 2 calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")


def compiled(model: keras.Model, **arguments: Any) -> keras.Model:
    optimizer = floatline.LossScaleOptimizer(keras.optimizers.SGD(0.01), initial_scale=64.0)
    model.compile(optimizer, "mse", **arguments)
    return model


def logs_of(model: keras.Model, *bad: int, reset_before: int | None = None) -> list[list[float]]:
    """The logs of eight steps, of which some overflow."""
    x, y = data(64)
    for step in bad:
        x[8 * step : 8 * step + 8] = 1e30
    seen: list[list[float]] = []

    def begin(step: int, logs: Any) -> None:
        if step == reset_before:
            model.reset_metrics()

    callback = keras.callbacks.LambdaCallback(
        on_train_batch_begin=begin,
        on_train_batch_end=lambda _, logs: seen.append([float(v) for v in logs.values()]),
    )
    model.fit(x, y, batch_size=8, shuffle=False, verbose=0, callbacks=[callback])
    return seen


def test_a_skipped_step_logs_what_the_metrics_said_before() -> None:
    found = logs_of(compiled(small_model(), metrics=["mae"]), 0, 3, 4)
    assert found[0] == [0.0, 0.0]
    assert found[2] == found[3] == found[4] != found[5]
    assert np.isfinite(found).all()


@not_jax  # Keras keeps the metrics to itself between the steps there.
def test_metrics_that_a_callback_resets_are_put_back_to_where_they_were() -> None:
    found = logs_of(compiled(small_model()), 4, reset_before=4)
    assert [step for step, logs in enumerate(found) if logs == [0.0]] == [4]


def test_metrics_of_a_model_that_is_compiled_again_are_put_back() -> None:
    model = compiled(small_model())
    assert np.isfinite(logs_of(model, 2)).all()
    found = logs_of(compiled(model), 0, 2)
    assert found[0] == [0.0]
    assert found[1] == found[2] != found[3]


class Taught(keras.Model):  # type: ignore[misc]  # (Keras carries no types)
    """A teacher whose frozen weights follow those of the student in every step."""

    def __init__(self) -> None:
        super().__init__()
        self.student = keras.layers.Dense(1)
        self.teacher = keras.layers.Dense(1, trainable=False)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """What both say; in training the teacher moves on."""
        if training:
            self.teacher.kernel.assign(ops.add(self.teacher.kernel, 1.0))
        return self.student(inputs) + ops.stop_gradient(self.teacher(inputs))


def test_frozen_weights_to_which_steps_write_are_put_back() -> None:
    model = Taught()
    model(data(8)[0])
    before = array(model.teacher.kernel)
    logs_of(compiled(model), 3, 4)
    np.testing.assert_allclose(array(model.teacher.kernel), before + 6.0, rtol=1e-6)


@only_torch  # Elsewhere a copy is a part of the compiled step, if it is made at all.
def test_frozen_weights_to_which_no_step_writes_are_not_copied() -> None:
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    copied: set[torch.Size] = set()

    class Copies(TorchDispatchMode):  # type: ignore[misc]  # (PyTorch carries no types here)
        """Notes the shapes of what is copied."""

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if func.overloadpacket in (torch.ops.aten.clone, torch.ops.aten.copy_):
                copied.add(args[0].shape)
            return func(*args, **(kwargs or {}))

    frozen = keras.layers.Dense(7, trainable=False)
    normal = keras.layers.BatchNormalization()
    model = compiled(keras.Sequential([keras.Input((8,)), frozen, normal, keras.layers.Dense(1)]))
    with Copies():
        model.train_on_batch(*data(5))
    assert (7,) in copied  # Moving averages, which steps write to.
    assert (8, 7) not in copied
