"""Inputs that are dealt out to other targets: nothing of the pairs is left, everything else is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from keras import ops

from floatline.tracing.control import dealt_out


def numbered(batches: int, rows: int = 4) -> list[tuple[Any, Any]]:
    """Batches in which inputs and target of a row are its number."""
    numbers = np.arange(batches * rows, dtype="float32").reshape(batches, rows)
    return [(ops.convert_to_tensor(row[:, None]), row) for row in numbers]


def test_no_row_keeps_its_inputs_and_all_inputs_are_there_once() -> None:
    dealt = dealt_out(numbered(25))
    pairs = np.array([[ops.convert_to_numpy(x)[:, 0], y] for x, y in dealt])
    assert not (pairs[:, 0] == pairs[:, 1]).any()
    np.testing.assert_array_equal(np.sort(pairs[:, 0].ravel()), np.arange(100))
    np.testing.assert_array_equal(pairs[:, 1].ravel(), np.arange(100))


def test_the_same_row_gets_the_same_inputs_in_every_epoch() -> None:
    epoch = numbered(9)
    dealt = dealt_out([*epoch, *reversed(epoch)])
    inputs = [ops.convert_to_numpy(x) for x, _ in dealt]
    for first, again in zip(inputs[:9], reversed(inputs[9:]), strict=True):
        np.testing.assert_array_equal(first, again)


def test_sample_weights_stay_with_the_targets_and_nests_keep_their_form() -> None:
    rows = ops.convert_to_tensor(np.arange(4.0))
    batch = ({"a": rows, "b": (ops.cast(rows, "int32"),)}, rows, rows * 100)
    ((inputs, targets, weights),) = dealt_out([batch])
    one, other = (ops.convert_to_numpy(x) for x in (inputs["a"], inputs["b"][0]))
    np.testing.assert_array_equal(one, other)
    assert (one != np.arange(4)).all()
    assert targets is batch[1]
    assert weights is batch[2]


def test_a_last_batch_of_fewer_rows_is_dealt_out_as_well() -> None:
    short = (ops.convert_to_tensor(np.array([[90.0], [91.0]], "float32")), np.array([90.0, 91.0]))
    dealt = dealt_out([*numbered(3), short])
    assert [x.shape[0] for x, _ in dealt] == [4, 4, 4, 2]
    assert not (ops.convert_to_numpy(dealt[-1][0]).ravel() == short[1]).any()


def test_inputs_of_several_sizes_are_not_dealt_out() -> None:
    other = (ops.convert_to_tensor(np.ones((4, 2), "float32")), np.ones(4))
    assert dealt_out([*numbered(1), other]) == ()


@pytest.mark.parametrize(
    "batch",
    [(np.ones(4),), (np.ones(4), None), {"x": np.ones(4)}, np.ones(4), (np.array(["a"]), 1)],
    ids=["no targets", "None", "dictionary", "array", "text"],
)
def test_what_holds_no_pairs_is_not_dealt_out(batch: Any) -> None:
    assert dealt_out([batch]) == ()
