"""Captures a training step that the user wrote as a function, called here or in the user's loop."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import numpy as np

from floatline.backends.interface import Backend, Batch, LayerSource
from floatline.capture import configuration
from floatline.capture.capture import Budget, Capture
from floatline.capture.configuration import no_sources
from floatline.capture.loop_state import next_state, with_state
from floatline.capture.model import training_errors
from floatline.capture.recording import Recording
from floatline.errors import InputError, TrainingError
from floatline.marks import MarkedStep
from floatline.progress import Progress, silent
from floatline.records import SourceLine
from floatline.user_lines import user_line

_ONE_BATCH = (
    "Pass an iterable of batches: a list such as `[(x, y)]`, a generator, or a dataset that is "
    "already batched."
)


def capture_function(
    backend: Backend,
    function: Callable[..., Any],
    batches: Iterable[Batch],
    budget: Budget,
    progress: Progress = silent,
    *,
    state: Any = None,
    source: SourceLine | None = None,
    layer_source: LayerSource = no_sources,
) -> Capture:
    """Calls a step function on one batch after the other under the light watch, then undoes it.

    Args:
        backend: The framework that runs the function.
        function: One training step; a tuple fills its parameters, any other batch the first.
        batches: The batches, in order.
        budget: How long to watch.
        progress: Told of every step.
        state: The state that a pure step takes before its batch, and returns anew; None for a
            step that keeps its state in variables.
        source: The user's line that started training; default: the line that led here.
        layer_source: Finds the user's line that made a layer.

    Raises:
        InputError: `function` cannot be called, `batches` is no iterable of batches, or what the
            function returns holds no state like the one it was given.
        TrainingError: There is no batch, or the step itself raised.
    """
    step_function = unmarked(function)
    _check_batches(batches)
    known = configuration.known_objects(step_function)
    recording = Recording(
        backend,
        lambda: backend.function_step(step_function, layer_source),
        budget=budget,
        progress=progress,
        owners=known,
    )
    with recording, training_errors("The step function", recording):
        for batch in batches:
            if state is None:
                recording.advance(batch)
            else:
                given = with_state(step_function, state, batch)
                state = next_state(recording.advance(given), state)
    described = configuration.of_function(
        step_function, known, source=source or user_line(), layer_source=layer_source
    )
    return recording.capture(described)


def unmarked(function: Any) -> Callable[..., Any]:
    """The user's own function, without Floatline's mark."""
    if isinstance(function, MarkedStep):
        return unmarked(function.function)
    if not callable(function):
        raise InputError(
            f"Expected a step function, but received {function!r} of type "
            f"{type(function).__name__}.",
            "Pass the function that runs one training step on one batch.",
        )
    return function  # type: ignore[no-any-return]


def batch_of_call(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[Any, ...]:
    """The arguments of one call of a step function as one batch, by position.

    Raises:
        TrainingError: An argument cannot be passed by position, or is not there yet because the
            step is called inside another compiled function.
    """
    batch = args if not kwargs else _by_position(function, args, kwargs)
    if any(_is_symbolic(leaf) for leaf in keras.tree.flatten(batch)):
        raise TrainingError(
            f"The marked step {_name(function)} is called inside another compiled function, where "
            "its batch has no values yet.",
            "Put `@floatline.training_step` above the outermost compiled function that runs one "
            "step, or call the marked step from plain Python.",
        )
    return batch


def _by_position(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[Any, ...]:
    bound = inspect.signature(function).bind(*args, **kwargs)
    bound.apply_defaults()
    if bound.kwargs:
        names = ", ".join(bound.kwargs)
        raise TrainingError(
            f"The marked step {_name(function)} is called with keyword-only arguments: {names}.",
            "Let the step take its batch by position.",
        )
    return bound.args


def _is_symbolic(leaf: Any) -> bool:
    if isinstance(leaf, np.ndarray) or not keras.ops.is_tensor(leaf):
        return False
    try:
        np.asarray(leaf)
    except Exception:  # noqa: BLE001 - every framework has its own for a value not there yet
        return not (hasattr(leaf, "indices") or hasattr(leaf, "flat_values") or _is_key(leaf))
    return False


def _is_key(leaf: Any) -> bool:
    """Whether it is a key of JAX's random numbers, which has a value, but none for NumPy."""
    return str(getattr(leaf, "dtype", "")).startswith("key<")


def _check_batches(batches: Any) -> None:
    if _is_array(batches):
        raise InputError(
            f"`batches` is a single array of shape {tuple(batches.shape)}; its rows would be taken "
            "for batches.",
            _ONE_BATCH,
        )
    if isinstance(batches, tuple) and batches and all(map(_is_array, batches)):
        raise InputError(
            f"`batches` is a tuple of {len(batches)} arrays: a single batch, not an iterable of "
            "batches.",
            _ONE_BATCH,
        )
    if isinstance(batches, str | bytes | Mapping) or not isinstance(batches, Iterable):
        raise InputError(
            f"`batches` is of type {type(batches).__name__}, which is no iterable of batches.",
            _ONE_BATCH,
        )


def _is_array(thing: Any) -> bool:
    return isinstance(thing, np.ndarray) or bool(keras.ops.is_tensor(thing))


def _name(function: Any) -> str:
    return repr(getattr(function, "__name__", type(function).__name__))
