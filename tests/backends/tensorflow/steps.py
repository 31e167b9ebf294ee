"""Traces small steps that are functions, and picks sites from what was traced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from floatline.backends.tensorflow import TensorFlowBackend
from floatline.backends.tensorflow.step import TensorFlowStep
from floatline.records import Site, Trace

Function = Callable[..., Any]


def step_of(function: Function, *, compiled: bool = True) -> TensorFlowStep:
    """A step function as the backend sees it."""
    written = tf.function(function) if compiled else function
    return TensorFlowBackend().function_step(written, lambda layer: None)


def trace(function: Function, *batch: Any, compiled: bool = True) -> Trace:
    """The trace of one call of a step function."""
    step = step_of(function, compiled=compiled)
    step.prepare(batch)
    return step.trace(step.snapshot(), batch)


def forward(compute: Function, *inputs: Any, dtype: str = "float16") -> Trace:
    """The trace of `compute` on inputs cast to `dtype`; its result is kept in a variable."""
    kept = tf.Variable(0.0, name="kept")

    def step(*batch: Any) -> None:
        result = compute(*(tf.cast(tensor, dtype) for tensor in batch))
        kept.assign(tf.reduce_sum(tf.cast(result, tf.float32)))

    return trace(step, *(np.asarray(value, "float32") for value in inputs))


def sites(traced: Trace, operation: str) -> list[Site]:
    """The sites of an operation type."""
    return [site for site in traced.sites if site.place.operation == operation]


def only(traced: Trace, operation: str) -> Site:
    """The one site of an operation type."""
    (site,) = sites(traced, operation)
    return site


def by_variable(step: TensorFlowStep, state: Any, batch: Any) -> dict[str, np.ndarray]:
    """What the traced step gives each variable."""
    return {path: value.numpy() for path, value in step.traced_state(state, batch).items()}
