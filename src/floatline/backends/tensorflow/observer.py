"""Watches TensorFlow build a training step: which layer, gradient and optimizer made each op.

TensorFlow's graph keeps an op's name and Python stack, but not the layer object that ran, the
forward op that a gradient op belongs to, or the value that a literal had before it was rounded to
float16. While an `Observer` is active those are recorded at the moment of creation; everything it
replaces in TensorFlow and Keras is put back on exit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python import pywrap_tfe
from tensorflow.python.eager import backprop, record
from tensorflow.python.framework import ops as tf_ops

from floatline.patches import definers, replaced
from floatline.records import Phase

Operation = Any
"""A `tf.Operation`; TensorFlow ships no types."""


@dataclass(frozen=True, slots=True)
class Context:
    """The circumstances under which one graph operation was created.

    Attributes:
        phase: Forward, backward or update.
        layers: The layers that were running, outermost first.
        forward: For a gradient operation, the operation it differentiates, when known.
    """

    phase: Phase
    layers: tuple[keras.Layer, ...]
    forward: Operation | None = None


@dataclass(slots=True)
class Observed:
    """What an `Observer` saw of one run of the step function.

    Attributes:
        contexts: The circumstances of every operation created.
        literals: What a float16 or bfloat16 `Const` was before it was rounded.
        losses: What was differentiated with respect to variables, before loss scaling if any.
        gradients: `(gradient, variable)` as handed to the outermost optimizers.
        taped: `(gradient, variable)` as the tapes returned them, for steps without optimizer.
        optimizers: The outermost optimizers that were applied.
    """

    contexts: dict[Operation, Context] = field(default_factory=dict)
    literals: dict[Operation, np.ndarray] = field(default_factory=dict)
    losses: list[Any] = field(default_factory=list)
    unscaled: list[Any] = field(default_factory=list)
    gradients: list[tuple[Any, Any]] = field(default_factory=list)
    taped: list[tuple[Any, Any]] = field(default_factory=list)
    optimizers: list[Any] = field(default_factory=list)

    @property
    def handed_over(self) -> list[tuple[Any, Any]]:
        """The gradients that move the weights, with their variables."""
        return self.gradients or self.taped


class Observer:
    """Records into an `Observed` while active.

    Args:
        seed: What the backward passes of the step start at.

    Example:

    >>> with Observer() as observed:
    ...     graph = tf.function(lambda: tf.constant(1e-8, tf.float16)).get_concrete_function().graph
    >>> float(observed.literals[graph.get_operations()[0]])
    1e-08
    """

    def __init__(self, seed: float = 1.0) -> None:
        self._seed = seed
        self._stack = contextlib.ExitStack()
        self._layers: list[keras.Layer] = []
        self._forward: list[Operation | None] = []
        self._differentiating = 0
        self._applying = 0
        self._scaling = 0
        self._observed = Observed()
        self._forward_index: dict[tuple[str, str], Operation] = {}

    def __enter__(self) -> Observed:
        enter = self._stack.enter_context
        enter(replaced(tf_ops.Graph, "_create_op_internal", self._creating))
        enter(replaced(tf_ops, "_create_graph_constant", self._making_constant))
        enter(replaced(keras.Layer, "__call__", self._calling_layer))
        enter(replaced(tf.GradientTape, "gradient", self._taking_gradient))
        enter(replaced(record, "record_operation", self._recording))
        for owner in definers(keras.optimizers.Optimizer, "apply"):
            enter(replaced(owner, "apply", self._applying_gradients))
        for owner in definers(keras.optimizers.LossScaleOptimizer, "scale_loss"):
            enter(replaced(owner, "scale_loss", self._scaling_loss))
        enter(_gradient_function(self._differentiating_op))
        return self._observed

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def _phase(self) -> Phase:
        if self._applying:
            return "update"
        return "backward" if self._differentiating else "forward"

    def _creating(self, original: Any) -> Any:
        def create(graph: Any, *args: Any, **kwargs: Any) -> Operation:
            operation = original(graph, *args, **kwargs)
            forward = _differentiated_inside(graph)
            if forward is None:
                forward = self._forward[-1] if self._forward else operation._original_op  # noqa: SLF001 (TensorFlow keeps it nowhere else)
            context = Context(self._phase(), tuple(self._layers), forward)
            self._observed.contexts[operation] = context
            if context.phase == "forward":
                for name in (operation.name, _scope(operation.name)):
                    self._forward_index.setdefault((operation.type, name), operation)
            return operation

        return create

    def _making_constant(self, original: Any) -> Any:
        def make(value: Any, dtype: Any, *args: Any, **kwargs: Any) -> Any:
            tensor = original(value, dtype, *args, **kwargs)
            if tensor.dtype in (tf.float16, tf.bfloat16) and not tf.is_tensor(value):
                self._observed.literals[tensor.op] = np.asarray(value).astype(np.float64)
            return tensor

        return make

    def _calling_layer(self, original: Any) -> Any:
        def call(layer: keras.Layer, *args: Any, **kwargs: Any) -> Any:
            self._layers.append(layer)
            try:
                return original(layer, *args, **kwargs)
            finally:
                self._layers.pop()

        return call

    def _taking_gradient(self, original: Any) -> Any:
        def gradient(tape: Any, target: Any, sources: Any, *args: Any, **kwargs: Any) -> Any:
            trains = any(map(_is_variable, _flatten(sources))) and not self._differentiating
            self._differentiating += 1
            try:
                if self._seed != 1.0 and trains and _ends_with(tape):
                    args, kwargs = self._seeded(target, *args, **kwargs)
                result = original(tape, target, sources, *args, **kwargs)
            finally:
                self._differentiating -= 1
            self._note_gradient(target, sources, result)
            return result

        return gradient

    def _seeded(self, target: Any, given: Any = None, *args: Any, **kwargs: Any) -> Any:
        """The arguments of a tape's `gradient`, with what it starts from times the seed."""
        given = kwargs.pop("output_gradients", given)
        ones = given if given is not None else tf.nest.map_structure(tf.ones_like, target)
        start = tf.nest.map_structure(lambda one: one * tf.cast(self._seed, one.dtype), ones)
        return (start, *args), kwargs

    def _note_gradient(self, target: Any, sources: Any, result: Any) -> None:
        pairs = [
            (gradient, variable)
            for gradient, variable in zip(_flatten(result), _flatten(sources), strict=False)
            if _is_variable(variable)
        ]
        if pairs:
            self._observed.losses.extend(_flatten(target))
            self._observed.taped.extend(pair for pair in pairs if pair[0] is not None)

    def _applying_gradients(self, original: Any) -> Any:
        def apply(optimizer: Any, grads: Any, trainable_variables: Any = None) -> Any:
            if not self._applying:
                variables = trainable_variables
                if variables is None:
                    variables = optimizer._trainable_variables  # noqa: SLF001 (Keras' own default for the argument)
                pairs = zip(list(grads), list(variables), strict=False)
                self._observed.gradients.extend(pair for pair in pairs if pair[0] is not None)
                if optimizer not in self._observed.optimizers:
                    self._observed.optimizers.append(optimizer)
            self._applying += 1
            try:
                return original(optimizer, grads, trainable_variables)
            finally:
                self._applying -= 1

        return apply

    def _scaling_loss(self, original: Any) -> Any:
        def scale_loss(optimizer: Any, loss: Any, *args: Any, **kwargs: Any) -> Any:
            if not self._scaling:  # A subclass may call its parent's.
                self._observed.unscaled.append(loss)
            self._scaling += 1
            try:
                return original(optimizer, loss, *args, **kwargs)
            finally:
                self._scaling -= 1

        return scale_loss

    def _recording(self, original: Any) -> Any:
        """A gradient written by the user, or that of a function, is called by the tape itself."""

        def record_operation(
            op_type: str,
            output_tensors: Any,
            input_tensors: Any,
            backward_function: Any,
            forward_function: Any = None,
        ) -> Any:
            forward = next((t.op for t in output_tensors if _in_graph(t)), None)

            def differentiate(*upstream: Any) -> Any:
                self._forward.append(forward)
                try:
                    return backward_function(*upstream)
                finally:
                    self._forward.pop()

            return original(op_type, output_tensors, input_tensors, differentiate, forward_function)

        return record_operation

    def _differentiating_op(
        self, op_name: str, attrs: Any, count: Any, inputs: Any, outputs: Any, *rest: Any
    ) -> Any:
        scope = rest[-1]
        self._forward.append(self._forward_operation(op_name, inputs, outputs, scope))
        try:
            return backprop._gradient_function(  # noqa: SLF001 (the function that this one stands in for)
                op_name, attrs, count, inputs, outputs, *rest
            )
        finally:
            self._forward.pop()

    def _forward_operation(
        self, op_name: str, inputs: Any, outputs: Any, scope: str
    ) -> Operation | None:
        """The op being differentiated; the tape drops tensors that its gradient does not need."""
        for tensor in outputs or ():
            if _in_graph(tensor) and tensor.op.type == op_name:
                return tensor.op
        for tensor in inputs or ():
            for consumer in _consumers(tensor):
                if consumer.type == op_name and _scope(consumer.name) == scope:
                    return consumer
        return self._forward_index.get((op_name, scope))


def _ends_with(tape: Any) -> bool:
    """Whether no other tape records, so that what this one gives is not differentiated again."""
    return bool(tape._recording or pywrap_tfe.TFE_Py_TapeSetIsEmpty())  # noqa: SLF001 (TensorFlow keeps it nowhere else)


def _differentiated_inside(graph: Any) -> Operation | None:
    """The op being differentiated in a loop or branch, of which the tape sees only the whole."""
    while graph is not None:
        forward = getattr(graph, "_forward_graph", None)
        if forward is not None and forward._default_original_op is not None:  # noqa: SLF001 (TensorFlow keeps it nowhere else)
            return forward._default_original_op  # noqa: SLF001
        graph = getattr(graph, "outer_graph", None)
    return None


def _in_graph(tensor: Any) -> bool:
    return getattr(tensor, "graph", None) is not None and not isinstance(tensor, tf_ops.EagerTensor)


def _consumers(tensor: Any) -> Sequence[Operation]:
    if not _in_graph(tensor):
        return ()
    consumers: Sequence[Operation] = tensor.consumers()
    return consumers


def _scope(name: str) -> str:
    return name.rpartition("/")[0]


def _flatten(nest: Any) -> list[Any]:
    # IndexedSlices stay whole: they are one gradient.
    return list(tf.nest.flatten(nest, expand_composites=False))


def _is_variable(value: Any) -> bool:
    return isinstance(value, (tf.Variable, keras.Variable))


@contextlib.contextmanager
def _gradient_function(function: Any) -> Iterator[None]:
    pywrap_tfe.TFE_Py_RegisterGradientFunction(function)
    try:
        yield
    finally:
        pywrap_tfe.TFE_Py_RegisterGradientFunction(backprop._gradient_function)  # noqa: SLF001 (what TensorFlow registers at import)
