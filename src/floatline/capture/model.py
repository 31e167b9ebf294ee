"""Captures the `fit` of a Keras model: the user's own training, watched and then undone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras

from floatline.backends.interface import Backend, LayerSource
from floatline.capture import configuration
from floatline.capture.callbacks import select
from floatline.capture.capture import Budget, Capture
from floatline.capture.configuration import no_sources
from floatline.capture.failures import training_error
from floatline.capture.recording import Recording
from floatline.capture.state import preserve_callbacks
from floatline.capture.watch import BudgetSpent
from floatline.errors import FloatlineError, InputError, TrainingError
from floatline.progress import Progress, silent
from floatline.records import SourceLine
from floatline.user_lines import user_line


def capture_fit(
    backend: Backend,
    model: Any,
    fit_arguments: Mapping[str, Any],
    budget: Budget,
    progress: Progress = silent,
    *,
    fit: Callable[..., Any] | None = None,
    source: SourceLine | None = None,
    layer_source: LayerSource = no_sources,
) -> Capture:
    """Runs `fit` under the light watch until the budget is spent, then puts everything back.

    Args:
        backend: The framework that runs the model.
        model: A compiled Keras model.
        fit_arguments: What `fit` is called with, by name.
        budget: How long to watch.
        progress: Told of every step.
        fit: What to call instead of the model's own `fit`.
        source: The user's line that started training; default: the line that led here.
        layer_source: Finds the user's line that made a layer.

    Raises:
        InputError: `model` is no Keras model.
        TrainingError: The model is not compiled, the data is empty, or training itself raised.
    """
    check_model(model)
    with training_errors():  # A dataset of the user's may raise when asked for its length.
        _check_data(fit_arguments)
    callbacks, notes = select(fit_arguments.get("callbacks"))
    arguments = {**fit_arguments, "callbacks": callbacks, "verbose": 0}
    recording = Recording(
        backend,
        lambda: backend.keras_step(model, layer_source),
        budget=budget,
        progress=progress,
        model=model,
    )
    with preserve_callbacks(callbacks), recording, training_errors(recording=recording):
        (fit or model.fit)(**arguments)
    described = configuration.of_model(
        model,
        entry="fit",
        source=source or user_line(),
        layer_source=layer_source,
        epochs=_epochs(fit_arguments),
    )
    return recording.capture(described, (*notes, *_data_notes(fit_arguments, recording.steps)))


@contextlib.contextmanager
def training_errors(doing: str = "Training", recording: Recording | None = None) -> Iterator[None]:
    """Turns what the user's training raises into a TrainingError; lets the end of budget pass.

    What a recorded step raised ends the training as well, and is kept with the recording.
    """
    try:
        yield
    except BudgetSpent:
        pass
    except FloatlineError:
        raise
    except Exception as error:
        failure = training_error(error, doing)
        if recording is None or not recording.takes(failure):
            raise failure from error


def check_model(model: Any) -> None:
    """Raises unless `model` is a compiled Keras model."""
    if not isinstance(model, keras.Model):
        kind = f"{type(model).__module__}.{type(model).__qualname__}"
        raise InputError(
            f"Expected a Keras 3 model (keras.Model), but received an object of type {kind}.",
            "Pass the model that you call `fit` on.",
        )
    if not model.compiled:
        raise TrainingError(
            f"The model {model.name!r} was never compiled, so it has no loss and no optimizer.",
            'Call `model.compile(optimizer="adam", loss=...)` before training.',
        )


def _check_data(fit_arguments: Mapping[str, Any]) -> None:
    x = fit_arguments.get("x")
    if x is None:
        raise TrainingError(
            "`fit` received no data: `x` is missing.",
            "Pass arrays, a dataset, a generator or a keras.utils.PyDataset as `x`.",
        )
    if _is_empty(x):
        raise TrainingError(
            f"`fit` received no data: `x` is empty{_shape_text(x)}.",
            "Pass at least one batch of data.",
        )
    epochs = _epochs(fit_arguments)
    if epochs is not None and epochs < 1:
        raise TrainingError(
            f"`fit` was asked for {epochs} epochs, so nothing is trained.",
            "Pass `epochs=1` or more.",
        )


def _is_empty(x: Any) -> bool:
    leaves = keras.tree.flatten(x) if isinstance(x, list | tuple | dict) else [x]
    if not leaves:
        return True
    if isinstance(x, keras.utils.PyDataset):
        return bool(x.num_batches == 0)
    return any(_rows(leaf) == 0 for leaf in leaves)


def _rows(leaf: Any) -> int | None:
    shape = getattr(leaf, "shape", None)
    if shape is None or callable(shape) or len(shape) == 0 or shape[0] is None:
        return None
    return int(shape[0])


def _shape_text(x: Any) -> str:
    shape = getattr(x, "shape", None)
    return "" if shape is None else f" (shape {tuple(shape)})"


def _epochs(fit_arguments: Mapping[str, Any]) -> int | None:
    epochs = fit_arguments.get("epochs", 1)
    return epochs if isinstance(epochs, int) else None


def _data_notes(fit_arguments: Mapping[str, Any], steps: int) -> tuple[str, ...]:
    if not isinstance(fit_arguments.get("x"), Iterator):
        return ()
    return (
        (
            "The generator given as `x` cannot be rewound: the watched training read the data of "
            f"{steps} steps from it. Make a new one before you train."
        ),
    )
