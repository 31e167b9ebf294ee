"""How much of each layer's gradient was flushed to zero, and whether underflow did it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from floatline.findings.operations import kind
from floatline.records import Site, Trace

UNDERFLOW_SHARE = 0.1
"""Share of an operation's nonzero results that it must flush itself to be called underflow.
Below that, the gradient is zero because a factor was: another fault's consequence."""


@dataclass(frozen=True, slots=True)
class LayerGradient:
    """The gradient of one layer's weights in one traced step.

    Attributes:
        layer: Path of the layer, or of the variable when it is outside every layer.
        elements: Elements of all its gradients.
        nonzero: Elements that are nonzero in float32.
        flushed: Elements of those that were computed as 0.
        error: Relative error, weighted by nonzero elements.
        shrunk: Part of its largest magnitude that is gone: another path may keep elements from 0.
        origin: The backward operation at which it underflows, or None.
        site: The gradient handed to the optimizer of which most elements were flushed.
    """

    layer: str
    elements: int
    nonzero: int
    flushed: int
    error: float
    shrunk: float
    origin: Site | None
    site: Site

    @property
    def share(self) -> float:
        """Share of the nonzero elements that were flushed."""
        return self.flushed / self.nonzero if self.nonzero else 0.0

    @property
    def lost(self) -> float:
        """Share of the elements or of the magnitude that is gone, whichever is more."""
        return max(self.share, self.shrunk)

    def decisive(self, share: float) -> bool:
        """Whether underflow took at least `share` of what the gradient should be."""
        return self.origin is not None and self.lost >= share and self.error >= share


def all_lost(traces: Iterable[Sequence[LayerGradient]]) -> bool:
    """Whether every gradient of every traced step is 0, and float32 has others there.

    Args:
        traces: For every traced step, its gradients by layer.
    """
    steps = [(sum(g.flushed for g in step), sum(g.nonzero for g in step)) for step in traces]
    return bool(steps) and all(0 < nonzero == flushed for flushed, nonzero in steps)


def layer_gradients(trace: Trace) -> tuple[LayerGradient, ...]:
    """Gradients of a traced step, gathered by layer, in the optimizer's order."""
    origins = _underflows(trace)
    layers: dict[str, list[Site]] = {}
    for gradient in trace.gradients:
        name = gradient.layer or gradient.variable
        layers.setdefault(name, []).append(trace.sites[gradient.site])
    return tuple(_gather(trace, origins, layer, sites) for layer, sites in layers.items())


def most_flushed(traces: Iterable[Trace]) -> tuple[Trace, tuple[LayerGradient, ...]] | None:
    """The trace in which the largest share of all gradients was flushed; None if none was.

    Zeros that no operation flushed, as those of rows that other ids point to, are no such loss.
    """
    tables = [(trace, layer_gradients(trace)) for trace in traces]
    flushed = [table for table in tables if any(layer.origin for layer in table[1])]
    return max(flushed, key=lambda table: _share(table[1]), default=None)


def added_to_old(traces: Sequence[Trace]) -> bool:
    """Whether a step adds its gradients to those that an earlier one has used: none cleared them.

    The first step has none to add to. Where its weights move already, nothing is accumulated.
    """
    updating = [t for t in traces if any(s.place.phase == "update" and s.variable for s in t.sites)]
    if len(updating) < 2 or updating[0].step != 0:
        return False
    now = _onto_old(updating[-1])
    return bool(now) and all(now) and not any(_onto_old(updating[0]))


def _onto_old(trace: Trace) -> list[bool]:
    """For every gradient of a step, whether it is added to what no operation of the step made."""
    sites = [trace.sites[gradient.site] for gradient in trace.gradients]
    return [
        kind(site.place.operation) == "add"
        and len(site.inputs) == 1
        and site.statistics.max_abs != trace.sites[site.inputs[0]].statistics.max_abs
        for site in sites
        if site.statistics.shadow_nonzero
    ]


def _share(layers: Sequence[LayerGradient]) -> float:
    nonzero = sum(layer.nonzero for layer in layers)
    return sum(layer.flushed for layer in layers) / nonzero if nonzero else 0.0


def _gather(trace: Trace, origins: dict[int, int], layer: str, sites: list[Site]) -> LayerGradient:
    nonzero = sum(s.statistics.shadow_nonzero for s in sites)
    weighted = sum(s.statistics.error * s.statistics.shadow_nonzero for s in sites)
    largest = max(sites, key=lambda s: s.statistics.flushed)
    origin = origins.get(largest.index)
    full = max(s.statistics.max_abs for s in sites)
    kept = max(_largest(s) for s in sites)
    return LayerGradient(
        layer=layer,
        elements=sum(s.statistics.count for s in sites),
        nonzero=nonzero,
        flushed=sum(s.statistics.flushed for s in sites),
        error=weighted / nonzero if nonzero else 0.0,
        shrunk=max(0.0, 1.0 - kept / full) if full else 0.0,
        origin=None if origin is None else trace.sites[origin],
        site=largest,
    )


def _largest(site: Site) -> float:
    return math.inf if site.statistics.nonfinite else site.statistics.computed_max_abs


def _underflows(trace: Trace) -> dict[int, int]:
    """For every site behind the forward pass, the earliest backward one that flushes by itself.

    A gradient that is clipped, or unscaled, before the optimizer has it belongs to the update.
    """
    earliest: dict[int, int] = {}
    for site in trace.sites:
        if site.place.phase == "forward":
            continue
        before = [earliest[i] for i in site.inputs if i in earliest]
        if site.place.phase == "backward" and _flushes(site):
            before.append(site.index)
        if before:
            earliest[site.index] = min(before)
    return earliest


def _flushes(site: Site) -> bool:
    numbers = site.statistics
    return 0 < numbers.local_flushed >= UNDERFLOW_SHARE * numbers.shadow_nonzero
