"""A training step's graph, compiled anew: traced with its shadow, or run in float32 alone."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from floatline.backends.interface import LayerSource
from floatline.backends.memory import check_host
from floatline.backends.paths import owner_path
from floatline.backends.tensorflow.interpreter import Interpreter, Setting
from floatline.backends.tensorflow.lanes import (
    COMPUTED,
    LOW,
    SHADOW,
    Tensor,
    Value,
    raised,
    upcast,
)
from floatline.backends.tensorflow.memory import least_bytes, on_host
from floatline.backends.tensorflow.observer import Observed
from floatline.backends.tensorflow.products import exact_products
from floatline.backends.tensorflow.provenance import Provenance
from floatline.backends.tensorflow.recorder import IN_PLACE, Recorder
from floatline.backends.tensorflow.variables import VariableTable
from floatline.records import GradientSite, Place, Site, Trace
from floatline.tracing.decoding import decode
from floatline.tracing.omissions import Omissions
from floatline.tracing.sites import Ledger
from floatline.tracing.statistics import Pack, empty

WHOLE_NOTE = (
    "Operation by operation, the traced step did not show what the step itself shows, so it was "
    "compiled with XLA like the step: what XLA rewrites belongs to what is seen."
)

AFFORDABLE = 10_000
"""Operations of a step whose traced step XLA compiles in minutes at most."""


@dataclass(frozen=True, slots=True)
class StepGraph:
    """A user's training step as a graph, with all that is known of it.

    Attributes:
        concrete: The concrete function; its graph is read, never run.
        observed: What was seen while it was built.
        variables: Every variable that it captures.
        paths: Path of each variable, by position in `variables`.
        root: The trained model, or None.
        layer_source: Where layers were made.
    """

    concrete: Any
    observed: Observed
    variables: tuple[tf.Variable, ...]
    paths: tuple[str, ...]
    root: Any
    layer_source: LayerSource

    @property
    def graph(self) -> Any:
        """The step's own graph."""
        return self.concrete.graph

    def own(self, tensors: Sequence[Any]) -> list[Tensor]:
        """The tensors among `tensors` that belong to this graph; sparse gradients as values."""
        dense = [t.values if isinstance(t, tf.IndexedSlices) else t for t in tensors]
        return [t for t in dense if getattr(t, "graph", None) is self.graph]

    @property
    def low_dtype(self) -> tf.DType | None:
        """The 16-bit float that the step computes in; None when it computes in none."""
        for operation in self.graph.get_operations():
            for tensor in operation.outputs:
                if tensor.dtype in LOW:
                    return tensor.dtype
        return None

    @property
    def losses(self) -> list[Tensor]:
        """The loss before loss scaling, where it is known."""
        return self.own(self.observed.unscaled) or self.own(self.observed.losses)

    @property
    def gradients(self) -> list[tuple[Tensor, str]]:
        """Gradients handed to the optimizer, with the path of their variable."""
        pairs = []
        for gradient, variable in self.observed.handed_over:
            pairs += [(t, variable_path(variable)) for t in self.own([gradient])]
        return pairs


def variable_path(variable: Any) -> str:
    """The path that Keras gives a variable, else TensorFlow's name without its counter."""
    path = getattr(variable, "path", None) or variable.name
    return str(path).removesuffix(":0")


class TracedProgram:
    """The step with a float32 shadow beside every operation; built once, run often.

    Args:
        step: The step's graph.
        whole: Compile it with XLA, which then rewrites it as it does the step, and say so.
    """

    def __init__(self, step: StepGraph, *, whole: bool = False) -> None:
        self.whole = whole
        self._step = step
        self._ledger = Ledger()
        self._omissions = Omissions()
        self._rows: list[int] = []
        self._gradients: list[GradientSite] = []
        self._losses: tuple[int, ...] = ()
        self._function = _compile(self._build, step, [COMPUTED, SHADOW], jit_compile=whole)

    def run(self, state: Sequence[Tensor], batch: Sequence[Tensor]) -> tuple[Trace, list[Tensor]]:
        """Traces one step; returns the trace and the values that the step gave its variables."""
        if on_host() and not self.whole:
            check_host(self._least_bytes)
        with _unoptimized(), exact_products():
            pack, losses, finite, after = self._function(list(batch), list(state))
        del losses, finite
        trace = Trace(
            step=0,
            moment="first",
            sites=self._sites(Pack(*(part.numpy() for part in pack))),
            gradients=tuple(self._gradients),
            losses=self._losses,
            moved=self._omissions.moved,
            not_traced=self._omissions.listed(),
            notes=(WHOLE_NOTE,) if self.whole else (),
        )
        return trace, after

    @functools.cached_property
    def _least_bytes(self) -> int:
        return least_bytes(self._function.graph)

    @property
    def in_place(self) -> bool:
        """Whether a run writes to the user's variables, which are then to be restored."""
        return self._omissions.any_for(IN_PLACE)

    def _sites(self, pack: Pack) -> tuple[Site, ...]:
        measured = decode(pack)
        order = np.argsort(self._rows)
        return self._ledger.complete([measured[row] for row in order])

    def _build(self, batch: Sequence[Tensor], state: Sequence[Tensor]) -> Any:
        step = self._step
        setting = Setting(
            (COMPUTED, SHADOW),
            step.observed,
            Provenance(step.observed, step.layer_source, step.root),
            self._omissions,
            {},
        )
        recorder = Recorder(self._ledger)
        values, after = _interpret(step, setting, recorder, batch, state)
        losses, gradients = values[: len(step.losses)], values[len(step.losses) :]
        ledger = self._ledger
        self._losses = tuple(max(ledger.resolve(v.sources)) for v in losses if v.sources)
        self._gradients = [
            GradientSite(path, owner_path(path, step.root), max(ledger.resolve(value.sources)))
            for value, (_, path) in zip(gradients, step.gradients, strict=True)
            if value.sources
        ]
        self._rows, pack = recorder.finish()
        return (pack or empty(0)), *_outcome(losses, gradients), after


class Float32Program:
    """The step with every 16-bit float replaced by float32, on its own copy of the variables."""

    def __init__(self, step: StepGraph) -> None:
        self._step = step
        self._function = _compile(self._build, step, [SHADOW])

    def run(
        self, state: Sequence[Tensor], batch: Sequence[Tensor]
    ) -> tuple[float | None, tuple[bool, ...], list[Tensor]]:
        """Runs one step; returns the loss, whether each gradient is finite, and the new state."""
        losses, finite, after = self._function(list(batch), list(state))
        loss = float(losses[0]) if len(losses) else None
        return loss, tuple(bool(flag) for flag in finite), after

    def _build(self, batch: Sequence[Tensor], state: Sequence[Tensor]) -> Any:
        setting = Setting((SHADOW,), self._step.observed, None, Omissions(), {})
        values, after = _interpret(self._step, setting, None, batch, state)
        count = len(self._step.losses)
        return *_outcome(values[:count], values[count:]), after


@contextlib.contextmanager
def _unoptimized() -> Iterator[None]:
    """Runs graphs as they stand: a traced step is large and runs only a few times."""
    before = tf.config.optimizer.get_experimental_options()
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    try:
        yield
    finally:
        kept = {"disable_meta_optimizer": False, **before}
        tf.config.optimizer.set_experimental_options(kept)


def _compile(
    build: Callable[..., Any], step: StepGraph, lanes: Sequence[str], *, jit_compile: bool = False
) -> Any:
    """Compiles `build(batch, state)` for the shapes and dtypes of the step, tracing it once."""
    count = len(step.graph.inputs) - len(step.graph.captures)
    batch = [tf.TensorSpec(t.shape, t.dtype) for t in step.graph.inputs[:count]]
    low = SHADOW in lanes and COMPUTED not in lanes
    state = [tf.TensorSpec(v.shape, raised(v.dtype) if low else v.dtype) for v in step.variables]
    function = tf.function(build, autograph=False, jit_compile=jit_compile or None)
    return function.get_concrete_function(batch, state)


def _interpret(
    step: StepGraph,
    setting: Setting,
    recorder: Recorder | None,
    batch: Sequence[Tensor],
    state: Sequence[Tensor],
) -> tuple[list[Value], list[Tensor]]:
    """Runs the step's graph; returns losses and gradients, and the variables afterwards."""
    keys = {VariableTable.key(variable.handle): variable for variable in step.variables}
    paths = dict(zip(keys, step.paths, strict=True))
    lanes = setting.lanes
    values = {
        key: Value(tuple(v if lane == COMPUTED else upcast(v) for lane in lanes))
        for key, v in zip(keys, state, strict=True)
    }
    table = VariableTable(values, paths)
    frame = Interpreter(setting, table, recorder)
    inputs = [frame.input(t, f"batch[{i}]", _input_place(t)) for i, t in enumerate(batch)]
    inputs += [_captured(frame, external) for external, _ in step.graph.captures]
    outputs = step.losses + [gradient for gradient, _ in step.gradients]
    # A function that trains nothing is looked at for what it returns.
    wanted = outputs or list(step.graph.outputs)
    result = frame.run(step.graph, inputs, wanted)[: len(outputs)]
    return result, [table.at(key).lead for key in keys]


def _captured(frame: Interpreter, tensor: Tensor) -> Value:
    return (
        frame.shared(tensor) if tensor.dtype in (tf.resource, tf.variant) else frame.taken(tensor)
    )


def _input_place(tensor: Tensor) -> Place:
    return Place(None, "Input", tensor.op.name, "forward")


def _outcome(losses: Sequence[Value], gradients: Sequence[Value]) -> tuple[list[Tensor], Tensor]:
    scalars = [tf.reduce_mean(tf.cast(upcast(v.lead), tf.float32)) for v in losses]
    return scalars, finite_flags([value.lead for value in gradients])


def finite_flags(tensors: Sequence[Tensor]) -> Tensor:
    """For each tensor, whether all its values are finite."""
    flags = [tf.reduce_all(tf.math.is_finite(tensor)) for tensor in tensors]
    return tf.stack(flags) if flags else tf.zeros([0], tf.bool)
