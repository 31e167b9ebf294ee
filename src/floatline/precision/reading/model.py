"""A whole model as it is set up, for the checks that need no run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras

from floatline.findings.configured.setup import IdUse, LayerSetup, Setup
from floatline.formats import LOW_FORMATS
from floatline.layers import computes_on_floats, is_container
from floatline.precision.forward import Forward, dtype_of
from floatline.precision.matching import places
from floatline.precision.reading.code import read
from floatline.precision.reading.graph import operations
from floatline.precision.reading.kinds import Value
from floatline.precision.reading.layer import LayerLine, layer_setup
from floatline.precision.reading.training import optimizer_setup, output_setups
from floatline.records import SourceLine


def no_line(_layer: Any) -> SourceLine | None:
    """Knows no layer's line."""
    return None


def setup_of(model: Any, seen: Forward, *, line: LayerLine = no_line, applied: Any = None) -> Setup:
    """Reads a model.

    Args:
        model: A Keras model.
        seen: A forward pass of it; an empty one where it could not be run.
        line: Tells the user's line that made a layer.
        applied: The optimizer that a loop of the user's applies, where it is known.
    """
    found = [
        place
        for place in places(model)
        if computes_on_floats(place.layer) and not is_container(place.layer)
    ]
    # Keras' `stateless_call`, which trains on JAX, runs a model's own code without its casts.
    uncast = keras.backend.backend() == "jax" and not is_container(model)
    layers = [
        layer_setup(
            place.layer, place.shown, seen, line, cast=not (uncast and place.layer is model)
        )
        for place in found
    ]
    by_hand = applied is not None and getattr(model, "optimizer", None) is None
    return Setup(
        backend=keras.backend.backend(),
        global_policy=keras.config.dtype_policy().name,
        layers=(*layers, *operations(model, line), *_own_loss(model, seen, line)),
        model_policy=model.dtype_policy.name,
        optimizer=optimizer_setup(
            applied if by_hand else getattr(model, "optimizer", None), by_hand=by_hand
        ),
        outputs=tuple(
            output_setups(model, seen, {id(place.layer): place.shown for place in found}, line)
        ),
    )


def _own_loss(model: Any, seen: Forward, line: LayerLine) -> Iterator[LayerSetup]:
    """The numbers of a loss that the model computes by itself, from outputs in half precision."""
    calls = seen.calls.get(id(model))
    dtypes = {dtype_of(tensor) for tensor in calls.outputs} if calls else set()
    if len(dtypes) != 1 or not dtypes <= set(LOW_FORMATS):
        return
    reading = read(model.compute_loss, model, {"y_pred": Value("half")})
    dtype = dtypes.pop()
    ids = None
    if calls is not None and reading.integers:  # Labels that become integers name a class each.
        classes = max(int(tensor.shape[-1] or 1) for tensor in calls.outputs)
        ids = IdUse(dtype, classes, given=False, source=reading.integers[0])
    if reading.numbers or ids:
        yield LayerSetup(
            path=model.name,
            layer_class=type(model).__name__,
            compute_dtype=dtype,
            source=line(model),
            numbers=reading.numbers,
            ids=ids,
        )
