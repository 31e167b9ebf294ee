"""Stands in for the compiled train function of a Keras model, so that `fit` drives the watch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from floatline.backends.interface import Batch
from floatline.backends.tensorflow.checks import no_checks


@contextlib.contextmanager
def intercept(model: keras.Model, advance: Callable[[Batch], Any]) -> Iterator[None]:
    """While active, `fit` and `train_on_batch` hand every batch to `advance`.

    Keras asks for the train function by calling `make_train_function`, which keeps one that is
    already there; `compile`, `force=True` and whoever changes the train step would replace it.
    """

    def train_function(iterator: Any) -> Any:
        logs = None
        for position in range(model.steps_per_execution):
            try:
                batch = next(iterator)
            except (StopIteration, tf.errors.OutOfRangeError):
                if position == 0:
                    raise
                break
            logs = advance(batch)
        return logs

    def make_train_function(force: bool = False) -> Any:
        del force
        model.train_function = train_function
        return train_function

    previous = model.train_function
    model.train_function = train_function
    model.make_train_function = make_train_function
    try:
        with no_checks():  # Keras computes its metrics between the steps.
            yield
    finally:
        del model.make_train_function
        model.train_function = previous
