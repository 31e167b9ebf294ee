"""Loops and branches: rebuilt around the interpreter, statistics merged over iterations.

What crosses the border of a nested function is carried explicitly: the lanes of each value and the
statistics of the sites inside. To know beforehand what that will be, the nested function is first
traced into nothing (`scout`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
from jax import lax

from floatline.backends.jax.jaxprs import opened
from floatline.backends.jax.lanes import (
    Array,
    Value,
    distinct,
    dtype_of,
    merge_sources,
    raised,
    rejoined,
)
from floatline.backends.jax.recorder import Census, Recorder
from floatline.tracing.sites import Ledger
from floatline.tracing.statistics import Pack, concatenate, empty, merge

if TYPE_CHECKING:
    from floatline.backends.jax.interpreter import Frame

Handler = Callable[["Frame", Any, Sequence[Value]], Sequence[Value]]


@dataclass(frozen=True, slots=True)
class Scouted:
    """What a nested function will do: outputs that are the same in all lanes, and its sites."""

    shared: tuple[bool, ...]
    sites: int


def scout(frame: Frame, equation: Any, jaxpr: Any, shared: Sequence[bool]) -> Scouted:
    """Traces a nested function into nothing.

    Args:
        frame: The frame that the operation belongs to.
        equation: The operation.
        jaxpr: The nested function.
        shared: For each of its inputs, whether it is the same in all lanes.
    """
    lanes = len(frame.setting.lanes)
    census = Census(Ledger()) if frame.recorder is not None else None
    flags: list[bool] = []

    def run(flat: Sequence[Array]) -> list[Array]:
        nested = frame.below(equation, jaxpr, census)
        outputs = nested.run(jaxpr, rejoined(flat, shared, lanes))
        flags[:] = [value.shared for value in outputs]
        return [value.lead for value in outputs]

    shapes = [
        jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype if lane == "computed" else _raised(v))
        for v, one in zip(opened(jaxpr)[0].invars, shared, strict=True)
        for lane in (frame.setting.lanes[:1] if one else frame.setting.lanes)
    ]
    with frame.setting.omissions.paused():
        jax.eval_shape(run, shapes)
    return Scouted(tuple(flags), len(census.ledger) if census is not None else 0)


def _raised(variable: Any) -> Any:
    return raised(variable.aval.dtype)


class Body:
    """The body of a loop in every lane, with statistics that grow from iteration to iteration.

    Args:
        frame: The frame that the loop belongs to.
        equation: The loop.
        jaxpr: Its body: constants, carried values and slices in; carried values and slices out.
        constants: Values of the constants.
        carried: First values of what is carried.
        slices: Values whose slices the iterations get.
    """

    def __init__(
        self,
        frame: Frame,
        equation: Any,
        jaxpr: Any,
        constants: Sequence[Value],
        carried: Sequence[Value],
        slices: Sequence[Value] = (),
    ) -> None:
        self._frame, self._equation, self._jaxpr = frame, equation, jaxpr
        self._constants, self._slices = constants, slices
        self._lanes = len(frame.setting.lanes)
        self.together, self._known = self._settle(carried)
        self.initial = [as_array(v) for v in carried]
        self._ledger = frame.recorder.ledger if frame.recorder is not None else Ledger()
        self._numbers = [self._ledger.carry(value.sources) for value in carried]
        self._indices: list[int] = []
        self._outer_sources: list[tuple[int, ...]] = []

    def _settle(self, carried: Sequence[Value]) -> tuple[list[bool], Scouted]:
        """Which carried values stay the same in all lanes.

        What leaves the body with different lanes must enter it so; that may split further ones,
        so it is repeated until nothing changes.
        """
        constants, slices = ([v.shared for v in some] for some in (self._constants, self._slices))
        together = [value.shared and not _low(value) for value in carried]
        while True:
            known = scout(
                self._frame, self._equation, self._jaxpr, [*constants, *together, *slices]
            )
            after = [a and b for a, b in zip(together, known.shared, strict=False)]
            if after == together:
                return together, known
            together = after

    @property
    def measures(self) -> bool:
        """Whether there is anything to measure inside."""
        return self._frame.recorder is not None and self._known.sites > 0

    def first(self) -> tuple[list[Array], Pack | None]:
        """What enters the first iteration."""
        return distinct(self.initial, self.together), (
            empty(self._known.sites) if self.measures else None
        )

    def values(self, flat: Sequence[Array]) -> list[Value]:
        """The carried values inside the loop."""
        found = rejoined(flat, self.together, self._lanes)
        return [v._replace(sources=(n,)) for v, n in zip(found, self._numbers, strict=True)]

    def iterate(
        self, carry: tuple[list[Array], Pack | None], flat_slices: Sequence[Array] = ()
    ) -> tuple[tuple[list[Array], Pack | None], list[Array]]:
        """One iteration."""
        flat, before = carry
        outer = self._frame.recorder
        recorder = outer.nested() if outer is not None else None
        nested = self._frame.below(self._equation, self._jaxpr, recorder)
        one = [value.shared for value in self._slices]
        slices = [
            inside._replace(sources=outside.sources)
            for inside, outside in zip(
                rejoined(flat_slices, one, self._lanes), self._slices, strict=True
            )
        ]
        inputs = [*self._constants, *self.values(flat), *slices]
        outputs = nested.run(self._jaxpr, inputs)
        after, stacked = outputs[: len(self.together)], outputs[len(self.together) :]
        for number, value in zip(self._numbers, after, strict=True):
            self._ledger.feed(number, value.sources)
        self._outer_sources = [value.sources for value in stacked]
        pack = self._merged(before, recorder)
        carried = distinct([as_array(v) for v in after], self.together)
        return (carried, pack), distinct(
            [as_array(v) for v in stacked], self._known.shared[len(after) :]
        )

    def _merged(self, before: Pack | None, recorder: Recorder | None) -> Pack | None:
        if before is None or recorder is None:
            return before
        self._indices, pack = recorder.finish()
        return before if pack is None else merge(before, pack)

    def finish(
        self, carry: tuple[list[Array], Pack | None], stacked: Sequence[Array] = ()
    ) -> list[Value]:
        """The values after the loop; hands the statistics to the outer recorder."""
        flat, pack = carry
        if pack is not None and self._frame.recorder is not None:
            self._frame.recorder.absorb(self._indices, pack)
        outputs = rejoined(stacked, self._known.shared[len(self.together) :], self._lanes)
        return self.values(flat) + [
            value._replace(sources=sources)
            for value, sources in zip(outputs, self._outer_sources, strict=True)
        ]


def as_array(value: Value) -> Value:
    """The value as arrays of a definite dtype: branches and iterations must agree on it."""
    strong = {id(lane): _strong(lane) for lane in value.lanes}
    return value._replace(lanes=tuple(strong[id(lane)] for lane in value.lanes))


def _strong(array: Array) -> Array:
    dtype = dtype_of(array)
    if jax.dtypes.issubdtype(dtype, jax.dtypes.extended):
        return array
    return lax.convert_element_type(array, dtype)


def _low(value: Value) -> bool:
    return bool(dtype_of(value.lead) != dtype_of(value.lanes[-1]))


def _scan(frame: Frame, equation: Any, inputs: Sequence[Value]) -> Sequence[Value]:
    params = equation.params
    constants, carry = _scan_inputs(equation)
    first, second = constants, constants + carry
    slices = [as_array(value) for value in inputs[second:]]
    body = Body(frame, equation, params["jaxpr"], inputs[:first], inputs[first:second], slices)
    last, stacked = lax.scan(
        body.iterate,
        body.first(),
        distinct(slices, [value.shared for value in slices]),
        length=params["length"],
        reverse=params["reverse"],
        unroll=params["unroll"],
    )
    return body.finish(last, stacked)


def _while(frame: Frame, equation: Any, inputs: Sequence[Value]) -> Sequence[Value]:
    params = equation.params
    first = params["cond_nconsts"]
    second = first + params["body_nconsts"]
    condition = params["cond_jaxpr"]
    body = Body(frame, equation, params["body_jaxpr"], inputs[first:second], inputs[second:])

    def holds(carry: tuple[list[Array], Pack | None]) -> Array:
        values = [*inputs[:first], *body.values(carry[0])]
        return frame.unmeasured.run(condition, values)[0].lead

    return body.finish(lax.while_loop(holds, lambda carry: body.iterate(carry)[0], body.first()))


def _cond(frame: Frame, equation: Any, inputs: Sequence[Value]) -> Sequence[Value]:
    branches = equation.params["branches"]
    operands = inputs[1:]
    flags = [value.shared for value in operands]
    scouted = [scout(frame, equation, branch, flags) for branch in branches]
    together = [all(column) for column in zip(*(s.shared for s in scouted), strict=True)]
    rows = [s.sites for s in scouted]
    indices: list[list[int]] = [[] for _ in branches]
    sources: list[tuple[int, ...]] = [()] * len(together)

    def build(position: int) -> Callable[[], tuple[list[Array], Pack | None]]:
        def run() -> tuple[list[Array], Pack | None]:
            recorder = frame.recorder.nested() if frame.recorder is not None else None
            nested = frame.below(equation, branches[position], recorder)
            values = nested.run(branches[position], operands)
            for number, value in enumerate(values):
                sources[number] = merge_sources([Value((), sources[number]), value])
            flat = distinct([as_array(v) for v in values], together)
            return flat, _padded(recorder, rows, position, indices)

        return run

    index = lax.convert_element_type(inputs[0].lead, "int32")
    flat, pack = lax.switch(index, [build(position) for position in range(len(branches))])
    if pack is not None and frame.recorder is not None:
        frame.recorder.absorb([site for found in indices for site in found], pack)
    values = rejoined(flat, together, len(frame.setting.lanes))
    return [v._replace(sources=known) for v, known in zip(values, sources, strict=True)]


def _padded(
    recorder: Recorder | None, rows: Sequence[int], position: int, indices: list[list[int]]
) -> Pack | None:
    """This branch's statistics in its place among those of all branches, which stay empty."""
    if recorder is None or not any(rows):
        return None
    indices[position], pack = recorder.finish()
    parts = [empty(n) for n in rows]
    if pack is not None:
        parts[position] = pack
    return concatenate([part for part, n in zip(parts, rows, strict=True) if n])


def carried(equation: Any) -> int:
    """How many of an operation's first outputs the next iteration reads, if it is a loop."""
    if equation.primitive.name == "while":
        return len(equation.outvars)
    return _scan_inputs(equation)[1] if equation.primitive.name == "scan" else 0


def _scan_inputs(scan: Any) -> tuple[int, int]:
    """How many inputs of a scan are constants, and how many are carried."""
    params = scan.params
    if "ft_in" in params:  # Since JAX 0.11 the inputs come as three trees.
        constants, carry, _ = params["ft_in"].unpack()
        return len(constants), len(carry)
    return int(params["num_consts"]), int(params["num_carry"])


HANDLERS: dict[str, Handler] = {"scan": _scan, "while": _while, "cond": _cond}
