"""A loss whose shapes broadcast is told from one that pairs its rows on purpose, on real traces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from floatline.findings.crossings import Crossing, crossing
from floatline.pipeline import load_backend
from tests.contract.samples import noise, policy

ROWS = 8
Loss = Callable[[Any, Any], Any]
"""A loss of what a batch gives beside the inputs, `(ROWS, 2)`, and predictions, `(ROWS, 1)`."""


class Taught(keras.Model):  # type: ignore[misc]  # (Keras carries no types)
    """A small model whose loss is written by hand."""

    def __init__(self, loss: Loss, features: int) -> None:
        inputs = keras.Input((3,))
        hidden = layers.Dense(4, activation="tanh")(inputs)
        super().__init__(inputs=inputs, outputs=layers.Dense(features)(hidden))
        self.by_hand = loss

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, *_: Any, **__: Any
    ) -> Any:
        return self.by_hand(y, ops.cast(y_pred, "float32"))


def found(
    loss: Loss, given: np.ndarray, features: int = 1, precision: str = "float32"
) -> Crossing | None:
    with policy(precision):
        model = Taught(loss, features)
        model.compile("sgd")
    step = load_backend().keras_step(model, lambda layer: None)
    batch = noise(ROWS, 3), given
    step.prepare(batch)
    trace = step.trace(step.snapshot(), batch)
    assert trace.raised is None
    return crossing(trace)


def table() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(ROWS, 2)).astype("float32")


def squared(given: Any, predicted: Any) -> Any:
    return ops.mean(ops.square(given[:, 0] - predicted))


def absolute(given: Any, predicted: Any) -> Any:
    return ops.mean(ops.abs(predicted - given[:, 0]))


def row_by_row(given: Any, predicted: Any) -> Any:
    return ops.sum(ops.mean(ops.square(given[:, 0] - predicted), axis=-1)) / ROWS


def the_other_way_round(given: Any, predicted: Any) -> Any:
    return ops.sqrt(ops.mean(ops.square(given[:, :1] - predicted[:, 0])))


def likelihood(given: Any, predicted: Any) -> Any:
    label, share = ops.cast(given[:, 0] > 0, "float32"), ops.sigmoid(predicted)
    both = label * ops.log(share + 1e-6) + (1 - label) * ops.log(1 - share + 1e-6)
    return -ops.mean(both)


def bounded(given: Any, predicted: Any) -> Any:
    away = predicted - given[:, 0]
    return ops.mean(ops.where(ops.abs(away) < 1, 0.5 * away * away, ops.abs(away) - 0.5))


FAULTS: list[Loss] = [squared, absolute, row_by_row, the_other_way_round, likelihood, bounded]


@pytest.mark.parametrize("loss", FAULTS, ids=lambda loss: loss.__name__)
def test_shapes_that_broadcast_are_found(loss: Loss) -> None:
    it = found(loss, table())
    assert it is not None
    assert (it.rows, it.only) == (ROWS, True)


def test_they_are_found_in_mixed_precision() -> None:
    it = found(squared, table(), precision="mixed_float16")
    assert it is not None
    assert it.only


def test_weights_that_miss_their_rows_are_found_beside_a_loss_that_is_right() -> None:
    def weighted(given: Any, predicted: Any) -> Any:
        return ops.mean(given[:, 1] * ops.square(predicted - given[:, :1]))

    it = found(weighted, table())
    assert it is not None
    assert not it.only


def aligned(given: Any, predicted: Any) -> Any:
    return ops.mean(ops.square(predicted - given[:, :1]))


def squeezed(given: Any, predicted: Any) -> Any:
    return ops.mean(ops.square(ops.squeeze(predicted, 1) - given[:, 0]))


def energy_distance(given: Any, predicted: Any) -> Any:
    across = ops.mean(ops.abs(predicted - given[:, 0]))
    within = ops.mean(ops.abs(predicted - ops.transpose(predicted)))
    return 2 * across - within


def ranking(given: Any, predicted: Any) -> Any:
    order = ops.sign(given[:, :1] - given[:, 0])
    return ops.mean(ops.relu(1 - order * (predicted - predicted[:, 0])))


def nearest(given: Any, predicted: Any) -> Any:
    away = ops.abs(predicted - given[:, 0])
    return ops.mean(ops.min(away, axis=0)) + ops.mean(ops.min(away, axis=1))


def density(given: Any, predicted: Any) -> Any:
    return -ops.mean(ops.logsumexp(-ops.square(predicted - given[:, 0]), axis=1))


def neighbours(given: Any, predicted: Any) -> Any:
    near = ops.exp(-ops.square(given[:, 1:] - given[:, 1]))
    return ops.mean(near * ops.square(predicted - given[:, 0]))


def assignment(given: Any, predicted: Any) -> Any:
    cost = ops.square(predicted - given[:, 0])
    return ops.mean(ops.sum(ops.softmax(-cost, axis=1) * cost, axis=1))


def outer_product(given: Any, predicted: Any) -> Any:
    return ops.mean(ops.square(ops.matmul(predicted, ops.transpose(given[:, :1])) - 1))


WANTED: list[Loss] = [
    aligned,
    squeezed,
    energy_distance,
    ranking,
    nearest,
    density,
    neighbours,
    assignment,
    outer_product,
]


@pytest.mark.parametrize("loss", WANTED, ids=lambda loss: loss.__name__)
def test_pairs_that_are_wanted_are_left_alone(loss: Loss) -> None:
    assert found(loss, table()) is None


def test_as_many_quantiles_as_rows_are_no_fault() -> None:
    def pinball(given: Any, predicted: Any) -> Any:
        away = given[:, :1] - predicted
        level = ops.convert_to_tensor(np.linspace(0.1, 0.9, ROWS, dtype="float32"))
        return ops.mean(ops.maximum(level * away, (level - 1) * away))

    assert found(pinball, table(), features=ROWS) is None


def test_as_many_features_as_rows_are_no_fault() -> None:
    def gated(given: Any, predicted: Any) -> Any:
        return ops.mean(ops.square(given * ops.sigmoid(predicted) - 1))

    assert found(gated, noise(ROWS, ROWS)) is None
