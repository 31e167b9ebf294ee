"""Makes the policies of sublayers survive `model.save`, and says which cannot."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from typing import Any

import keras

from floatline.layers import computes_on_floats, is_container, walk
from floatline.precision.matching import Place, lies_in

_ADVICE = "load it under `floatline.enable(plan)`, or apply the plan after loading."


def remember_sublayers(found: Sequence[Place], undoing: contextlib.ExitStack) -> tuple[str, ...]:
    """Writes differing policies of sublayers into the policy of the built-in layer around them.

    Attention and recurrent layers make their sublayers themselves, with their own dtype policy,
    when they are loaded. A `DTypePolicyMap` is Keras' way of giving each its own.

    Returns:
        Notes on sublayers whose policies a saved model cannot hold.
    """
    lost, makers = [], []
    for place in found:
        if is_container(place.layer):
            continue
        different = _differing(place.layer)
        if _is_keras_own(place.layer):
            _map(place.layer, different, undoing)
            # Keras gives no path to a sublayer that has nothing to build: attention's softmax.
            different = [(path, layer) for path, layer in different if not layer.path]
            different += _of_backward_layer(place.layer)
            lost += [f"{place.shown}/{path}" for path, _ in different]
        elif different or _differing(place.layer, keras.config.dtype_policy()):
            makers.append(place)
    notes = [_lost_note(lost)] if lost else []
    return (*notes, *([_makers_note(makers)] if makers else []))


def _map(layer: Any, different: Sequence[tuple[str, Any]], undoing: contextlib.ExitStack) -> None:
    policies = {
        # The end of a path, whatever the model around it is called when it is loaded.
        f".*/{re.escape(path)}": keras.dtype_policies.get(_plain_name(sub))
        for path, sub in different
        if sub.path
    }
    if not policies:
        return
    # Keras reads a map without an explicit default as "whatever is global when it is loaded".
    own = keras.dtype_policies.DTypePolicy(_plain_name(layer))
    undoing.callback(setattr, layer, "_dtype_policy", layer.dtype_policy)
    layer._dtype_policy = keras.dtype_policies.DTypePolicyMap(own, policies)  # noqa: SLF001 (the setter would write into a shared map)


def _differing(layer: Any, like: Any = None) -> list[tuple[str, Any]]:
    """The sublayers with other dtypes than the layer itself, or than a policy that is given."""
    like = like or layer
    own = (like.compute_dtype, like.variable_dtype)
    return [
        (path, sub)
        for path, sub in walk(layer)
        if computes_on_floats(sub) and (sub.compute_dtype, sub.variable_dtype) != own
    ]


def _of_backward_layer(layer: Any) -> list[tuple[str, Any]]:
    """What differs in a backward layer: Keras makes it after the likeness of the forward one."""
    if not isinstance(layer, keras.layers.Bidirectional):
        return []
    forward, backward = layer.forward_layer, layer.backward_layer
    ahead = [forward, *(sub for _, sub in walk(forward))]
    back = [("", backward), *walk(backward)]
    return [
        (f"{backward.name}/{path}".rstrip("/"), sub)
        for (path, sub), like in zip(back, ahead, strict=False)
        if (sub.compute_dtype, sub.variable_dtype) != (like.compute_dtype, like.variable_dtype)
    ]


def _is_keras_own(layer: Any) -> bool:
    return type(layer).__module__.startswith("keras.")


def _plain_name(layer: Any) -> str:
    compute, variable = layer.compute_dtype, layer.variable_dtype
    return str(compute if compute == variable else f"mixed_{compute}")


def _lost_note(paths: Sequence[str]) -> str:
    return (
        f"A saved model cannot hold the policies of {', '.join(paths)}, which the layers around "
        f"them make anew: {_ADVICE}"
    )


def _makers_note(places: Sequence[Place]) -> str:
    """Layers and models with a class of the user's: only the outermost are named."""
    paths = [place.path for place in places]
    outermost = [
        place.shown
        for place in places
        if not any(path != place.path and lies_in(place.path, path) for path in paths)
    ]
    return (
        f"A saved model cannot hold the policies of the layers that {', '.join(outermost)} makes "
        f"in its constructor, unless it hands them its own `dtype_policy`: {_ADVICE}"
    )
