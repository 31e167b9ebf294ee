"""Finds what a step differentiates, and the gradients that come of it, while the step runs.

A Keras optimizer says what it is handed: the observer marks it. In any other step a gradient is
what the backward pass leaves behind: a value that it made and that something outside it reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from floatline.backends.jax.lanes import Stage, Value, dtype_of, is_float
from floatline.backends.jax.primitives import PLACES

_PLACES = PLACES - {"select_n"}
_CASTS = _PLACES | frozenset(
    "broadcast_in_dim convert_element_type reshape squeeze stop_gradient".split()
)
"""What hands on a value in another place; and what does so in another dtype or shape, too."""

GRADIENT_MARK, LOSS_MARK = "floatline_gradient:", "floatline_loss"
SCALE_MARK = "floatline_scale"


class Gradient(NamedTuple):
    """A gradient and the path of the variable that it belongs to."""

    path: str
    value: Value


class Harvest:
    """Watches values being made and read, and keeps losses and gradients.

    Values are told apart by identity, so those seen are kept as long as the harvest.
    """

    def __init__(self) -> None:
        self._marked: list[Gradient] = []
        self._marked_losses: list[Value] = []
        self._marked_scales: list[Value] = []
        self._left: dict[int, Value] = {}
        self._losses: dict[int, Value] = {}
        self._scalars: dict[int, tuple[Value, list[Value]]] = {}
        self._made: dict[int, tuple[Value, Sequence[Value]]] = {}
        self._differentiated: dict[int, Value] = {}
        self._moved: dict[int, Value] = {}
        self._placed: dict[int, Value] = {}
        self._products: dict[int, Sequence[Value]] = {}
        self._divisors: dict[int, Value] = {}
        self._reported: dict[int, Value] = {}

    def note(self, mark: str, value: Value) -> None:
        """Takes a value that carries a mark."""
        if mark.startswith(GRADIENT_MARK):
            self._marked.append(Gradient(mark.removeprefix(GRADIENT_MARK), value))
        elif mark == LOSS_MARK:
            self._marked_losses.append(value)
        elif mark == SCALE_MARK:
            self._marked_scales.append(value)

    def read(self, stage: Stage, inputs: Sequence[Value]) -> None:
        """An operation of a stage reads values."""
        for value in inputs:
            if stage == Stage.UPDATE and value.stage == Stage.BACKWARD and _is_float(value):
                self._left.setdefault(id(value), value)
            if stage == Stage.FORWARD:
                self._losses.pop(id(value), None)
            if stage in (Stage.FORWARD, Stage.BACKWARD):
                for one in (value, self._placed.get(id(value), value)):
                    self._differentiated[id(one)] = one

    def made(self, stage: Stage, outputs: Sequence[Value], inputs: Sequence[Value]) -> None:
        """An operation of a stage made values from others."""
        beside = stage == Stage.PLAIN and any(
            v.stage == Stage.FORWARD or id(v) in self._reported for v in inputs
        )
        for value in outputs:
            self._made[id(value)] = (value, inputs if stage == Stage.UPDATE else ())
            if beside:
                self._reported[id(value)] = value
            if not _is_scalar(value):
                continue
            self._scalars[id(value)] = (value, [v for v in inputs if _is_scalar(v)])
            if stage == Stage.FORWARD:
                self._losses[id(value)] = value

    def computed(
        self, name: str, stage: Stage, outputs: Sequence[Value], inputs: Sequence[Value]
    ) -> None:
        """An operation of a name made values: what only casts, and what a loss scale does."""
        if name in _PLACES:
            self._placed[id(outputs[0])] = self._placed.get(id(inputs[0]), inputs[0])
        if name in _CASTS:
            self._moved[id(outputs[0])] = self._origin(inputs[0])
            return
        scalars = [self._origin(value) for value in inputs if _is_scalar(value)]
        if name == "mul" and len(scalars) == 2 and stage == Stage.FORWARD:
            self._products[id(outputs[0])] = scalars
        elif name == "div" and stage != Stage.FORWARD and _is_scalar(inputs[-1]):
            self._divisors[id(scalars[-1])] = scalars[-1]

    def scale(self, inputs: Sequence[Value]) -> int | None:
        """Position of the input that is a loss scale: a Keras optimizer's, which is marked.

        Else one that is put on what is differentiated, and taken off again.

        Args:
            inputs: What the step is given.
        """
        given = {id(value): position for position, value in enumerate(inputs)}
        for value in self._marked_scales:
            if id(self._origin(value)) in given:
                return given[id(self._origin(value))]
        for value in reversed(self._losses.values()):
            for factor in self._products.get(id(self._origin(value)), ()):
                if id(factor) in given and id(factor) in self._divisors:
                    return given[id(factor)]
        return None

    def _origin(self, value: Value) -> Value:
        """The value that this one was cast from, if it was."""
        return self._moved.get(id(value), value)

    def differentiated(self, value: Value) -> bool:
        """Whether what is differentiated reads the value."""
        return id(value) in self._differentiated and _is_float(value)

    def losses(self, returned: Sequence[Value]) -> list[Value]:
        """What was differentiated, before loss scaling where that is known.

        Where each example is differentiated by itself (`jax.vmap` of a gradient), it is what the
        step makes of their losses; where a loop of steps is, one loss of each.

        Args:
            returned: What the step returns besides its state; a loss among it is the one that
                people look at.
        """
        if self._marked_losses:
            return self._marked_losses[:1]
        scalars = [value for value in returned if _is_scalar(value)]
        shown = [value for value in scalars if id(value) in self._losses]
        last = list(self._losses.values())[-1:]
        kin = [value for value in scalars if last and self._unscaled(value, last[0])]
        late = [value for value in scalars if value.stage >= Stage.BACKWARD]
        made = [value for value in scalars if id(value) in self._reported]
        each = [v for v in returned if _is_float(v) and np.ndim(v.lead) == 1]
        looped = [value for value in each if value.stage >= Stage.BACKWARD]
        return shown[:1] or kin[:1] or last or late[:1] or made[:1] or looped[:1]

    def _unscaled(self, value: Value, loss: Value) -> bool:
        """Whether a scalar is the loss before a scale was put on, or after it was taken off."""
        _, behind = self._scalars.get(id(value), (value, []))
        if any(source is loss for source in behind):
            return True
        _, factors = self._scalars.get(id(loss), (loss, []))
        return value.stage == Stage.FORWARD and any(factor is value for factor in factors)

    def gradients(
        self, outputs: Sequence[Value], updates: Mapping[int, str], parameters: Mapping[str, Any]
    ) -> list[Gradient]:
        """The gradients with the paths of their variables.

        Args:
            outputs: What the step returns.
            updates: Path of the variable whose new value is returned, by position in `outputs`.
            parameters: Shapes of the variables that can have a gradient, by path.
        """
        if self._marked:
            return self._marked
        for value in outputs:
            if value.stage == Stage.BACKWARD and _is_float(value):
                self._left.setdefault(id(value), value)
        named = self._named(outputs, updates, parameters)
        if not named:  # Each example has been differentiated by itself.
            named = self._named(outputs, updates, parameters, batched=True)
        free = [path for path in parameters if path not in named.values()]
        for key, value in self._left.items():
            fitting = [p for p in free if parameters[p] == np.shape(value.lead)]
            if key not in named and fitting:
                named[key] = fitting[0]
                free.remove(fitting[0])
        return [Gradient(named[key], v) for key, v in self._left.items() if key in named]

    def _named(
        self,
        outputs: Sequence[Value],
        updates: Mapping[int, str],
        parameters: Mapping[str, Any],
        *,
        batched: bool = False,
    ) -> dict[int, str]:
        """Path of the variable that each gradient moves, by the identity of the gradient."""
        named: dict[int, str] = {}
        for position, path in updates.items():
            shape = parameters.get(path)
            found = self._nearest(outputs[position], shape, set(named), batched=batched)
            if found is not None:
                named[id(found)] = path
        return named

    def _nearest(
        self, output: Value, shape: Any, taken: set[int], *, batched: bool
    ) -> Value | None:
        """The gradient of a shape from which an output was made in the fewest operations.

        Args:
            output: What the step returns.
            shape: That of the variable; None if it can have no gradient.
            taken: Gradients of other variables.
            batched: Whether gradients have one dimension more in front, that of the examples.
        """
        waiting, seen = [output], {id(output)}
        for value in waiting:  # Grows while it is read: breadth first.
            found = np.shape(value.lead)[1:] if batched else np.shape(value.lead)
            if id(value) in self._left and found == shape and id(value) not in taken:
                return value
            _, inputs = self._made.get(id(value), (value, ()))
            fresh = [v for v in inputs if id(v) not in seen]
            seen.update(map(id, fresh))
            waiting.extend(fresh)
        return None


def _is_scalar(value: Value) -> bool:
    return _is_float(value) and np.ndim(value.lead) == 0


def _is_float(value: Value) -> bool:
    dtype = dtype_of(value.lead)
    return isinstance(dtype, np.dtype) and is_float(dtype)
