"""Which layer owns each input of a step: Keras', or what the state of a pure step is built of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from floatline.backends.jax.builder import StepJaxpr
from floatline.backends.paths import owner_path

MATRIX_RANK = 2
"""Dimensions from which an array is the main weight of a layer; biases and scales have fewer."""


def owners(step: StepJaxpr) -> dict[str, str | None]:
    """The layer of every input, by its path.

    A part of a state is a layer when it holds one matrix, with whatever vectors belong to it. One
    that holds several is a model, or all of the state: then each of its arrays stands for itself.
    """
    variables, state = step.paths[: step.variables], step.paths[step.variables :]
    own = {path: owner_path(path, step.root) for path in variables}
    shapes = zip(state, step.jaxpr.in_avals[step.variables :], strict=True)
    return own | owners_in_state({path: getattr(aval, "shape", ()) for path, aval in shapes})


def owners_in_state(shapes: Mapping[str, tuple[Any, ...]]) -> dict[str, str | None]:
    """The layers of the arrays of a state, from their shapes by path.

    Example:

    >>> owners_in_state({"state/a/w": (8, 4), "state/a/b": (4,), "state/o/w": (4, 1)})
    {'state/a/w': 'state/a', 'state/a/b': 'state/a', 'state/o/w': 'state/o'}
    >>> owners_in_state({"state/w1": (8, 4), "state/b1": (4,), "state/w2": (4, 1)})
    {'state/w1': 'state/w1', 'state/b1': 'state/b1', 'state/w2': 'state/w2'}
    """
    parts = {path: owner_path(path, None) for path in shapes}
    matrices = [parts[path] for path, shape in shapes.items() if len(shape) >= MATRIX_RANK]
    return {
        path: part if part is None or matrices.count(part) <= 1 else path
        for path, part in parts.items()
    }
