"""What is known of a value in a layer's code: its kind of number, and its value if it is fixed."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Real
from types import ModuleType
from typing import Any, Literal

import keras
import numpy as np

from floatline.formats import LOW_FORMATS

Kind = Literal["number", "integer", "half", "full", "unknown"]
"""A number of Python's (or nothing that computes), a tensor of integers or booleans, one in the
layer's half-precision dtype, one in float32, or what cannot be told."""

ORDER: tuple[Kind, ...] = ("number", "integer", "half", "full", "unknown")
"""Of two kinds that meet, the later one is that of the result."""

_MOST_PARTS = 64


@dataclass(frozen=True, slots=True)
class Value:
    """What is known of a value.

    Attributes:
        kind: Its kind.
        number: The number that it is, where it is fixed.
        text: How the code writes that number.
        cast: Whether the number has been cast to half precision as a tensor of its own.
        thing: The very object, where it is known: a layer, a function, a module, a dtype's name.
        parts: The values in it, of a tuple or list.
        dtype_of: It is the dtype of values of this kind.
    """

    kind: Kind
    number: float | None = None
    text: str = ""
    cast: bool = False
    thing: Any = None
    parts: tuple[Value, ...] | None = None
    dtype_of: Kind | None = None

    @property
    def each(self) -> Value:
        """Any of its parts; a tensor gives tensors of its kind."""
        return join(self.parts) if self.parts else Value(self.kind)


UNKNOWN = Value("unknown")


def join(values: Iterable[Value]) -> Value:
    """What comes of several values that meet."""
    kinds: list[Kind] = [v.each.kind if v.parts else v.kind for v in values]
    return Value(max(kinds, key=ORDER.index, default="number"))


def kind_of_dtype(dtype: Any) -> Kind:
    """The kind of what has a dtype; anything that names one will do.

    Example:

    >>> kind_of_dtype("float16"), kind_of_dtype(np.float32), kind_of_dtype("int32")
    ('half', 'full', 'integer')
    """
    name = dtype if isinstance(dtype, str) else getattr(dtype, "name", None)
    name = str(name or getattr(dtype, "__name__", None) or dtype).rpartition(".")[2]
    if name in LOW_FORMATS or name == "half":
        return "half"
    if re.fullmatch(r"u?int\d*|bool_?|long", name):
        return "integer"
    return "full" if name in ("float32", "float64", "float", "double") else "unknown"


def is_dtype(value: Value) -> bool:
    """Whether a value names a dtype."""
    named = value.thing is not None and not isinstance(value.thing, keras.Layer | keras.Variable)
    return value.dtype_of is not None or (named and kind_of_dtype(value.thing) != "unknown")


def of_object(thing: Any, text: str = "", layer: Any = None) -> Value:
    """What is known of an object that code names.

    Args:
        thing: The object.
        text: The name.
        layer: The layer whose code it is: its variables are cast where it casts.
    """
    if isinstance(thing, keras.Variable):
        return Value(_kind_of_variable(thing, layer))
    if isinstance(thing, np.generic) and keras.backend.backend() == "jax":
        return Value(kind_of_dtype(thing.dtype))  # NumPy's scalars have a dtype of their own there.
    if isinstance(thing, Real) and not isinstance(thing, bool):
        number = float(thing)
        return Value("number", number if math.isfinite(number) else None, text, thing=thing)
    if isinstance(thing, list | tuple) and len(thing) <= _MOST_PARTS:
        return Value("number", parts=tuple(of_object(one, text, layer) for one in thing))
    if _is_array(thing):
        return Value(kind_of_dtype(thing.dtype))
    return Value("number", thing=thing)


def written(value: Any) -> str:
    """A number as code would write it.

    Example:

    >>> written(-1e9), written(1 - 1e-7), written(300)
    ('-1e+09', '0.9999999', '300')
    """
    short = f"{value:g}" if isinstance(value, float) else str(value)
    return short if not isinstance(value, float) or float(short) == value else repr(value)


def _is_array(thing: Any) -> bool:
    # A module such as keras.ops has functions of these names.
    named = hasattr(thing, "dtype") and hasattr(thing, "shape")
    return named and not isinstance(thing, type | ModuleType | keras.Layer)


def _kind_of_variable(variable: Any, layer: Any) -> Kind:
    kind = kind_of_dtype(str(variable.dtype))
    cast = getattr(variable, "_autocast", False) and getattr(layer, "autocast", False)
    low = getattr(layer, "compute_dtype", None) in LOW_FORMATS
    return "half" if kind == "full" and cast and low else kind
