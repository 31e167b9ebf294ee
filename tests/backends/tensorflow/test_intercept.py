"""`fit` and `train_on_batch` hand over every batch, and are the model's own again afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from floatline.backends.tensorflow import TensorFlowBackend
from tests.backends.tensorflow.examined import everything
from tests.contract.samples import policy

X = np.arange(20, dtype="float32").reshape(10, 2)
Y = X[:, :1]
ROWS = [4, 4, 2]
"""Rows of each batch when ten are taken four at a time."""


def compiled(**options: Any) -> keras.Model:
    with policy("float32"):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", **options)
    return model


def generator() -> Iterator[Any]:
    for start in range(0, 10, 4):
        yield X[start : start + 4], Y[start : start + 4]


class Sequence(keras.utils.PyDataset):  # type: ignore[misc]
    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Any:
        return X[index * 4 : index * 4 + 4], Y[index * 4 : index * 4 + 4]


FEEDS: dict[str, Callable[[], dict[str, Any]]] = {
    "arrays": lambda: {"x": X, "y": Y, "batch_size": 4},
    "dataset": lambda: {"x": tf.data.Dataset.from_tensor_slices((X, Y)).batch(4)},
    "generator": lambda: {"x": generator(), "steps_per_epoch": 3},
    "PyDataset": lambda: {"x": Sequence()},
}


def seen(model: keras.Model, **arguments: Any) -> list[Any]:
    """The batches that `fit` hands over."""
    batches: list[Any] = []

    def advance(batch: Any) -> Any:
        batches.append(batch)
        return {"loss": float(len(batches))}

    with TensorFlowBackend().intercept(model, advance):
        model.fit(**arguments, shuffle=False, verbose=0)
    return batches


@pytest.mark.parametrize("feed", FEEDS)
@pytest.mark.parametrize("steps_per_execution", [1, 3, 2])
def test_every_batch_once_and_in_order(feed: str, steps_per_execution: int) -> None:
    model = compiled(steps_per_execution=steps_per_execution)
    before = everything(model)
    batches = seen(model, **FEEDS[feed]())
    assert [batch[0].shape[0] for batch in batches] == ROWS
    np.testing.assert_array_equal(np.concatenate([batch[0] for batch in batches]), X)
    np.testing.assert_array_equal(np.concatenate([batch[1] for batch in batches]), Y)
    assert everything(model) == before


def test_epochs_are_keras_own() -> None:
    batches = seen(compiled(), x=X, y=Y, batch_size=5, epochs=3)
    assert len(batches) == 6


def test_weights_come_with_the_batch() -> None:
    batches = seen(compiled(), x=X, y=Y, sample_weight=np.arange(10.0), batch_size=10)
    np.testing.assert_array_equal(batches[0][2], np.arange(10.0))


class Keep(keras.callbacks.Callback):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.logs: list[Any] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.logs.append(dict(logs))


def test_callbacks_are_given_what_was_returned_as_the_logs() -> None:
    model, keep = compiled(), Keep()
    with TensorFlowBackend().intercept(model, lambda batch: {"loss": float(len(batch[0]))}):
        model.fit(X, Y, batch_size=4, callbacks=[keep], verbose=0)
    assert keep.logs == [{"loss": float(rows)} for rows in ROWS]


def test_a_single_batch_is_handed_over() -> None:
    batches: list[Any] = []

    def advance(batch: Any) -> Any:
        batches.append(batch)
        return {"loss": 7.0}

    model = compiled()
    with TensorFlowBackend().intercept(model, advance):
        assert model.train_on_batch(X, Y, return_dict=True) == {"loss": 7.0}
    assert [batch[0].shape for batch in batches] == [(10, 2)]


@pytest.mark.parametrize("trained", [False, True])
def test_the_models_own_functions_are_back(trained: bool) -> None:
    model = compiled()
    model.fit(X, Y, epochs=int(trained), verbose=0)
    function, own = model.train_function, set(vars(model))
    with (
        pytest.raises(RuntimeError, match="no further"),
        TensorFlowBackend().intercept(model, lambda batch: stop()),
    ):
        model.fit(X, Y, verbose=0)
    assert model.train_function is function
    assert set(vars(model)) == own
    before = everything(model)
    model.fit(X, Y, verbose=0)
    assert everything(model) != before


def test_compiling_anew_does_not_take_the_batches_away() -> None:
    model = compiled()
    with TensorFlowBackend().intercept(model, lambda batch: stop()):
        model.make_train_function(force=True)
        with pytest.raises(RuntimeError, match="no further"):
            model.fit(X, Y, verbose=0)


def stop() -> Any:
    raise RuntimeError("no further")


def test_an_error_of_the_data_reaches_the_user() -> None:
    def broken() -> Iterator[Any]:
        yield X[:4], Y[:4]
        raise ValueError("bad row")

    with pytest.raises(Exception, match="bad row"):
        seen(compiled(), x=broken())
