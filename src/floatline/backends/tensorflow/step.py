"""A user's training step on TensorFlow: run as it is, snapshot, traced, or trained in float32."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from floatline.backends.interface import Batch, LayerSource, Outcome, State
from floatline.backends.tensorflow.lanes import LOW, Tensor, raised, upcast
from floatline.backends.tensorflow.observer import Observed, Observer
from floatline.backends.tensorflow.program import (
    Float32Program,
    StepGraph,
    TracedProgram,
    finite_flags,
    variable_path,
)
from floatline.errors import TraceError
from floatline.records import Trace


class TensorFlowStep:
    """One training step of the user's.

    Args:
        call: The step as a function of one batch.
        owner: The model that is trained, or None for a step function.
        eager: Run the step without compiling it, as the user asked.
        jit_compile: Compile it with XLA, as the user asked.
        layer_source: Where a layer was made by the user's code.
    """

    def __init__(
        self,
        call: Callable[[Batch], Any],
        *,
        owner: keras.Model | None,
        eager: bool,
        jit_compile: bool,
        layer_source: LayerSource,
    ) -> None:
        self._call = call
        self._owner = owner
        self._eager = eager
        self._layer_source = layer_source
        self._observations: dict[Any, Observed] = {}
        """What was seen of each graph that the step was built into."""
        self._programs: dict[tuple[Any, type], Any] = {}
        self._latest: Observed | None = None
        self._function = tf.function(
            self._observed_call, autograph=False, reduce_retracing=True, jit_compile=jit_compile
        )

    # The real step

    def run(self, batch: Batch) -> tuple[Any, Outcome]:
        """Runs the real step on the real variables; returns what it returned, and its outcome."""
        batch = as_tensors(batch)
        if self._eager:
            run = self._observed_call
            observed = None
        else:
            observed = self._observations[self._function.get_concrete_function(batch).graph]
            run = self._function
        before = _iterations(observed)
        scale = _loss_scale(observed)
        returned, losses, finite = run(batch)
        observed = observed or self._latest
        after = _iterations(observed)
        outcome = Outcome(
            loss=float(losses[0]) if len(losses) else None,
            finite=tuple(bool(flag) for flag in finite.numpy()),
            variables=tuple(variable_path(v) for _, v in observed.handed_over) if observed else (),
            loss_scale=scale if scale is not None else _loss_scale(observed),
            applied=before is None or after is None or after > before,
        )
        return returned, outcome

    def _observed_call(self, batch: Batch) -> tuple[Any, list[Tensor], Tensor]:
        with Observer() as observed:
            returned = self._call(batch)
        self._latest = observed
        graph = None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
        if graph is not None:
            self._observations[graph] = observed
        losses = _visible(observed.unscaled, graph) or _visible(observed.losses, graph)
        gradients = _visible([gradient for gradient, _ in observed.handed_over], graph)
        scalars = [tf.reduce_mean(tf.cast(upcast(loss), tf.float32)) for loss in losses]
        return returned, scalars, finite_flags(gradients)

    # State

    def snapshot(self) -> State:
        """Copies the values of every variable that the step can touch."""
        return {id(v): (v, v.read_value()) for v in self._variables()}

    def restore(self, state: State) -> None:
        """Puts a snapshot back, bit for bit."""
        for variable, value in state.values():
            variable.assign(value)

    def _variables(self) -> Sequence[tf.Variable]:
        known = list(_model_variables(self._owner)) if self._owner is not None else []
        for graph in self._observations:
            known.extend(graph.variables)
        if self._latest is not None:
            for optimizer in self._latest.optimizers:
                known.extend(_raw(variable) for variable in optimizer.variables)
        return list({id(variable): variable for variable in known}.values())

    # Looking inside

    def trace(self, state: State, batch: Batch) -> Trace:
        """Runs the step from `state` with a float32 shadow; the user's variables stay."""
        step, tensors = self._graph_for(batch)
        program = self._program(step, TracedProgram)
        kept = self.snapshot()
        try:
            trace: Trace = program.run(_values(step, state), tensors)[0]
        finally:
            self.restore(kept)
        return trace

    def traced_state(self, state: State, batch: Batch) -> dict[str, Tensor]:
        """What the traced step gives each variable: for comparison with the step itself."""
        step, tensors = self._graph_for(batch)
        _, after = self._program(step, TracedProgram).run(_values(step, state), tensors)
        return dict(zip(step.paths, after, strict=True))

    def float32(self, state: State, *, rounded: bool = False) -> _Replay:
        """Starts the same training in float32 from `state`."""
        return _Replay(self, state, rounded=rounded)

    def _graph_for(self, batch: Batch) -> tuple[StepGraph, list[Tensor]]:
        batch = as_tensors(batch)
        try:
            concrete = self._function.get_concrete_function(batch)
        except Exception as error:
            raise TraceError(
                f"The training step cannot be turned into a graph: {_first_line(error)}",
                "Take Python side effects such as .numpy() out of the step, or diagnose it without "
                "run_eagerly.",
            ) from error
        observed = self._observations[concrete.graph]
        captured = concrete.graph.variables
        step = StepGraph(
            concrete=concrete,
            observed=observed,
            variables=tuple(captured),
            paths=tuple(self._path(variable) for variable in captured),
            root=self._owner,
            layer_source=self._layer_source,
        )
        leaves = [t for t in tf.nest.flatten(batch, expand_composites=True) if tf.is_tensor(t)]
        return step, leaves

    def _path(self, variable: tf.Variable) -> str:
        for candidate in self._named():
            if _raw(candidate) is variable:
                return variable_path(candidate)
        return variable_path(variable)

    def _named(self) -> list[Any]:
        named = list(self._owner.variables) if self._owner is not None else []
        for observed in self._observations.values():
            named += [variable for _, variable in observed.handed_over]
            named += [v for optimizer in observed.optimizers for v in optimizer.variables]
        return named

    def _program(self, step: StepGraph, kind: type) -> Any:
        key = step.concrete, kind
        if key not in self._programs:
            self._programs[key] = kind(step)
        return self._programs[key]

    def advance_float32(
        self, state: dict[int, Tensor], batch: Batch
    ) -> tuple[Outcome, dict[int, Tensor]]:
        """One float32 step from `state`, values by variable identity."""
        step, tensors = self._graph_for(batch)
        values = [state[id(variable)] for variable in step.variables]
        loss, finite, after = self._program(step, Float32Program).run(values, tensors)
        names = tuple(path for _, path in step.gradients)
        new = {**state, **{id(v): t for v, t in zip(step.variables, after, strict=True)}}
        return Outcome(loss, finite, names), new


class _Replay:
    """A training in float32 beside the user's."""

    def __init__(self, step: TensorFlowStep, state: State, *, rounded: bool) -> None:
        self._step = step
        self._state = {
            key: _initial(variable, value, rounded=rounded)
            for key, (variable, value) in state.items()
        }

    def advance(self, batch: Batch) -> Outcome:
        """Runs the next step in float32."""
        outcome, self._state = self._step.advance_float32(self._state, batch)
        return outcome


def _initial(variable: tf.Variable, value: Tensor, *, rounded: bool) -> Tensor:
    value = tf.cast(value, raised(value.dtype))
    if rounded and variable.trainable and value.dtype == tf.float32:
        return tf.cast(tf.cast(value, tf.float16), tf.float32)
    return value


def as_tensors(batch: Batch) -> Batch:
    """The batch with every array made a tensor and every empty Optional made None."""
    return tf.nest.map_structure(_as_tensor, batch)


def _as_tensor(leaf: Any) -> Any:
    if leaf is None or isinstance(leaf, tf.experimental.Optional):
        return None
    if tf.is_tensor(leaf) or isinstance(leaf, (str, bytes)):
        return leaf
    return tf.convert_to_tensor(leaf)


def _visible(tensors: Sequence[Any], graph: Any) -> list[Tensor]:
    """Tensors that the graph under construction may use; in eager mode all of them."""
    dense = [t.values if isinstance(t, tf.IndexedSlices) else t for t in tensors]
    dense = [t for t in dense if tf.is_tensor(t)]
    return [t for t in dense if graph is None or getattr(t, "graph", None) is graph]


def _values(step: StepGraph, state: State) -> list[Tensor]:
    return [
        state[id(variable)][1] if id(variable) in state else variable.read_value()
        for variable in step.variables
    ]


def _raw(variable: Any) -> tf.Variable:
    return variable._value if isinstance(variable, keras.Variable) else variable  # noqa: SLF001 (its `value` is cast under autocast)


def _model_variables(model: keras.Model) -> list[tf.Variable]:
    variables = list(model.variables) + list(model.metrics_variables)
    if getattr(model, "optimizer", None) is not None:
        variables += list(model.optimizer.variables)
    return [_raw(v) for v in variables if getattr(v, "_value", v) is not None]


def _iterations(observed: Observed | None) -> int | None:
    """Updates made so far by the optimizers that the step applies; None when there are none."""
    if observed is None or not observed.optimizers:
        return None
    return sum(int(_innermost(o).iterations) for o in observed.optimizers)


def _innermost(optimizer: Any) -> Any:
    while getattr(optimizer, "inner_optimizer", None) is not None:
        optimizer = optimizer.inner_optimizer
    return optimizer


def _loss_scale(observed: Observed | None) -> float | None:
    if observed is None:
        return None
    for optimizer in observed.optimizers:
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer) and optimizer.built:
            return float(_raw(optimizer.dynamic_scale))
    return None


def _first_line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def lowest_dtype(variables: Sequence[tf.Variable]) -> bool:
    """Whether any variable is stored in a 16-bit float."""
    return any(variable.dtype in LOW for variable in variables)
