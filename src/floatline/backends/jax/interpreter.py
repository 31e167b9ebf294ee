"""Runs a jaxpr again, operation by operation, in several lanes, and measures what it sees.

A lane is one version of every value: the computed one, in the step's own dtypes, and the float32
shadow. Beside them each operation that involves 16-bit floats runs once more in float32 on its
own computed inputs, which tells the error that it adds itself from the error it was handed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np
from jax import lax

from floatline.backends.jax import nested, sharded, special
from floatline.backends.jax.harvest import Harvest
from floatline.backends.jax.jaxprs import (
    PIECE_SCOPE,
    UPDATE_SCOPE,
    before_moves,
    bind,
    called,
    differentiates,
    inner_jaxprs,
    is_backward,
    is_differentiated,
    opened,
    read_forward,
    scopes,
)
from floatline.backends.jax.lanes import (
    COMPUTED,
    LOW,
    Array,
    Stage,
    Value,
    dtype_of,
    is_concrete,
    is_float,
    latest_stage,
    merge_sources,
    names_low_type,
    raise_types,
    raised,
    upcast,
)
from floatline.backends.jax.primitives import MARK, MOVES, OPAQUE, OPAQUE_IN_LOW, REMATERIALIZED
from floatline.backends.jax.provenance import Provenance
from floatline.backends.jax.raising import raised_jaxprs
from floatline.backends.jax.recorder import Recorder
from floatline.records import Role
from floatline.tracing.omissions import Omissions
from floatline.tracing.sites import Description


@dataclass(frozen=True, slots=True)
class Setting:
    """What stays the same for every function of one interpretation.

    Attributes:
        lanes: `("computed", "shadow")` to trace, `("computed",)` to run the step and look at its
            gradients, `("shadow",)` to train in float32.
        provenance: Places of operations; None when nothing is measured.
        omissions: Collects what could not be shadowed.
    """

    lanes: tuple[str, ...]
    provenance: Provenance | None = None
    omissions: Omissions = field(default_factory=Omissions)


@dataclass(frozen=True, slots=True)
class Frame:
    """The function that is being run.

    Attributes:
        setting: The interpretation it belongs to.
        recorder: Measures the sites of this function; None to measure nothing.
        harvest: Looks for losses and gradients; None inside loops and branches.
        outer: The operations around the function, outermost first.
        stack: Name scopes of those operations.
        updated: Paths of variables by the jaxpr variable that holds their new value.
        residuals: Positions of the function's outputs that only the backward pass reads.
        forward: Variables of the function that something else reads, too; None before it runs.
    """

    setting: Setting
    recorder: Recorder | None = None
    harvest: Harvest | None = None
    outer: tuple[Any, ...] = ()
    stack: str = ""
    updated: Mapping[Any, str] = field(default_factory=dict)
    residuals: frozenset[int] = frozenset()
    forward: frozenset[Any] | None = None

    # Running

    def run(self, jaxpr: Any, inputs: Sequence[Value]) -> list[Value]:
        """Runs a jaxpr; returns the values of its outputs."""
        inner, consts = opened(jaxpr)
        values = dict(zip(inner.constvars, map(self._constant, consts), strict=True))
        values |= dict(zip(inner.invars, inputs, strict=True))
        here = replace(
            self,
            forward=read_forward(jaxpr, self.stack, self.residuals),
            updated=before_moves(jaxpr, self.updated),
        )
        for equation in inner.eqns:
            known = [self._read(atom, values) for atom in equation.invars]
            values.update(zip(equation.outvars, here.execute(equation, known), strict=True))
        return [self._read(atom, values) for atom in inner.outvars]

    def inside(self, equation: Any, jaxpr: Any) -> Frame:
        """The frame of the function that an operation calls in its place."""
        paths = zip(equation.outvars, opened(jaxpr)[0].outvars, strict=True)
        updated = {
            inner: self.updated[outer]
            for outer, inner in paths
            if outer in self.updated and not hasattr(inner, "val")
        }
        return replace(
            self,
            outer=(*self.outer, equation),
            stack=f"{self.stack}/{scopes(equation)}",
            updated=updated,
            residuals=self._residuals_of(equation),
            forward=None,
        )

    def _residuals_of(self, equation: Any) -> frozenset[int]:
        """Positions of an operation's outputs that only the backward pass reads."""
        carried = nested.carried(equation)
        return frozenset(
            number
            for number, output in enumerate(equation.outvars)
            if self.forward is not None and number >= carried and output not in self.forward
        )

    def below(self, equation: Any, jaxpr: Any, recorder: Recorder | None) -> Frame:
        """The frame of a loop's body or of a branch."""
        return replace(self.inside(equation, jaxpr), recorder=recorder, harvest=None)

    @property
    def unmeasured(self) -> Frame:
        """The same frame with nothing measured."""
        return replace(self, recorder=None, harvest=None)

    def _constant(self, array: Array) -> Value:
        """An array that the function closes over; a single number is a literal."""
        plain = isinstance(dtype_of(array), np.dtype) and np.ndim(array) == 0
        return self.taken(np.asarray(array) if plain and is_concrete(array) else array)

    def _read(self, atom: Any, values: Mapping[Any, Value]) -> Value:
        if not hasattr(atom, "val"):
            return values[atom]
        return self.taken(np.asarray(atom.val, atom.aval.dtype))

    def execute(self, equation: Any, inputs: Sequence[Value]) -> Sequence[Value]:
        """Runs one operation of the function; returns the values of its outputs."""
        name = equation.primitive.name
        stage = self.stage(equation, inputs)
        if name == MARK:
            self._note(equation, inputs)
            return inputs
        function = called(equation)
        if function is not None:
            inputs = _held_back(inputs) if name in REMATERIALIZED else inputs
            return self.inside(equation, function).run(function, inputs)
        if self.harvest is not None:
            self.harvest.read(stage, inputs)
        with jax.named_scope(f"{PIECE_SCOPE}{id(equation)}"):
            outputs = _HANDLERS.get(name, Frame.compute)(self, equation, inputs)
        outputs = [output._replace(stage=stage) for output in outputs]
        if self.harvest is not None:
            self.harvest.made(stage, outputs, inputs)
            self.harvest.computed(name, stage, outputs, inputs)
        return outputs

    def _note(self, equation: Any, inputs: Sequence[Value]) -> None:
        if self.harvest is not None:
            self.harvest.note(equation.params["name"], inputs[0])

    def stage(self, equation: Any, inputs: Sequence[Value]) -> Stage:
        """How far the step is when an operation runs."""
        stack = f"{self.stack}/{scopes(equation)}"
        if UPDATE_SCOPE in stack:
            return Stage.UPDATE
        if is_backward(stack) or any(map(differentiates, inner_jaxprs(equation))):
            return Stage.BACKWARD
        if is_differentiated(stack):
            ahead = self.forward is not None and self.forward.isdisjoint(equation.outvars)
            return Stage.BACKWARD if ahead else Stage.FORWARD
        return Stage.UPDATE if latest_stage(inputs) >= Stage.BACKWARD else Stage.PLAIN

    # Making values

    def taken(
        self, array: Array, sources: tuple[int, ...] = (), stage: Stage = Stage.PLAIN
    ) -> Value:
        """A value whose shadow is the computed value itself."""
        if dtype_of(array) not in LOW:
            return Value((array,) * len(self.setting.lanes), sources, stage)
        lanes = tuple(array if lane == COMPUTED else upcast(array) for lane in self.setting.lanes)
        return Value(lanes, sources, stage)

    def omit(self, equation: Any, reason: str) -> None:
        """Counts an operation that could not be shadowed."""
        if self.recorder is not None:
            self.setting.omissions.add(equation.primitive.name, reason)

    def moved(self) -> None:
        """Counts an operation that only moves values."""
        self.setting.omissions.moved += self.recorder is not None

    # Computing

    def compute(self, equation: Any, inputs: Sequence[Value]) -> Sequence[Value]:
        """Runs an ordinary operation in every lane and has its outputs measured."""
        name = equation.primitive.name
        low = names_low_type(equation)
        reason = OPAQUE.get(name) or (OPAQUE_IN_LOW.get(name) if low else None)
        if reason is not None:
            return self.take(equation, inputs, reason)
        twin = _twin(equation) if low else dict(equation.params)
        try:
            lanes = self._run_lanes(equation, inputs, twin, low=low)
            local = self._run_local(equation, inputs, twin, lanes[-1]) if low else None
        except Exception:
            if not low:
                raise
            return self.take(equation, inputs, "has no float32 twin")
        sources, latest = merge_sources(inputs), latest_stage(inputs)
        values = [Value(outputs, sources, latest) for outputs in zip(*lanes, strict=True)]
        if name in MOVES or _widens(equation):
            self.moved()
            return values
        locals_ = local or [value.lead for value in values]
        return [
            self.measured(equation, value, truth, variable=self.updated.get(output))
            for value, truth, output in zip(values, locals_, equation.outvars, strict=True)
        ]

    def take(self, equation: Any, inputs: Sequence[Value], reason: str) -> list[Value]:
        """Runs an operation as it stands; its shadow is what it computed."""
        if not all(value.shared for value in inputs):
            self.omit(equation, reason)
        arrays = [
            lax.convert_element_type(value.lead, atom.aval.dtype)
            if dtype_of(value.lead) != atom.aval.dtype
            else value.lead
            for value, atom in zip(inputs, equation.invars, strict=True)
        ]
        sources, latest = merge_sources(inputs), latest_stage(inputs)
        values = [self.taken(a, sources, latest) for a in bind(equation, arrays)]
        return [self.measured(equation, value, upcast(value.lead)) for value in values]

    def _run_lanes(
        self, equation: Any, inputs: Sequence[Value], twin: Mapping[str, Any], *, low: bool
    ) -> list[Sequence[Array]]:
        if not low and all(value.shared for value in inputs):
            return [bind(equation, [value.lead for value in inputs])] * len(self.setting.lanes)
        return [
            bind(
                equation,
                [value.lanes[position] for value in inputs],
                None if lane == COMPUTED else twin,
            )
            for position, lane in enumerate(self.setting.lanes)
        ]

    def _run_local(
        self,
        equation: Any,
        inputs: Sequence[Value],
        twin: Mapping[str, Any],
        shadows: Sequence[Array],
    ) -> Sequence[Array] | None:
        """The operation in float32 on its computed inputs."""
        if self.recorder is None:
            return None
        if all(value.shared for value in inputs):
            return shadows
        exact = _with_exact_products(equation, twin)
        return bind(equation, [upcast(value.lead) for value in inputs], exact)

    # Measuring

    def measured(
        self,
        equation: Any,
        value: Value,
        local: Array,
        *,
        role: Role = "value",
        constant: float | None = None,
        variable: str | None = None,
    ) -> Value:
        """Has a value measured and returns it with the new site as its only source."""
        provenance = self.setting.provenance
        if self.recorder is None or provenance is None or not measurable(value):
            return value
        stage = self.stage(equation, [value])
        description = Description(
            place=provenance.place(equation, self.outer, self.stack, stage),
            role=role,
            dtype=dtype_of(value.lead).name,
            shape=np.shape(value.lead),
            sources=value.sources,
            constant=constant,
            variable=variable,
        )
        site = self.recorder.measure(description, value.lead, value.lanes[-1], local)
        return value._replace(sources=(site,))


_HANDLERS = {**nested.HANDLERS, **sharded.HANDLERS, **special.HANDLERS}


def measurable(value: Value) -> bool:
    """Whether a value has statistics: floats, and integers that the lanes disagree on."""
    dtype = dtype_of(value.lead)
    if not isinstance(dtype, np.dtype):
        return False
    return is_float(dtype) or (dtype.kind in "iu" and not value.shared)


def _twin(equation: Any) -> dict[str, Any]:
    """The operation's parameters in float32; products are to be as exact as float32 everywhere.

    A GPU multiplies faster in three products of TF32, which together hold float32's digits.
    """
    params = raised_jaxprs(raise_types(equation.params))
    if "precision" in params and "preferred_element_type" in params:
        fast = equation.primitive.name == "dot_general" and jax.default_backend() == "gpu"
        highest = (lax.Precision.HIGHEST, lax.Precision.HIGHEST)
        params["precision"] = lax.DotAlgorithmPreset.TF32_TF32_F32_X3 if fast else highest
    return params


def _with_exact_products(equation: Any, twin: Mapping[str, Any]) -> Mapping[str, Any]:
    """The parameters of a twin that multiplies 16-bit numbers, which TF32 holds as they are."""
    if isinstance(twin.get("precision"), lax.DotAlgorithmPreset):
        low = all(atom.aval.dtype in LOW for atom in equation.invars)
        return {**twin, "precision": lax.DotAlgorithmPreset.TF32_TF32_F32} if low else twin
    return twin


def _widens(equation: Any) -> bool:
    """Whether the operation casts 16-bit floats to wider ones, which rounds nothing."""
    if equation.primitive.name != "convert_element_type":
        return False
    before, after = equation.invars[0].aval.dtype, equation.outvars[0].aval.dtype
    return before in LOW and raised(after) == after and is_float(after)


def _held_back(inputs: Sequence[Value]) -> list[Value]:
    """The inputs of a function that is to be computed a second time rather than remembered."""
    arrays = [lane for value in inputs for lane in value.lanes]
    if not arrays:
        return list(inputs)
    kept = dict(zip(map(id, arrays), lax.optimization_barrier(arrays), strict=True))
    return [value._replace(lanes=tuple(kept[id(lane)] for lane in value.lanes)) for value in inputs]
