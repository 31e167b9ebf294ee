"""The state of loss scaling is read from either optimizer, and an extra look changes nothing."""

from __future__ import annotations

from typing import Any

import keras
import pytest
from keras import ops

from floatline.scaling.optimizer import LossScaleOptimizer
from floatline.watch.scaling import ScaleReader
from tests.watch.samples import BACKEND


def values(variables: Any) -> list[Any]:
    return [variable.value for variable in variables]


def step(optimizer: Any, weight: Any, gradient: float) -> None:
    scaled = optimizer.scale_loss(ops.convert_to_tensor(gradient))
    optimizer.apply([ops.reshape(scaled, (1,))], [weight])


KINDS = [LossScaleOptimizer]
if BACKEND != "jax":  # Keras' own class cannot run outside of a compiled step there.
    KINDS.append(keras.optimizers.LossScaleOptimizer)


@pytest.mark.parametrize("kind", KINDS)
def test_skipped_steps_are_counted_in_a_row(kind: Any) -> None:
    weight = keras.Variable([1.0])
    optimizer = kind(keras.optimizers.SGD(0.1), initial_scale=1024.0)
    optimizer.build([weight])
    reader = ScaleReader(optimizer)
    assert reader.read(values, 0) is not None
    step(optimizer, weight, 1.0)
    found = reader.read(values, 1)
    assert (found.skipped, found.consecutive) == (0, 0)  # type: ignore[union-attr]  # (it scales)
    for _ in range(3):
        step(optimizer, weight, float("inf"))
    for _ in range(2):  # The end of an epoch looks once more.
        found = reader.read(values, 4)
        assert (found.skipped, found.consecutive) == (3, 3)  # type: ignore[union-attr]
    assert found is not None
    assert found.scale == reader.scale(values) == 128.0


def test_an_optimizer_that_scales_nothing_has_no_state() -> None:
    optimizer = keras.optimizers.SGD(0.1)
    optimizer.build([keras.Variable([1.0])])
    reader = ScaleReader(optimizer)
    assert reader.read(values, 3) is None
    assert reader.scale(values) == 1.0


@pytest.mark.parametrize("kind", KINDS)
def test_all_that_is_read_is_asked_for(kind: Any) -> None:
    """While JAX trains, only the train function knows the values; the variables hold none."""
    weight = keras.Variable([1.0])
    optimizer = kind(keras.optimizers.SGD(0.1), initial_scale=1024.0)
    optimizer.build([weight])
    reader = ScaleReader(optimizer)
    before = {id(v): ops.copy(v.value) for v in optimizer.variables}
    known = reader.read(values, 0)
    step(optimizer, weight, float("inf"))
    found = reader.read(lambda variables: [before[id(v)] for v in variables], 0)
    assert found == known
