"""Step functions that the user wrote, called on a row of batches."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from floatline.backends.tensorflow import TensorFlowBackend
from floatline.capture.capture import Budget
from floatline.capture.function import batch_of_call, capture_function
from floatline.capture.state import value_of
from floatline.errors import InputError, TrainingError
from floatline.marks import training_step
from tests.capture.fakes import FakeBackend, ended

BATCH = (np.ones((4, 2), "float32"), np.ones((4, 1), "float32"))


def stepping() -> tuple[Any, Any, Any]:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    optimizer = keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)

    @tf.function  # type: ignore[untyped-decorator]
    def step(x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(x) - y) ** 2)
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss

    return model, optimizer, step


def test_everything_is_put_back() -> None:
    model, optimizer, step = stepping()
    weights = [value_of(variable) for variable in model.variables]
    capture = capture_function(TensorFlowBackend(), step, [BATCH] * 3, Budget())
    assert len(capture.history.steps) == 3
    assert capture.configuration.entry == "step function"
    assert capture.configuration.optimizer == "Adam"
    assert int(optimizer.iterations) == 0
    for before, variable in zip(weights, model.variables, strict=True):
        np.testing.assert_array_equal(before, value_of(variable))


def test_the_budget_ends_an_endless_iterable() -> None:
    def endless() -> Any:
        while True:
            yield BATCH

    capture = capture_function(FakeBackend(), print, endless(), Budget(steps=5))
    assert len(capture.history.steps) == 5
    assert capture.history.stopped == "budget"


def test_a_marked_step_is_captured_without_its_mark() -> None:
    backend = FakeBackend()

    def step(x: Any) -> Any:
        return x

    capture_function(backend, training_step(step), [BATCH], Budget())
    assert backend.functions == [step]


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        (BATCH, "a tuple of 2 arrays"),
        (BATCH[0], r"a single array of shape \(4, 2\)"),
        (tf.zeros((3, 2)), r"a single array of shape \(3, 2\)"),
        ({"x": 1}, "of type dict"),
        ("text", "of type str"),
        (3, "of type int"),
    ],
)
def test_what_is_no_iterable_of_batches(batches: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        capture_function(FakeBackend(), print, batches, Budget())
    assert "[(x, y)]" in caught.value.advice


def test_what_is_no_function() -> None:
    with pytest.raises(InputError, match="received 3 of type int"):
        capture_function(FakeBackend(), 3, [BATCH], Budget())  # type: ignore[arg-type]


def test_no_batch() -> None:
    with pytest.raises(TrainingError, match="ran no step"):
        capture_function(FakeBackend(), print, [], Budget())


def test_an_error_of_the_step() -> None:
    backend = FakeBackend([ValueError("shapes differ")])
    with pytest.raises(TrainingError, match="The step function raised ValueError: shapes differ"):
        ended(capture_function(backend, print, [BATCH], Budget()))


def test_arguments_by_name_are_put_in_their_place() -> None:
    def step(x: Any, y: Any = 2, z: Any = 3) -> None: ...

    assert batch_of_call(step, (1,), {"z": 5}) == (1, 2, 5)
    assert batch_of_call(step, (1,), {}) == (1,)


def test_keyword_only_arguments_are_refused() -> None:
    def step(x: Any, *, training: bool) -> None: ...

    with pytest.raises(TrainingError, match="keyword-only arguments: training"):
        batch_of_call(step, (1,), {"training": True})


def test_a_step_inside_another_compiled_function_is_refused() -> None:
    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def epoch(x: Any) -> Any:
        batch_of_call(print, (x,), {})
        return x

    with pytest.raises(TrainingError, match="inside another compiled function"):
        epoch(tf.ones(3))
