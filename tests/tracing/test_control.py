"""Targets that are dealt out to other inputs: nothing of the pairs is left, everything else is."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from floatline.tracing.control import compares_row_by_row, dealt_out


def numbered(batches: int, rows: int = 4) -> list[tuple[Any, Any]]:
    """Batches in which inputs and target of a row are its number and a half."""
    numbers = np.arange(batches * rows, dtype="float32").reshape(batches, rows) + 0.5
    return [(ops.convert_to_tensor(row[:, None]), row) for row in numbers]


def targets(dealt: Any) -> Any:
    return np.concatenate([ops.convert_to_numpy(batch[1]) for batch in dealt])


def test_no_row_keeps_its_target_and_all_targets_are_there_once() -> None:
    dealt = dealt_out(numbered(25))
    inputs = np.concatenate([ops.convert_to_numpy(x)[:, 0] for x, _ in dealt])
    np.testing.assert_array_equal(inputs, np.arange(100) + 0.5)
    assert not (targets(dealt) == inputs).any()
    np.testing.assert_array_equal(np.sort(targets(dealt)), inputs)


def test_the_same_inputs_get_the_same_target_in_every_epoch() -> None:
    epoch = numbered(9)
    dealt = dealt_out([*epoch, *reversed(epoch)])
    for first, again in zip(dealt[:9], reversed(dealt[9:]), strict=True):
        np.testing.assert_array_equal(targets([first]), targets([again]))


def test_sample_weights_go_with_the_targets_and_nests_keep_their_form() -> None:
    rows = ops.convert_to_tensor(np.arange(4.0) + 0.5)
    batch = ({"x": rows}, {"a": rows, "b": (ops.cast(rows * 2, "int32"),)}, rows * 100)
    ((inputs, others, weights),) = dealt_out([batch])
    assert inputs is batch[0]
    one, two = (ops.convert_to_numpy(y) for y in (others["a"], others["b"][0]))
    np.testing.assert_array_equal(one * 2, two)
    np.testing.assert_array_equal(one * 100, ops.convert_to_numpy(weights))
    assert (one != np.arange(4) + 0.5).all()
    assert dealt_out([(rows, rows, None)])[0][2] is None


def test_a_last_batch_of_fewer_rows_is_dealt_out_as_well() -> None:
    short = (ops.convert_to_tensor(np.array([[90.5], [91.5]], "float32")), np.array([90.5, 91.5]))
    dealt = dealt_out([*numbered(3), short])
    assert [ops.shape(y)[0] for _, y in dealt] == [4, 4, 4, 2]
    assert not (targets(dealt[-1:]) == short[1]).any()


def test_inputs_of_several_sizes_are_not_dealt_out() -> None:
    other = (ops.convert_to_tensor(np.full((4, 2), 0.5, "float32")), np.ones(4))
    assert dealt_out([*numbered(1), other]) == ()


@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_ids_can_only_be_learned_by_heart_so_they_show_nothing(dtype: str) -> None:
    ids = ops.convert_to_tensor(np.arange(4).astype(dtype))
    assert dealt_out([(ids, np.ones(4))]) == ()
    assert dealt_out([((ids, ops.cast(ids, "float32") / 3), np.ones(4))]) == ()


HALVES = np.full(4, 0.5)


@pytest.mark.parametrize(
    "batch",
    [
        (HALVES,),
        (HALVES, None),
        {"x": HALVES},
        HALVES,
        (np.array(["a"]), HALVES[:1]),
        (HALVES, np.float32(1.0)),
        (HALVES, HALVES[:2]),
    ],
    ids=["no targets", "None", "dictionary", "array", "text", "number", "other rows"],
)
def test_what_holds_no_pairs_is_not_dealt_out(batch: Any) -> None:
    assert dealt_out([batch]) == ()


class OwnLoss(keras.Model):  # type: ignore[misc]  # (Keras carries no types)
    def compute_loss(self, *_: Any, **__: Any) -> Any:
        return 0.0


class OwnStep(keras.Model):  # type: ignore[misc]  # (Keras carries no types)
    def train_step(self, *_: Any) -> Any:
        return {}


def own_function(y_true: Any, y_pred: Any) -> Any:
    return ops.mean(y_true) - ops.mean(y_pred)


@pytest.mark.parametrize(
    ("kind", "loss", "row_by_row"),
    [
        (keras.Model, "mse", True),
        (keras.Model, keras.losses.Huber(), True),
        (keras.Model, keras.losses.mean_squared_error, True),
        (keras.Model, own_function, False),
        (OwnLoss, "mse", False),
        (OwnStep, "mse", False),
    ],
)
def test_losses_of_keras_alone_compare_row_by_row(kind: Any, loss: Any, row_by_row: bool) -> None:
    inputs = keras.Input((2,))
    model = kind(inputs, keras.layers.Dense(1)(inputs))
    model.compile("sgd", loss)
    assert compares_row_by_row(model) is row_by_row
