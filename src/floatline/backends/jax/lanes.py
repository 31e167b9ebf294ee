"""Values that travel in lanes: the computed array and, beside it, its float32 shadow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Array = Any
"""A `jax.Array`, a tracer, or a NumPy value that stands in the step as a literal."""

LOW = (np.dtype(jnp.float16), np.dtype(jnp.bfloat16))
COMPUTED, SHADOW = "computed", "shadow"


class Stage(IntEnum):
    """How far the step had come when a value was made."""

    PLAIN = 0
    """Before anything is differentiated, or beside it."""
    FORWARD = 1
    """Inside a function that is differentiated."""
    BACKWARD = 2
    """By the differentiation."""
    UPDATE = 3
    """From gradients."""


class Value(NamedTuple):
    """One array of the step in every lane.

    Attributes:
        lanes: One array per lane; the same object in all of them while the lanes cannot differ.
        sources: Sites that the value comes from.
        stage: When it was made.
    """

    lanes: tuple[Array, ...]
    sources: tuple[int, ...] = ()
    stage: Stage = Stage.PLAIN

    @property
    def lead(self) -> Array:
        """The lane that decides where branches and loops go."""
        return self.lanes[0]

    @property
    def shared(self) -> bool:
        """Whether all lanes are one array."""
        return all(lane is self.lanes[0] for lane in self.lanes)

    @property
    def literal(self) -> bool:
        """Whether it is a number that stands in the code, not one that the step is given."""
        return isinstance(self.lead, (np.ndarray, np.generic, int, float, complex))


def merge_sources(values: Iterable[Value]) -> tuple[int, ...]:
    """The sites that any of the values comes from, each once, in order."""
    return tuple(dict.fromkeys(source for value in values for source in value.sources))


def latest_stage(values: Iterable[Value]) -> Stage:
    """The stage of the value that was made last."""
    return max((value.stage for value in values), default=Stage.PLAIN)


def dtype_of(array: Array) -> Any:
    """The dtype of an array, a tracer or a literal; of a random key, too.

    Example:

    >>> dtype_of(jnp.zeros(2, "bfloat16")), dtype_of(1.0)
    (dtype(bfloat16), dtype('float32'))
    """
    return getattr(array, "dtype", None) or np.dtype(jax.dtypes.result_type(array))


def is_concrete(array: Array) -> bool:
    """Whether an array has its values already."""
    return not isinstance(array, jax.core.Tracer)


def is_float(dtype: Any) -> bool:
    """Whether values of the dtype are real floats."""
    return bool(jnp.issubdtype(dtype, jnp.floating))


def raised(dtype: Any) -> Any:
    """The dtype of the shadow of an array of `dtype`.

    Example:

    >>> raised(np.dtype("float16")), raised(np.dtype("int32"))
    (dtype('float32'), dtype('int32'))
    """
    return np.dtype(np.float32) if dtype in LOW else dtype


def upcast(array: Array) -> Array:
    """The same values in the dtype of a shadow."""
    if dtype_of(array) not in LOW:
        return array
    if isinstance(array, (np.ndarray, np.generic)):
        return np.asarray(array).astype(np.float32)
    return lax.convert_element_type(array, np.float32)


def names_low_type(equation: Any) -> bool:
    """Whether an operation reads, writes or names 16-bit floats."""
    atoms = (*equation.invars, *equation.outvars)
    if any(getattr(atom.aval, "dtype", None) in LOW for atom in atoms):
        return True
    return any(_is_low(value) for value in equation.params.values())


def raise_types(params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of the float32 twin: every 16-bit float type replaced by float32."""
    return {name: np.dtype(np.float32) if _is_low(v) else v for name, v in params.items()}


def _is_low(parameter: Any) -> bool:
    return isinstance(parameter, np.dtype) and parameter in LOW


def distinct(values: Sequence[Value], together: Sequence[bool]) -> list[Array]:
    """The arrays that carry values over a border: one where the lanes are one, else one each."""
    return [
        lane
        for value, one in zip(values, together, strict=True)
        for lane in (value.lanes[:1] if one else value.lanes)
    ]


def rejoined(flat: Sequence[Array], together: Sequence[bool], lanes: int) -> list[Value]:
    """The values that `distinct` made into arrays."""
    values, position = [], 0
    for one in together:
        width = 1 if one else lanes
        arrays = tuple(flat[position : position + width])
        values.append(Value(arrays * (lanes if one else 1)))
        position += width
    return values
