"""Operations whose shadow is not simply the same operation in float32."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from floatline.backends.jax.jaxprs import bind
from floatline.backends.jax.lanes import COMPUTED, LOW, Value, upcast

if TYPE_CHECKING:
    from floatline.backends.jax.interpreter import Frame

Handler = Callable[["Frame", Any, Sequence[Value]], Sequence[Value]]


def _convert(frame: Frame, equation: Any, inputs: Sequence[Value]) -> Sequence[Value]:
    """A cast; that of a literal is where a number in the code is rounded."""
    (value,) = inputs
    dtype = equation.params["new_dtype"]
    if not value.literal or not isinstance(dtype, np.dtype):
        return frame.compute(equation, inputs)
    if dtype not in LOW:
        return [frame.taken(np.asarray(value.lead).astype(dtype))]
    literal = np.asarray(value.lanes[-1]).astype(np.float32)
    with np.errstate(over="ignore"):  # That it overflows is what will be shown.
        rounded = literal.astype(dtype)
    lanes = tuple(rounded if lane == COMPUTED else literal for lane in frame.setting.lanes)
    if np.array_equal(rounded.astype(np.float32), literal, equal_nan=True):
        return [Value(lanes)]
    scalar = float(literal) if literal.ndim == 0 else None
    return [frame.measured(equation, Value(lanes), literal, role="constant", constant=scalar)]


def _copy(frame: Frame, equation: Any, inputs: Sequence[Value]) -> Sequence[Value]:
    """A literal that is copied is still a literal."""
    return inputs if inputs[0].literal else frame.compute(equation, inputs)


def _reduce_precision(frame: Frame, equation: Any, inputs: Sequence[Value]) -> Sequence[Value]:
    """Rounds to a format without changing the dtype; float32 would not round."""
    (value,) = inputs
    lanes = tuple(
        bind(equation, [array])[0] if lane == COMPUTED else upcast(array)
        for lane, array in zip(frame.setting.lanes, value.lanes, strict=True)
    )
    return [frame.measured(equation, Value(lanes, value.sources, value.stage), upcast(value.lead))]


def _callback(frame: Frame, equation: Any, inputs: Sequence[Value]) -> Sequence[Value]:
    """A print of the user's: once, in the step itself."""
    if frame.setting.lanes == (COMPUTED,):
        bind(equation, [value.lead for value in inputs])
    return []


HANDLERS: dict[str, Handler] = {
    "convert_element_type": _convert,
    "copy": _copy,
    "copy_p": _copy,
    "debug_callback": _callback,
    "debug_print": _callback,
    "reduce_precision": _reduce_precision,
}
