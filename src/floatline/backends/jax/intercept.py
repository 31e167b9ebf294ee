"""Stands in for the compiled train function of a Keras model, so that `fit` drives the watch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras

from floatline.backends.interface import Batch
from floatline.backends.jax.checks import no_checks
from floatline.backends.jax.variables import ModelVariables, values_of


@contextlib.contextmanager
def intercept(model: keras.Model, advance: Callable[[Batch], Any]) -> Iterator[None]:
    """While active, `fit` and `train_on_batch` hand every batch to `advance`.

    Keras' trainer takes the values out of the variables and passes them on from step to step;
    `advance` works on the variables, so they are put back for each step and read afterwards.
    """
    variables = ModelVariables(model)

    def train_function(state: Any, iterator: Any) -> tuple[Any, Any]:
        logs = None
        values = [value for group in state for value in group]
        for variable, value in zip(variables.all(), values, strict=True):
            variable.assign(value)
        for position in range(model.steps_per_execution):
            try:
                batch = next(iterator)
            except StopIteration:
                if position == 0:
                    raise
                break
            logs = advance(batch)
        return logs, variables.grouped(values_of(variables.all()))

    def make_train_function(force: bool = False) -> None:
        del force
        model.train_function = train_function

    previous = model.train_function
    model.train_function = train_function
    model.make_train_function = make_train_function
    try:
        with no_checks():  # Keras computes its metrics between the steps.
            yield
    finally:
        del model.make_train_function
        model.train_function = previous
