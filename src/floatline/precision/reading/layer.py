"""One layer as it is set up: its numbers, the ids that it reads, its products, its neighbours."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from floatline.findings.configured.setup import IdUse, LayerSetup, NumberUse, Role
from floatline.formats import FORMATS, LOW_FORMATS
from floatline.layers import children, epsilon_name, epsilon_of
from floatline.precision.forward import Calls, Forward, casts_inputs, dtype_of, size
from floatline.precision.reading.code import Reading, read
from floatline.precision.reading.kinds import Value, kind_of_dtype
from floatline.precision.tensor_cores import sides
from floatline.precision.variables import own_variables
from floatline.records import SourceLine
from floatline.sources import is_users

LayerLine = Callable[[Any], SourceLine | None]
"""The user's line that made a layer, where it is known."""


def layer_setup(
    layer: Any, path: str, seen: Forward, line: LayerLine, *, cast: bool = True
) -> LayerSetup:
    """Reads a layer.

    Args:
        layer: A layer that computes on floats.
        path: Its path below the model.
        seen: A forward pass of the model.
        line: Tells the user's line that made a layer.
        cast: Whether training casts what the layer is given, as calling it does.
    """
    calls = seen.calls.get(id(layer), Calls())
    low = layer.compute_dtype in LOW_FORMATS
    reading = _code(layer, calls) if low and cast else Reading()
    weights = [v for v in own_variables(layer) if v.trainable and str(v.dtype) in FORMATS]
    product = sides(layer)
    return LayerSetup(
        path=path,
        layer_class=type(layer).__name__,
        compute_dtype=layer.compute_dtype,
        source=line(layer),
        weight_dtype=str(weights[0].dtype) if weights else None,
        weights=sum(size(v) for v in weights),
        typical_weight=_typical(weights),
        numbers=(*reading.numbers, *(_built_in(layer) if low else ())),
        ids=_ids(layer, calls, reading, cast=cast),
        work=_work(product, calls),
        sides=tuple(side for _, side in product),
        inputs_from=_inputs_from(layer, calls, seen),
        outputs_to=_outputs_to(layer, calls, seen),
    )


def arguments_of(layer: Any, calls: Calls) -> Mapping[str, Value]:
    """What is known of the parameters of a layer's `call`, after the layer's own casts."""
    if calls.arguments is None:
        return {}
    args, kwargs = calls.arguments
    parameters = list(inspect.signature(layer.call).parameters)
    given = {**dict(zip(parameters, args, strict=False)), **kwargs}
    return {name: _argument(layer, nest) for name, nest in given.items()}


def _argument(layer: Any, nest: Any) -> Value:
    if isinstance(nest, list | tuple):
        return Value("number", parts=tuple(_argument(layer, part) for part in nest))
    if isinstance(nest, dict):
        return Value("number", parts=tuple(_argument(layer, part) for part in nest.values()))
    if not hasattr(nest, "dtype"):
        return Value("number")
    dtype = dtype_of(nest)
    cast = dtype in FORMATS and casts_inputs(layer)
    return Value(kind_of_dtype(layer.input_dtype if cast else dtype))


def _code(layer: Any, calls: Calls) -> Reading:
    known = arguments_of(layer, calls)
    if isinstance(layer, keras.layers.Lambda):
        function = layer.function
        names = list(inspect.signature(function).parameters)
        return read(function, layer, dict(zip(names, known.values(), strict=False)))
    return read(layer.call, layer, known)


def _built_in(layer: Any) -> Iterator[NumberUse]:
    """Numbers that a layer documents, or keeps under the usual name."""
    if isinstance(layer, keras.layers.Masking):
        yield NumberUse("mask_value", float(layer.mask_value), "mask value")
    elif isinstance(layer, keras.layers.Rescaling):
        yield from _each("scale", layer.scale, layer, "scale")
        yield from _each("offset", layer.offset, layer, "offset")
    elif isinstance(layer, keras.layers.Normalization):
        yield from _normalization(layer)
    elif isinstance(layer, keras.layers.UnitNormalization):
        yield NumberUse("the epsilon inside", 1e-12, "length")
    elif not _known(layer) and (epsilon := epsilon_of(layer)) is not None:
        yield NumberUse(str(epsilon_name(layer)), epsilon, "epsilon", certain=False)


def _known(layer: Any) -> bool:
    """Whether its code was read, or it is of Keras', whose norms compute in float32 inside."""
    keras_own = type(layer).__module__.partition(".")[0] == "keras"
    return keras_own or is_users(inspect.getfile(type(layer)))


def _each(name: str, numbers: Any, layer: Any, role: Role) -> Iterator[NumberUse]:
    """Of several numbers, the first that the format does not hold; they are told once."""
    held = FORMATS[layer.compute_dtype]
    flat = keras.ops.convert_to_numpy(keras.ops.cast(numbers, "float32")).reshape(-1)
    for value in map(float, flat):
        rounded = held.rounded(value)
        if math.isinf(rounded) or (rounded == 0 and value != 0):
            yield NumberUse(name, value, role)
            return


def _normalization(layer: Any) -> Iterator[NumberUse]:
    adapted = getattr(layer, "adapt_mean", None), getattr(layer, "adapt_variance", None)
    given = layer.input_mean, layer.input_variance
    mean, variance = given if given[0] is not None else adapted
    if mean is None or variance is None:
        return
    means, variances = (
        keras.ops.convert_to_numpy(keras.ops.cast(one, "float32")).reshape(-1)
        for one in (mean, variance)
    )
    pairs = [(float(m), math.sqrt(abs(float(v)))) for m, v in zip(means, variances, strict=False)]
    if pairs:  # That whose mean is largest beside its spread.
        largest, spread = max(pairs, key=lambda pair: abs(pair[0]) / (pair[1] or 1.0))
        beyond = max(pairs, key=lambda pair: abs(pair[0]))
        if math.isinf(FORMATS[layer.compute_dtype].rounded(beyond[0])):
            largest, spread = beyond
        yield NumberUse("the mean of a feature", largest, "mean", spread=spread)


def _typical(weights: Sequence[Any]) -> float | None:
    low = [v for v in weights if str(v.dtype) in LOW_FORMATS]
    if not low:
        return None
    largest = max(low, key=size)
    value = keras.ops.convert_to_numpy(keras.ops.cast(largest.value, "float32"))
    return float(np.median(np.abs(value)))


def _ids(layer: Any, calls: Calls, reading: Reading, *, cast: bool) -> IdUse | None:
    if isinstance(layer, keras.layers.Embedding):
        low = [name for name in map(dtype_of, calls.inputs) if name in LOW_FORMATS]
        return IdUse(low[0], layer.input_dim, given=cast) if low else None
    tables = [int(v.shape[0]) for v in own_variables(layer) if len(v.shape)]
    tables += [int(c.input_dim) for c in children(layer) if isinstance(c, keras.layers.Embedding)]
    if not reading.integers or not tables:
        return None
    return IdUse(layer.compute_dtype, max(tables), given=False, source=reading.integers[0])


def _work(product: Sequence[tuple[str, int]], calls: Calls) -> int:
    """Multiplications of one call; of a kernel, each output takes as many as it sums over."""
    if not product or not calls.outputs:
        return 0
    return size(calls.outputs[0]) * product[0][1]


def _inputs_from(layer: Any, calls: Calls, seen: Forward) -> tuple[str, ...]:
    if not _is_plain(layer):
        return ()
    makers = [seen.made_by.get(id(tensor)) for tensor in calls.inputs]
    if any(maker is None for maker in makers):
        return ()
    return tuple(maker.compute_dtype for maker in makers if maker is not None)


def _outputs_to(layer: Any, calls: Calls, seen: Forward) -> tuple[str, ...]:
    if not _is_plain(layer):
        return ()
    mine = {id(tensor) for tensor in calls.outputs if seen.made_by.get(id(tensor)) is layer}
    takers = [taker for key in mine for taker in seen.taken_by.get(key, [])]
    return tuple(taker.compute_dtype for taker in takers)


def _is_plain(layer: Any) -> bool:
    """Whether it only works element by element or along axes: no sublayers, no matrix."""
    return not children(layer) and all(len(v.shape) < 2 for v in layer.variables)
