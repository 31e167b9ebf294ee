"""Whether the loss scale reaches the gradients, and whether they are clipped while it is on them.

A loss scale S is undone by the optimizer, which divides by S. So every gradient handed to it must
be S times the true one: it must descend from S, and nothing fixed may cut it off on the way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from floatline.findings.fixed_scale import before_unscaling, fixed_scale
from floatline.findings.graph import Graph, graph
from floatline.findings.operations import kind
from floatline.records import Site, Trace

SCALE_VARIABLE = "dynamic_scale"
"""Last part of the path of the variable in which Keras keeps the loss scale."""

CLIP_HOPS = 8
"""Operations between the norm of all gradients and the factor by which they are multiplied."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A fixed bound that was put on gradients of the scaled loss.

    Attributes:
        trace: The traced step.
        site: The operation that clips.
        bound: The bound: a norm or a magnitude, in units of the scaled gradients.
        scale: The loss scale that the gradients carry.
    """

    trace: Trace
    site: Site
    bound: float
    scale: float

    @property
    def true_bound(self) -> float:
        """The bound in units of the true gradients, once the optimizer has unscaled them."""
        return self.bound / self.scale


def scaled(trace: Trace) -> bool:
    """Whether a loss scale other than 1 is in force; below 2 nothing is lost by confusing it."""
    return bool(trace.gradients) and trace.loss_scale is not None and trace.loss_scale >= 2.0


_WITHOUT_GRADIENT = ("reads the bits of its input", "draws from values that differ")
"""Why an operation was not followed that nobody differentiates, so it hides no way to a gradient.

The first is in every accuracy of Keras' on TensorFlow and JAX, whose argmax looks for -0.0.
"""


def never_scaled(trace: Trace) -> bool:
    """Whether the optimizer's loss scale is read, but no gradient descends from it.

    Where an operation could not be followed, the way from one to the other may be hidden.
    """
    if any(omitted.reason not in _WITHOUT_GRADIENT for omitted in trace.not_traced):
        return False
    view = graph(trace)
    scales = _scales(trace)
    ends = [gradient.site for gradient in trace.gradients]
    return scaled(trace) and bool(scales) and not scales & view.leading_to(ends)


def clips(trace: Trace) -> Clip | None:
    """The first gradient that is clipped to a fixed bound below the loss scale.

    A bound of the loss scale and more would be one that allows for it.
    """
    if trace.loss_scale is None:
        return _clips_before_division(trace)
    if not scaled(trace) or never_scaled(trace):
        return None
    view = graph(trace)
    for gradient in trace.gradients:
        site = trace.sites[gradient.site]
        if _unscaled(view, site):
            continue
        bound = next(_bounds(view, site), None)
        if bound is not None and bound < trace.loss_scale:
            return Clip(trace, site, bound, trace.loss_scale)
    return None


def _clips_before_division(trace: Trace) -> Clip | None:
    """The same for a loss scale that is a number of the code, which nothing names.

    What a bound was made of, a number does not tell: one that is nearer to 1 than to the scale is
    taken for one that was meant for true gradients.
    """
    fixed = fixed_scale(trace)
    if fixed is None:
        return None
    view = graph(trace)
    for gradient in trace.gradients:
        site = before_unscaling(view, trace.sites[gradient.site], fixed.scale)
        bound = next(_bounds(view, site), None) if site else None
        if site and bound is not None and bound**2 < fixed.scale:
            return Clip(trace, site, bound, fixed.scale)
    return None


def _scales(trace: Trace) -> frozenset[int]:
    return frozenset(s.index for s in trace.sites if s.role == "parameter" and _is_scale(trace, s))


def _is_scale(trace: Trace, site: Site) -> bool:
    """Whether a variable is the loss scale, by Keras' name for it, or by what it holds.

    A loop of pure functions has names of its own.
    """
    if (site.variable or "").endswith(SCALE_VARIABLE):
        return True
    numbers = site.statistics
    return numbers.count == 1 and scaled(trace) and numbers.computed_max_abs == trace.loss_scale


def _bounds(view: Graph, site: Site) -> Iterator[float]:
    """What a gradient is limited to: the largest magnitude left, or factor times norm."""
    what, numbers = kind(site.place.operation), site.statistics
    if what == "bound":
        held = max(view.inputs(site), key=lambda i: i.statistics.max_abs, default=site)
        one_by_one = held.statistics.count <= numbers.count
        if one_by_one and held.statistics.max_abs > numbers.max_abs > 0:
            yield numbers.max_abs
    if what != "multiply":
        return
    for factor in view.inputs(site):
        norms = [n for n in view.ancestors(factor, CLIP_HOPS) if _is_norm(n)]
        shrinks = 0 < factor.statistics.max_abs < 1 and factor.statistics.count == 1
        if shrinks and norms and not _allows_for_scale(view, factor, norms):
            yield factor.statistics.max_abs * norms[0].statistics.max_abs


def _unscaled(view: Graph, site: Site) -> bool:
    """Whether a scaler has divided its scale out of a gradient, as `GradScaler.unscale_` does."""
    return any(kind(s.place.operation) == "unscale" for s in view.ancestors(site, CLIP_HOPS))


def _is_norm(site: Site) -> bool:
    single = site.statistics.count == 1 and site.statistics.max_abs > 1
    return single and kind(site.place.operation) in ("root", "norm")


def _allows_for_scale(view: Graph, factor: Site, norms: list[Site]) -> bool:
    """Whether the loss scale enters the factor on another way than through the norm."""
    beyond = {n.index for n in norms}
    scales, seen, stack = _scales(view.trace), set[int](), [factor.index]
    while stack:
        for index in view.trace.sites[stack.pop()].inputs:
            if index in scales:
                return True
            if index not in seen and index not in beyond:
                seen.add(index)
                stack.append(index)
    return False
