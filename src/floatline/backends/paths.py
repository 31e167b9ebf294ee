"""Paths of layers as people read them: without the model that is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def path_of(layers: Sequence[Any], root: Any | None) -> str | None:
    """Path of the last of nested Keras layers, outermost first; the root alone keeps its name."""
    below = layers[1:] if layers and layers[0] is root else layers
    return "/".join(layer.name for layer in (below or layers)) or None


def owner_path(variable: str, root: Any | None) -> str | None:
    """Path of the layer that owns the variable of this path.

    Example:

    >>> owner_path("encoder/dense/kernel", None)
    'encoder/dense'
    """
    owner = variable.rpartition("/")[0]
    if root is not None:
        owner = owner.removeprefix(f"{root.name}/")
    return owner or None
