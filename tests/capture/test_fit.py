"""The law of capture: afterwards everything of the user's is as it was, bit for bit."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from floatline.backends.tensorflow import TensorFlowBackend
from floatline.capture.capture import Budget, Capture
from floatline.capture.model import capture_fit
from floatline.capture.state import value_of
from floatline.errors import FloatlineError, InputError, TrainingError
from tests.capture.fakes import FakeBackend, ended

X = np.random.default_rng(1).random((20, 6), dtype="float32")
Y = np.random.default_rng(2).integers(0, 3, (20,))


def layers() -> list[Any]:
    return [
        keras.layers.Dense(8, activation="relu"),
        keras.layers.BatchNormalization(),
        keras.layers.Dropout(0.5),
        keras.layers.Dense(3, activation="softmax"),
    ]


def functional() -> Any:
    inputs = outputs = keras.Input((6,))
    for layer in layers():
        outputs = layer(outputs)
    return keras.Model(inputs, outputs)


def unbuilt() -> Any:
    return keras.Sequential(layers())


class Subclassed(keras.Model):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.all = layers()

    def call(self, inputs: Any, training: bool = False) -> Any:
        for layer in self.all[:2]:
            inputs = layer(inputs)
        return self.all[3](self.all[2](inputs, training=training))


def compiled(make: Callable[[], Any], **options: Any) -> Any:
    keras.utils.set_random_seed(3)
    with policy("mixed_float16"):
        model = make()
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], **options)
    return model


@contextlib.contextmanager
def policy(name: str) -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def captured(model: Any, budget: Budget | None = None, **arguments: Any) -> Capture:
    arguments = {"x": X, "y": Y, "batch_size": 8, "epochs": 2, **arguments}
    return capture_fit(TensorFlowBackend(), model, arguments, budget or Budget())


def state(model: Any) -> dict[str, bytes]:
    variables = [*model.variables, *model.metrics_variables, *model.optimizer.variables]
    return {variable.path: value_of(variable).tobytes() for variable in variables}


@pytest.mark.parametrize("budget", [Budget(), Budget(steps=2)], ids=["to the end", "cut short"])
def test_every_variable_is_put_back(budget: Budget) -> None:
    model = compiled(functional)
    model.fit(X, Y, batch_size=8, verbose=0)
    before = state(model)
    captured(model, budget)
    assert state(model) == before


@pytest.mark.parametrize("make", [functional, unbuilt, Subclassed])
def test_the_users_next_training_is_as_if_nothing_had_been(make: Callable[[], Any]) -> None:
    plain = compiled(make)
    expected = plain.fit(X, Y, batch_size=8, epochs=2, verbose=0).history
    watched = compiled(make)
    captured(watched)
    assert watched.fit(X, Y, batch_size=8, epochs=2, verbose=0).history == expected
    # Names count up from model to model; the values must agree one by one.
    assert list(state(watched).values()) == list(state(plain).values())


def test_an_unbuilt_model_is_left_with_its_initial_weights() -> None:
    model = compiled(unbuilt)
    captured(model)
    assert int(model.optimizer.inner_optimizer.iterations) == 0
    assert not any(np.any(value_of(v)) for v in model.metrics_variables)


def test_every_generator_is_put_back() -> None:
    def drawn() -> tuple[Any, ...]:
        return (
            random.random(),
            np.random.random(),  # noqa: NPY002 - the global generator is what is tested
            float(keras.random.uniform(())),
        )

    class Drawing(keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            drawn()

    model = compiled(functional)
    keras.utils.set_random_seed(5)
    expected = drawn()
    keras.utils.set_random_seed(5)
    captured(model, callbacks=[Drawing()])
    assert drawn() == expected


def test_the_models_attributes_and_functions_are_put_back() -> None:
    model = compiled(functional)
    captured(model)
    assert not hasattr(model, "history")
    history = model.fit(X, Y, verbose=0)
    function = model.train_function
    captured(model, callbacks=[keras.callbacks.EarlyStopping("loss", baseline=0, patience=0)])
    assert model.history is history
    assert model.train_function is function
    assert model.stop_training is False


def test_the_users_callbacks_keep_their_state() -> None:
    class Counting(keras.callbacks.Callback):  # type: ignore[misc]
        calls = 0

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.calls += 1

    counting = Counting()
    capture = captured(compiled(functional), callbacks=[counting])
    assert counting.calls == 0
    assert "Counting" in capture.notes[0]


def test_callbacks_that_write_files_are_left_out(tmp_path: Path) -> None:
    logger = keras.callbacks.CSVLogger(str(tmp_path / "log.csv"))
    capture = captured(compiled(functional), callbacks=[logger])
    assert "CSVLogger" in capture.notes[0]
    assert not list(tmp_path.iterdir())


def test_what_is_captured() -> None:
    capture = captured(compiled(functional))
    assert len(capture.history.steps) == len(capture.batches) == 6
    assert capture.history.stopped == "end of training"
    assert [capture.moments[0].step, capture.moments[-1].step] == [0, 5]
    assert capture.configuration.entry == "fit"
    assert capture.configuration.epochs == 2
    assert capture.configuration.loss_scaling
    assert capture.configuration.source is not None
    assert capture.configuration.source.file == __file__


def test_the_users_handlers_do_not_stop_the_end_of_the_budget() -> None:
    class Stubborn(keras.Model):  # type: ignore[misc]
        def fit(self, *args: Any, **kwargs: Any) -> Any:
            try:
                return super().fit(*args, **kwargs)
            except Exception:  # noqa: BLE001 - what a careless user writes
                return None

    inputs = keras.Input((6,))
    model = compiled(lambda: Stubborn(inputs, keras.layers.Dense(3)(inputs)))
    assert captured(model, Budget(steps=2)).history.stopped == "budget"


def dataset() -> Any:
    return tf.data.Dataset.from_tensor_slices((X, Y)).batch(8)


def generator() -> Iterator[Any]:
    for _ in range(4):
        yield X[:8], Y[:8]


class Sequence(keras.utils.PyDataset):  # type: ignore[misc]
    def __init__(self, batches: int) -> None:
        super().__init__()
        self.batches = batches

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, index: int) -> Any:
        return X[:8], Y[:8], np.ones(8)


@pytest.mark.parametrize(
    ("make", "steps"), [(dataset, 3), (generator, 4), (lambda: Sequence(2), 2)]
)
def test_every_kind_of_data(make: Callable[[], Any], steps: int) -> None:
    arguments: dict[str, Any] = {"y": None, "batch_size": None, "epochs": 1, "shuffle": False}
    capture = captured(compiled(functional), x=make(), steps_per_epoch=steps, **arguments)
    assert len(capture.history.steps) == steps
    assert ("cannot be rewound" in "".join(capture.notes)) == (make is generator)


def test_sample_weights_class_weights_validation_and_several_steps_per_execution() -> None:
    model = compiled(functional, steps_per_execution=2)
    capture = captured(
        model, class_weight={0: 1.0, 1: 2.0, 2: 0.5}, validation_data=(X, Y), epochs=1
    )
    assert len(capture.history.steps) == 3


def failing(model: Any = None, **arguments: Any) -> FloatlineError:
    with pytest.raises(FloatlineError) as caught:
        ended(captured(compiled(functional) if model is None else model, **arguments))
    return caught.value


def test_labels_out_of_range() -> None:
    model = compiled(functional)
    before = state(model)
    error = failing(model, y=Y + 12)
    assert isinstance(error, TrainingError)
    assert "outside the valid range of [0, 3)" in error.message
    assert "Labels count from 0" in error.advice
    assert before.items() <= state(model).items()


def test_data_of_another_shape() -> None:
    error = failing(x=X[:, :4])
    assert "incompatible" in error.message
    assert "\n" not in error.message


class Clashing(keras.Model):  # type: ignore[misc]
    """Sound in float32; in mixed precision its loss takes a difference of two dtypes."""

    def __init__(self) -> None:
        super().__init__()
        self.head = keras.layers.Dense(1)

    def call(self, inputs: Any) -> Any:
        return self.head(inputs)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, *rest: Any, **named: Any
    ) -> Any:
        return tf.reduce_mean(y_pred - tf.ones((), "float32"))


def test_a_step_that_cannot_be_built_tells_its_own_error_and_its_line() -> None:
    error = failing(compiled(Clashing))
    line = next(
        number
        for number, text in enumerate(Path(__file__).read_text().splitlines(), 1)
        if "y_pred - tf.ones" in text
    )
    assert f"(at {__file__}:{line})" in error.message
    assert "float32 that does not match type float16" in error.message
    assert "Cast one of them" in error.advice


def test_a_generator_that_raises() -> None:
    def broken() -> Iterator[Any]:
        yield X[:8], Y[:8]
        raise RuntimeError("the disk is gone")

    assert "the disk is gone" in failing(x=broken(), y=None, batch_size=None, shuffle=False).message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x": X[:0], "y": Y[:0]}, r"`x` is empty (shape (0, 6))"),
        ({"x": None, "y": None}, "`x` is missing"),
        ({"x": [], "y": []}, "`x` is empty"),
        ({"x": Sequence(0), "y": None}, "`x` is empty"),
        ({"epochs": 0}, "asked for 0 epochs"),
    ],
)
def test_no_data(arguments: dict[str, Any], message: str) -> None:
    error = failing(**arguments)
    assert isinstance(error, TrainingError)
    assert message in error.message


def test_a_dataset_without_a_length() -> None:
    class Lengthless(Sequence):
        def __len__(self) -> int:
            raise NotImplementedError("no length")

    assert "NotImplementedError: no length" in failing(x=Lengthless(1), y=None).message


def test_a_training_without_steps() -> None:
    class Lazy(keras.Model):  # type: ignore[misc]
        def fit(self, *args: Any, **kwargs: Any) -> Any:
            return None

    inputs = keras.Input((6,))
    model = compiled(lambda: Lazy(inputs, keras.layers.Dense(3)(inputs)))
    assert "ran no step" in failing(model).message


def test_a_model_that_was_never_compiled() -> None:
    error = failing(functional())
    assert "never compiled" in error.message
    assert "model.compile(" in error.advice


def test_something_that_is_no_model() -> None:
    error = failing("model")
    assert isinstance(error, InputError)
    assert "builtins.str" in error.message


def test_an_interrupt_is_passed_on_with_everything_put_back() -> None:
    model = compiled(functional)
    with pytest.raises(KeyboardInterrupt):
        capture_fit(FakeBackend([KeyboardInterrupt()]), model, {"x": X, "y": Y}, Budget())
    assert model.train_function is None
    assert not hasattr(model, "history")
