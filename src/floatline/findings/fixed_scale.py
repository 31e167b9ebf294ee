"""A loss scale that a loop writes itself: a number times the loss, divided out of its gradients."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from floatline.findings.case import Case
from floatline.findings.causes import BACKWARD
from floatline.findings.graph import Graph, graph
from floatline.findings.operations import kind
from floatline.findings.window import low_format, window
from floatline.records import History, Site, Trace

LEAST_SCALE = 2.0
"""Below it, nothing is lost by taking a factor for no scale."""

SAME = 1e-3
"""Relative distance at which two ratios of measured maxima are the same number."""


@dataclass(frozen=True, slots=True)
class FixedScale:
    """A loss scale that is a number of the code.

    Attributes:
        site: The scaled loss.
        scale: The number.
        fits: The largest power of two at which no gradient of the step overflows.
    """

    site: Site
    scale: float
    fits: float


def fixed_too_high(case: Case) -> FixedScale | None:
    """The fixed scale at which gradients overflow, where a lower one, 1 or more, would do.

    Gradients are linear in the scale: from one step follows which scale fits it.
    """
    state = case.outcome
    if not case.loud or state.float32_fails or not state.broken:
        return None
    if any(origin.forward or origin.rule not in BACKWARD for origin in case.loud):
        return None
    found = fixed_scale(case.loud[0].trace)
    return found if found and 1.0 <= found.fits < found.scale else None


def fixed_scale(trace: Trace) -> FixedScale | None:
    """The scale of a step that no optimizer or scaler keeps, or None."""
    name = low_format(trace)
    if trace.loss_scale is not None or name is None:
        return None
    view = graph(trace)
    for site in _near_the_loss(view):
        factor = _factor(view, site)
        if factor >= LEAST_SCALE and any(_close(factor, r) for r in _divisors(view)):
            # What the window calls 1 is the scale of this step, which the trace does not know.
            high = window(trace, name).high
            fits = 2.0 ** math.floor(math.log2(factor * high)) if high else math.inf
            return FixedScale(site, factor, fits)
    return None


def shown_scale(history: History, traces: Sequence[Trace]) -> float:
    """The number that is in every loss as it was watched: 1 unless it is certain.

    It is certain where every traced step shows the same number of the code, and where it cannot
    have been lowered meanwhile: no step has overflowed, or each has.
    """
    scales = [_scale_of_the_loss(graph(trace)) for trace in traces]
    overflows = {record.finite_gradients for record in history.steps}
    same = bool(scales) and all(_close(scale, scales[0]) for scale in scales)
    certain = same and scales[0] >= LEAST_SCALE and len(overflows) == 1
    return _as_written(scales[0]) if certain else 1.0


def before_unscaling(view: Graph, gradient: Site, scale: float) -> Site | None:
    """What a gradient was before a number of the code was divided out of it, or None."""
    site = view.uncast(gradient)
    values = [s for s in view.inputs(site) if s.role == "value"]
    if kind(site.place.operation) not in ("divide", "multiply") or len(values) != 1:
        return None
    return values[0] if _close(_ratio(values[0], site), scale) else None


def _as_written(ratio: float) -> float:
    """The number that a measured ratio is: a power of two, or one of few digits."""
    power = 2.0 ** round(math.log2(ratio))
    return power if math.isclose(power, ratio, rel_tol=1e-5) else float(f"{ratio:.5g}")


def _scale_of_the_loss(view: Graph) -> float:
    """The number of the code that the loss of a step was multiplied by, and gradients divided."""
    if view.trace.loss_scale is not None or not view.trace.losses:
        return 1.0
    loss = view.trace.sites[view.trace.losses[0]]
    others = [site for site in view.inputs(loss) if site.role != "value"]
    factor = _factor(view, loss)
    divided = any(_close(factor, ratio) for ratio in _divisors(view))
    return factor if divided and all(site.role == "constant" for site in others) else 1.0


def _near_the_loss(view: Graph) -> Iterator[Site]:
    """The loss that the trace knows, and what it was, or is, scaled from: a step may return it."""
    for index in view.trace.losses:
        loss = view.trace.sites[index]
        yield loss
        yield from view.inputs(loss)


def _factor(view: Graph, site: Site) -> float:
    """What a scalar was multiplied by, 0 where it is no product of one value and a number."""
    values = [s for s in view.inputs(site) if s.role == "value"]
    if kind(site.place.operation) != "multiply" or site.statistics.count != 1 or len(values) != 1:
        return 0.0
    return _ratio(site, values[0])


def _divisors(view: Graph) -> Iterator[float]:
    """What single gradients are divided by on their way to the update; a loss is none."""
    for site in view.trace.sites:
        if site.index in view.trace.losses:
            continue
        values = [s for s in view.inputs(site) if s.role == "value"]
        scales = kind(site.place.operation) in ("divide", "multiply")
        if scales and len(values) == 1 and site.place.phase != "backward":
            yield _ratio(values[0], site)


def _ratio(above: Site, below: Site) -> float:
    over, under = above.statistics.max_abs, below.statistics.max_abs
    return over / under if under and math.isfinite(over) else 0.0


def _close(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=SAME)
