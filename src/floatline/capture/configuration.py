"""What can be said of a training without running it: layers, precisions, optimizer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras

from floatline.backends.interface import LayerSource
from floatline.capture.cells import variables_of
from floatline.layers import computes_on_floats, epsilon_of, walk
from floatline.records import Configuration, LayerRecord, SourceLine


def no_sources(_layer: Any) -> SourceLine | None:
    """Knows no layer's line."""
    return None


def of_model(
    model: Any,
    *,
    entry: str,
    source: SourceLine | None = None,
    layer_source: LayerSource = no_sources,
    epochs: int | None = None,
) -> Configuration:
    """Describes the training of a compiled Keras model."""
    return Configuration(
        layers=tuple(_layer_records(model, layer_source)),
        entry=entry,
        source=source,
        epochs=epochs,
        compiled=_compiled_model(model),
        **_precision(model.optimizer),
    )


def of_function(
    function: Callable[..., Any],
    known: Sequence[Any],
    *,
    source: SourceLine | None = None,
    layer_source: LayerSource = no_sources,
) -> Configuration:
    """Describes a step function by the models and optimizers that it is known to use."""
    roots = [thing for thing in known if isinstance(thing, keras.Layer)]
    optimizers = [thing for thing in known if isinstance(thing, keras.optimizers.Optimizer)]
    return Configuration(
        layers=tuple(record for root in roots for record in _root_records(root, layer_source)),
        entry="step function",
        source=source,
        compiled=_compiled_function(function),
        **_precision(optimizers[0] if optimizers else None),
    )


def known_objects(function: Callable[..., Any], arguments: Sequence[Any] = ()) -> tuple[Any, ...]:
    """The Keras layers and optimizers that a step function can reach by name.

    Looks at the globals and closure that the function's code names, at the attributes of the
    object that it is bound to, and at the arguments of its first call.
    """
    plain = _plain_function(function)
    reachable: list[Any] = list(arguments)
    if inspect.isfunction(plain) or inspect.ismethod(plain):
        reachable += variables_of(plain).values()
    owner = getattr(function, "__self__", None) or getattr(plain, "__self__", None)
    reachable += list(getattr(owner, "__dict__", {}).values())
    kinds = (keras.Layer, keras.optimizers.Optimizer)
    found = {id(thing): thing for thing in reachable if isinstance(thing, kinds)}
    return tuple(found.values())


def _plain_function(function: Any) -> Any:
    # TensorFlow's compiled functions name the original `python_function`, JAX's `__wrapped__`.
    return getattr(function, "python_function", None) or inspect.unwrap(function)


def _precision(optimizer: Any) -> dict[str, Any]:
    scaling = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    innermost = optimizer
    while getattr(innermost, "inner_optimizer", None) is not None:
        innermost = innermost.inner_optimizer
    return {
        "global_policy": keras.config.dtype_policy().name,
        "optimizer": None if innermost is None else type(innermost).__name__,
        "loss_scaling": scaling,
        "initial_scale": float(optimizer.initial_scale) if scaling else None,
        "learning_rate": _learning_rate(innermost),
    }


def _learning_rate(optimizer: Any) -> float | None:
    # The public property also answers for a schedule, with the rate of its present step.
    rate = getattr(optimizer, "_learning_rate", None)
    return float(rate) if isinstance(rate, keras.Variable) else None


def _compiled_model(model: Any) -> str:
    # Keras compiles nothing on PyTorch, unless it is told to.
    if model.run_eagerly or (keras.backend.backend() == "torch" and not model.jit_compile):
        return "eager"
    return "xla" if model.jit_compile else "graph"


def _compiled_function(function: Any) -> str:
    if not hasattr(function, "python_function"):
        while not hasattr(function, "lower"):  # What JAX has compiled may be wrapped.
            if not hasattr(function, "__wrapped__"):
                return "eager"
            function = function.__wrapped__
        return "xla"
    specification = getattr(function, "function_spec", None)
    return "xla" if getattr(specification, "jit_compile", None) else "graph"


def _root_records(root: Any, layer_source: LayerSource) -> Iterator[LayerRecord]:
    if isinstance(root, keras.Model):
        yield from _layer_records(root, layer_source)
        return
    if computes_on_floats(root):
        yield _layer_record(root, root.name, layer_source)
    for path, layer in walk(root):
        if computes_on_floats(layer):
            yield _layer_record(layer, f"{root.name}/{path}", layer_source)


def _layer_records(model: Any, layer_source: LayerSource) -> Iterator[LayerRecord]:
    for path, layer in walk(model):
        if computes_on_floats(layer):
            yield _layer_record(layer, path, layer_source)


def _layer_record(layer: Any, path: str, layer_source: LayerSource) -> LayerRecord:
    return LayerRecord(
        path=path,
        layer_class=type(layer).__name__,
        compute_dtype=layer.compute_dtype,
        variable_dtype=layer.variable_dtype,
        source=layer_source(layer),
        epsilon=epsilon_of(layer),
    )
