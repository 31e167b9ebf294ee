"""One forward pass under watch: which dtypes and shapes each layer is given and returns."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import keras

from floatline.formats import FORMATS
from floatline.layers import is_container
from floatline.patches import wrapped


@dataclass
class Calls:
    """What was seen of one layer, over all of its calls; `arguments` are those of the first."""

    inputs: list[Any] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)
    casts: list[int] = field(default_factory=list)
    arguments: tuple[tuple[Any, ...], dict[str, Any]] | None = None


@dataclass
class Forward:
    """What was seen of a forward pass; keys are identities of layers and variables."""

    calls: dict[int, Calls] = field(default_factory=dict)
    cast_variables: dict[int, str] = field(default_factory=dict)
    made_by: dict[int, Any] = field(default_factory=dict)
    """The innermost layer that returned a tensor first, by the identity of the tensor."""
    taken_by: dict[int, list[Any]] = field(default_factory=dict)
    """The layers that take a tensor, containers left out, by the identity of the tensor."""


def observe(model: Any, specification: Any) -> Forward:
    """Runs the model's forward pass without values, or on zeros; nothing of the model changes.

    On PyTorch Keras' inference of shapes forgets that weights are cast, so it really runs there.

    Args:
        model: A built Keras model.
        specification: A nest of `keras.KerasTensor`, as the model takes it.
    """
    seen = Forward()
    with _watched(seen):
        if keras.backend.backend() == "torch":
            with keras.StatelessScope():
                model(keras.tree.map_structure(_zeros, specification))
        else:
            _Pass(model).compute_output_spec(specification)
    return seen


def size(tensor: Any) -> int:
    """Number of elements; a dimension that is not known counts once."""
    return math.prod(int(dim) if dim is not None else 1 for dim in tensor.shape)


def dtype_of(tensor: Any) -> str:
    """Name of a tensor's dtype."""
    return str(keras.backend.standardize_dtype(tensor.dtype))


class _Pass(keras.Operation):  # type: ignore[misc]  # (Keras carries no types)
    """The model as an operation, whose output Keras computes without values."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self._run = model

    def call(self, inputs: Any) -> Any:
        return self._run(inputs)


def _zeros(tensor: Any) -> Any:
    return keras.ops.zeros(tensor.shape, dtype=tensor.dtype)


@contextlib.contextmanager
def _watched(seen: Forward) -> Iterator[None]:
    def on_call(original: Callable[..., Any], layer: Any, *args: Any, **kwargs: Any) -> Any:
        calls = seen.calls.setdefault(id(layer), Calls())
        calls.arguments = calls.arguments or (args, kwargs)
        inputs = _tensors((args, kwargs))
        for tensor in () if is_container(layer) else inputs:
            seen.taken_by.setdefault(id(tensor), []).append(layer)
        outputs = original(layer, *args, **kwargs)
        calls.inputs += inputs
        calls.outputs += (returned := _tensors(outputs))
        for tensor in returned:
            seen.made_by.setdefault(id(tensor), layer)
        calls.casts.append(_casts(layer, inputs))
        return outputs

    def on_read(original: Callable[..., Any], variable: Any, value: Any) -> Any:
        read = original(variable, value)
        if dtype_of(read) != dtype_of(value):
            seen.cast_variables[id(variable)] = dtype_of(read)
        return read

    with (
        wrapped(keras.Layer, "__call__", on_call),
        # Which weights are cast depends on scopes that nest; only the reading itself tells.
        wrapped(keras.Variable, "_maybe_autocast", on_read),
    ):
        yield


def _tensors(nest: Any) -> list[Any]:
    return [leaf for leaf in keras.tree.flatten(nest) if _is_tensor(leaf)]


def _is_tensor(leaf: Any) -> bool:
    return hasattr(leaf, "shape") and hasattr(leaf, "dtype")


def casts_inputs(layer: Any) -> bool:
    """Whether a layer casts its inputs before it computes; functional models leave it to others."""
    return bool(layer.autocast and layer._convert_input_args)  # noqa: SLF001 (as `__call__` does)


def _casts(layer: Any, inputs: list[Any]) -> int:
    if not casts_inputs(layer):
        return 0
    return sum(
        dtype_of(tensor) in FORMATS and dtype_of(tensor) != layer.input_dtype for tensor in inputs
    )
