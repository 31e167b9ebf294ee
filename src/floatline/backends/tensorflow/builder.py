"""Builds the user's step into graphs, watched by an observer, and remembers what was seen."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from floatline.backends.interface import Batch, LayerSource
from floatline.backends.policies import in_float32
from floatline.backends.tensorflow.lanes import Tensor, upcast
from floatline.backends.tensorflow.observer import Observed, Observer
from floatline.backends.tensorflow.optimizers import raw
from floatline.backends.tensorflow.program import StepGraph, finite_flags, variable_path
from floatline.backends.tensorflow.recurrence import has_closed_recurrence, open_recurrence
from floatline.errors import TraceError


class Builder:
    """The user's step as a TensorFlow function, and as graphs that can be run again.

    Args:
        call: The step as a function of one batch.
        owner: The model that is trained, or None for a step function.
        eager: The step runs without being compiled, so arrays meet its tensors as arrays.
        jit_compile: Compile the function with XLA.
        layer_source: Where a layer was made by the user's code.
        around: Entered while a graph is built.
        seed: What backward passes start at.
        any_rows: One graph may serve batches of different size.
    """

    def __init__(
        self,
        call: Callable[[Batch], Any],
        *,
        owner: keras.Model | None,
        eager: bool,
        jit_compile: bool,
        layer_source: LayerSource,
        around: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
        seed: float = 1.0,
        any_rows: bool = True,
    ) -> None:
        self._any_rows = any_rows
        self._seed = seed
        self._call = call
        self._owner = owner
        self._eager = eager
        self._layer_source = layer_source
        self._around = around
        self._steps: dict[Any, StepGraph] = {}
        self.observations: dict[Any, Observed] = {}
        """What was seen of each graph that the step was built into."""
        self.latest: Observed | None = None
        """What was seen of the step when it last ran as Python."""
        self._jit_compile = jit_compile
        self._whole = True
        self._held: dict[Any, Any] = {}
        self.function = self._compiled()

    def _compiled(self) -> Any:
        return tf.function(
            self.observed_call,
            autograph=False,
            reduce_retracing=self._any_rows,
            jit_compile=self._jit_compile,
        )

    def observed_call(self, batch: Batch) -> tuple[Any, list[Tensor], Tensor]:
        """Runs the step; adds its losses and whether each gradient is finite to what it returns."""
        with Observer(self._seed) as observed:
            returned = self._call(batch)
        self.latest = observed
        graph = None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
        if graph is not None:
            self.observations[graph] = observed
        losses = _visible(observed.unscaled, graph) or _visible(observed.losses, graph)
        gradients = _visible([gradient for gradient, _ in observed.handed_over], graph)
        scalars = [tf.reduce_mean(tf.cast(upcast(loss), tf.float32)) for loss in losses]
        return returned, scalars, finite_flags(gradients)

    def tensors(self, batch: Batch) -> Batch:
        """The batch as the tensors that a graph of the step takes."""
        return as_tensors(tf.nest.map_structure(_single, batch) if self._eager else batch)

    def concrete(self, batch: Batch) -> Any:
        """The concrete function for a batch.

        A step that is not compiled may count and index with what is no tensor in its batch. Where
        no graph can be built of it otherwise, there is one for each of its batches.
        """
        if not self._whole:
            return self._concrete_holding(batch)
        try:
            return self._concrete(batch)
        except Exception:
            # Once its first build has failed, a tf.function raises something else each time.
            self.function = self._compiled()
            if not (self._eager and _others(batch)):
                raise
            try:
                concrete = self._concrete_holding(batch)
            except Exception:  # noqa: BLE001 (the first error says what is wrong)
                concrete = None
            if concrete is None:
                raise
        self._whole = False
        return concrete

    def _concrete(self, batch: Batch) -> Any:
        with self._around():
            return self.function.get_concrete_function(self.tensors(batch))

    def _concrete_holding(self, batch: Batch) -> Any:
        """The concrete function in which all that is no tensor stays what it is."""
        key = tuple(_content(other) for other in _others(batch))
        if key not in self._held:

            def call(tensors: list[Tensor]) -> Any:
                given = iter(tensors)
                whole = [
                    next(given) if tf.is_tensor(leaf) else leaf for leaf in tf.nest.flatten(batch)
                ]
                return self.observed_call(as_given(tf.nest.pack_sequence_as(batch, whole)))

            with self._around():
                function = tf.function(call, autograph=False)
                concrete = function.get_concrete_function(_tensors(batch))
            self._held[key] = function, concrete  # The function owns what the graph captures.
        return self._held[key][1]

    def _leaves(self, batch: Batch) -> list[Tensor]:
        """The tensors that the concrete function of a batch takes, in its order."""
        given = self.tensors(batch) if self._whole else _tensors(batch)
        leaves = tf.nest.flatten(given, expand_composites=True)
        return [leaf for leaf in leaves if tf.is_tensor(leaf)]

    def graph_for(self, batch: Batch) -> tuple[StepGraph, list[Tensor]]:
        """The step's graph for a batch, and the batch's tensors in the graph's order.

        Raises:
            TraceError: The step does something that only Python can do.
        """
        try:
            concrete = self.concrete(batch)
        except Exception as error:
            raise TraceError(
                f"The training step cannot be turned into a graph: {_first_line(error)}",
                "Take Python side effects such as .numpy() or float(...) out of the step; "
                "`tf.function` must be able to compile it.",
            ) from error
        if concrete not in self._steps:
            self._steps[concrete] = self._step_graph(concrete)
        return self._steps[concrete], self._leaves(batch)

    def _step_graph(self, concrete: Any) -> StepGraph:
        captured = tuple(concrete.graph.variables)
        names = {id(raw(variable)): variable_path(variable) for variable in self._named()}
        return StepGraph(
            concrete=concrete,
            observed=self.observations[concrete.graph],
            variables=captured,
            paths=tuple(names.get(id(v), variable_path(v)) for v in captured),
            root=self._owner,
            layer_source=self._layer_source,
        )

    def _named(self) -> list[Any]:
        """Everything known under the name that Keras gives it."""
        named = list(self._owner.variables) if self._owner is not None else []
        for observed in self.observations.values():
            named += [variable for _, variable in observed.handed_over]
            named += [v for optimizer in observed.optimizers for v in optimizer.variables]
        return named

    def layers(self) -> list[keras.Layer]:
        """Every layer that took part in the step."""
        layers: dict[int, keras.Layer] = {}
        for observed in self.observations.values():
            for context in observed.contexts.values():
                layers.update({id(layer): layer for layer in context.layers})
        return list(layers.values())

    def rebuilt_in_float32(self) -> Builder:
        """A builder of the same step with every layer computing in float32."""
        layers = self.layers()
        return self._rebuilt(lambda: in_float32(layers))

    def opened(self, batch: Batch) -> Builder:
        """A builder whose graph for a batch can be looked into: this one, or one without cuDNN."""
        with contextlib.suppress(Exception):  # Reported when the graph is asked for.
            if has_closed_recurrence(self.concrete(batch).graph):
                return self._rebuilt(open_recurrence)
        return self

    def _rebuilt(self, around: Callable[[], AbstractContextManager[None]]) -> Builder:
        return Builder(
            self._call,
            owner=self._owner,
            eager=self._eager,
            jit_compile=False,
            layer_source=self._layer_source,
            around=around,
            seed=self._seed,
            any_rows=self._any_rows,
        )


def as_tensors(batch: Batch) -> Batch:
    """The batch with every array made a tensor and every empty Optional made None."""
    return tf.nest.map_structure(_as_tensor, batch)


def as_given(batch: Batch) -> Batch:
    """The batch as a step that is not compiled takes it: only an empty Optional is made None."""
    return tf.nest.map_structure(
        lambda leaf: None if isinstance(leaf, tf.experimental.Optional) else leaf, batch
    )


def _tensors(batch: Batch) -> list[Tensor]:
    return [leaf for leaf in tf.nest.flatten(batch) if tf.is_tensor(leaf)]


def _others(batch: Batch) -> list[Any]:
    return [leaf for leaf in tf.nest.flatten(batch) if not tf.is_tensor(leaf)]


def _content(leaf: Any) -> Any:
    """What tells one value that is no tensor from another."""
    if isinstance(leaf, np.ndarray):
        return leaf.dtype.str, leaf.shape, leaf.tobytes()
    return type(leaf), leaf


def _single(leaf: Any) -> Any:
    """What TensorFlow makes of NumPy's float64 where that meets float32, as a tensor does not."""
    doubles = isinstance(leaf, np.ndarray | np.generic) and leaf.dtype == np.float64
    return leaf.astype(keras.config.floatx()) if doubles else leaf


def _as_tensor(leaf: Any) -> Any:
    if leaf is None or isinstance(leaf, tf.experimental.Optional):
        return None
    if tf.is_tensor(leaf) or isinstance(leaf, (str, bytes, bool)):
        return leaf
    return tf.convert_to_tensor(leaf)


def _visible(tensors: Sequence[Any], graph: Any) -> list[Tensor]:
    """Tensors that the graph under construction may use; in eager mode all of them."""
    dense = [t.values if isinstance(t, tf.IndexedSlices) else t for t in tensors]
    dense = [t for t in dense if tf.is_tensor(t)]
    return [t for t in dense if graph is None or getattr(t, "graph", None) is graph]


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    # AutoGraph lists the user's lines first and says at the end what is wrong.
    return lines[-1] if lines[0].endswith("in user code:") else lines[0]
