"""`floatline.inspect`: looks at a model's dtypes, bytes and casts as they really are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import keras

from floatline.errors import InputError
from floatline.findings.configured.table import configuration_notes
from floatline.formats import FORMATS
from floatline.headlines import headline
from floatline.layers import children, computes_on_floats, is_container
from floatline.precision.application import check_model
from floatline.precision.forward import Calls, Forward, dtype_of, observe, size
from floatline.precision.inspection import Inspection, LayerInspection, PolicyBytes
from floatline.precision.matching import Place, places
from floatline.precision.optimizers import innermost
from floatline.precision.policies import POLICIES
from floatline.precision.reading.layer import LayerLine
from floatline.precision.reading.model import no_line, setup_of
from floatline.precision.reasons import why_float32
from floatline.precision.specification import specification
from floatline.precision.tensor_cores import MULTIPLE, good_size, misfits
from floatline.precision.variables import own_variables

_COMPARED = ("float32", "mixed_float16", "mixed_bfloat16", "float16", "bfloat16")

_LOOPS = (keras.layers.RNN, keras.layers.TimeDistributed)
"""Layers that call what is in them once per time step."""

LOSS_NOTE = (
    "Compiled losses and metrics are computed in {floatx}; the optimizer updates the weights in "
    "the dtype that they are kept in."
)


NOT_RUN = (
    "The model's forward pass cannot be run by itself, so layers are described by their policies "
    "alone: {error}"
)


def inspect(model: Any, x: Any = None, *, batch_size: int = 32) -> Inspection:
    """Shows in which dtypes a model keeps, casts, computes and returns, and what that costs.

    The forward pass is run once, as Keras does to infer shapes (on PyTorch: on zeros), so the
    dtypes are those that the layers really see. Nothing of the model is changed.

    Args:
        model: A Keras model. One that is not built yet is described by its policies alone.
        x: Inputs of the model, as for `predict`; only shapes and dtypes matter. Needed for
            subclassed models that take anything but one float tensor.
        batch_size: Examples per batch that activations are counted for.

    Returns:
        An `Inspection`; `print(floatline.inspect(model).to_json())`, `.to_dataframe()`.

    Raises:
        InputError: `model` is no Keras model, or `batch_size` is not a positive integer.

    Example:

    >>> model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(10, name="head")])
    >>> found = inspect(model, batch_size=8)
    >>> found.parameter_bytes, found.activation_bytes
    (2600, 320)
    """
    return look(model, x, batch_size=batch_size)


def look(
    model: Any,
    x: Any = None,
    *,
    batch_size: int = 32,
    line: LayerLine = no_line,
    applied: Any = None,
) -> Inspection:
    """As `inspect`, for one who knows more.

    Args:
        model: A Keras model.
        x: Inputs of the model.
        batch_size: Examples per batch.
        line: Tells the user's line that made a layer.
        applied: The optimizer that a loop of the user's applies.
    """
    check_model(model)
    if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
        raise InputError(f"batch_size is {batch_size!r}.", "It must be a positive integer.")
    inputs, notes = specification(model, x, batch_size)
    seen, failed = _forward(model, inputs)
    layers = tuple(_layers(places(model), seen))
    optimizer = getattr(model, "optimizer", None) or applied
    return Inspection(
        model=model.name,
        batch_size=batch_size,
        layers=layers,
        policies=tuple(_under(policy, layers) for policy in _COMPARED),
        optimizer=_optimizer_name(optimizer),
        loss_scaling=_loss_scaling(optimizer),
        notes=(
            *notes,
            *failed,
            *_batch_note(batch_size),
            LOSS_NOTE.format(floatx=keras.config.floatx()),
        ),
        configuration=configuration_notes(setup_of(model, seen, line=line, applied=applied)),
    )


def _forward(model: Any, inputs: Any) -> tuple[Forward, tuple[str, ...]]:
    """A forward pass, and a note where there is none."""
    if inputs is None:
        return Forward(), ()
    try:
        return observe(model, inputs), ()
    except Exception as error:  # noqa: BLE001 (a model's code may raise anything, or have no call)
        return Forward(), (NOT_RUN.format(error=headline(error)),)


def _layers(found: Sequence[Place], seen: Forward) -> Iterator[LayerInspection]:
    loops = tuple(f"{place.path}/" for place in found if isinstance(place.layer, _LOOPS))
    for place in found:
        if computes_on_floats(place.layer) and not is_container(place.layer):
            yield _layer(place, seen, in_loop=place.path.startswith(loops))


def _returns_its_own(layer: Any) -> bool:
    """Whether outputs are counted here: of layers without sublayers, and of loops as a whole."""
    return isinstance(layer, _LOOPS) or not children(layer)


def _layer(place: Place, seen: Forward, *, in_loop: bool) -> LayerInspection:
    """What is known of one layer; a call in a loop stands for all of them."""
    layer = place.layer
    calls = seen.calls.get(id(layer), Calls())
    weights = [v for v in own_variables(layer) if str(v.dtype) in FORMATS]
    cast = [(v, seen.cast_variables[id(v)]) for v in weights if id(v) in seen.cast_variables]
    # Of a layer that was not run, nobody knows which weights it casts.
    uncast = [v for v in weights if id(v) not in seen.cast_variables] if calls.outputs else []
    counted = calls.outputs if _returns_its_own(layer) and not in_loop else []
    outputs = [tensor for tensor in counted if dtype_of(tensor) in FORMATS]
    return LayerInspection(
        path=place.shown,
        layer_class=type(layer).__name__,
        policy=layer.dtype_policy.name,
        variable_dtype=_joined(str(v.dtype) for v in weights),
        compute_dtype=layer.compute_dtype,
        input_dtypes=_unique(calls.inputs),
        output_dtypes=_unique(calls.outputs),
        parameters=sum(size(v) for v in weights),
        castable_parameters=sum(size(v) for v in weights if _castable(layer, v)),
        parameter_bytes=sum(_bytes(v, str(v.dtype)) for v in weights),
        copy_bytes=sum(_bytes(v, dtype) for v, dtype in cast),
        activation_bytes=sum(_bytes(tensor, dtype_of(tensor)) for tensor in outputs),
        activations=sum(size(tensor) for tensor in outputs),
        input_casts=sum(calls.casts[:1] if in_loop else calls.casts),
        weight_casts=len(cast),
        keeps_float32=why_float32(layer, uncast),
        misfits=misfits(layer),
    )


def _castable(layer: Any, variable: Any) -> bool:
    return bool(layer.autocast and variable._autocast)  # noqa: SLF001 (Keras tells nobody)


def _under(policy: str, layers: Sequence[LayerInspection]) -> PolicyBytes:
    asked = POLICIES[policy]
    compute, variable = (_item_bytes(d) for d in (asked.compute_dtype, asked.variable_dtype))
    castable = sum(layer.castable_parameters for layer in layers) if compute != variable else 0
    return PolicyBytes(
        policy=policy,
        parameter_bytes=variable * sum(layer.parameters for layer in layers),
        copy_bytes=compute * castable,
        activation_bytes=compute * sum(layer.activations for layer in layers),
    )


def _bytes(tensor: Any, dtype: str) -> int:
    return size(tensor) * _item_bytes(dtype)


def _item_bytes(dtype: str) -> int:
    return FORMATS[dtype].bits // 8


def _unique(tensors: Sequence[Any]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(dtype_of(tensor) for tensor in tensors))


def _joined(dtypes: Iterable[str]) -> str | None:
    return ", ".join(dict.fromkeys(dtypes)) or None


def _optimizer_name(optimizer: Any) -> str | None:
    return None if optimizer is None else type(innermost(optimizer)).__name__


def _loss_scaling(optimizer: Any) -> str | None:
    if not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return None
    law = getattr(optimizer, "scale", None)  # Keras' own wrapper has no such law.
    return f"{type(optimizer).__module__.split('.')[0]}: {law or optimizer.initial_scale}"


def _batch_note(batch_size: int) -> tuple[str, ...]:
    if batch_size % MULTIPLE == 0:
        return ()
    good = good_size(batch_size)
    return (f"The batch size {batch_size} misses the tensor cores; the next that suits is {good}.",)
