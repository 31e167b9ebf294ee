"""Sizes of batches, for every kind of leaf."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from floatline.capture.batches import kept, size_in_bytes


def test_arrays_and_tensors_count_their_elements() -> None:
    batch = (np.zeros((4, 5), "float32"), {"y": tf.zeros((4,), tf.float16)}, None)
    assert size_in_bytes(batch) == 4 * 5 * 4 + 4 * 2


def test_sparse_and_ragged_tensors_count_their_parts() -> None:
    sparse = tf.sparse.from_dense(tf.constant([[0.0, 1.0], [2.0, 0.0]]))
    assert size_in_bytes(sparse) == 2 * 4 + 2 * 2 * 8
    ragged = tf.ragged.constant([[1.0], [2.0, 3.0]])
    assert size_in_bytes(ragged) >= 3 * 4


def test_objects_count_as_nothing() -> None:
    assert size_in_bytes((object(), 3, "text")) == 0


def test_tensors_are_kept_and_arrays_are_copied() -> None:
    tensor, array = tf.zeros(3), np.zeros(3)
    copy = kept([tensor, array])
    assert copy[0] is tensor
    assert copy[1] is not array
