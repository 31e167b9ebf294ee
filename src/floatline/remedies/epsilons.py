"""Remedies of a layer's epsilon: one that its format can hold."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from floatline.formats import FORMATS, LOW_FORMATS
from floatline.precision.plan import Plan
from floatline.records import Finding, LayerRecord
from floatline.repairs import Remedy

RULES = ("FL111", "FL203")
"""Rules of what an epsilon was to guard: an operation, or its gradient."""


def held_epsilon(dtype: str) -> float:
    """The smallest power of ten that is a normal number of a format; its inverse is finite, too.

    Example:

    >>> held_epsilon("float16"), held_epsilon("bfloat16")
    (0.0001, 1e-37)
    """
    return float(f"1e{math.ceil(math.log10(FORMATS[dtype].min_normal))}")


def larger_epsilon(layer: LayerRecord, before: float, rule: str) -> Remedy:
    """A layer keeps its dtype, and adds a number that this can hold."""
    value = held_epsilon(layer.compute_dtype)
    return Remedy(
        "larger-epsilon",
        f"Give layer {layer.path!r} the epsilon {value:g}.",
        f"No time or memory; in float32, too, the layer damps what is not far above {value:g}, "
        f"where it damped what is not far above {before:g}.",
        Plan().with_epsilon(
            layer.path,
            value,
            reason=f"{before:g} is 0, or its inverse infinite, in {layer.compute_dtype} ({rule}).",
        ),
        rule,
    )


def larger_epsilons(
    failures: Iterable[Finding], layers: Sequence[LayerRecord]
) -> list[tuple[Remedy, ...]]:
    """For the layers that are named, and then for all of their classes, which have it as well."""
    found = [f for f in failures if f.rule in RULES and f.place is not None and f.place.layer]
    named = {f.place.layer: f.rule for f in reversed(found) if f.place}
    lost = {layer.path: layer for layer in layers if _is_lost(layer)}
    mine = [layer for layer in lost.values() if layer.path in named]
    classes = {layer.layer_class for layer in mine}
    alike = [layer for layer in lost.values() if layer.layer_class in classes]
    if not mine:
        return []
    rule = named[mine[0].path]
    return [
        tuple(larger_epsilon(layer, layer.epsilon or 0.0, rule) for layer in group)
        for group in (mine, alike)
    ]


def _is_lost(layer: LayerRecord) -> bool:
    low = layer.compute_dtype in LOW_FORMATS and layer.epsilon is not None
    return low and 0 < (layer.epsilon or 0.0) < FORMATS[layer.compute_dtype].min_normal
