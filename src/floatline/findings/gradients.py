"""How much of each layer's gradient was flushed to zero, and whether underflow did it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from floatline.findings.graph import Graph, graph
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
        origin: The backward operation at which it underflows, or None.
    """

    layer: str
    elements: int
    nonzero: int
    flushed: int
    error: float
    origin: Site | None

    @property
    def share(self) -> float:
        """Share of the nonzero elements that were flushed."""
        return self.flushed / self.nonzero if self.nonzero else 0.0

    def decisive(self, share: float) -> bool:
        """Whether underflow took at least `share` of the elements and of the magnitude."""
        return self.origin is not None and self.share >= share and self.error >= share


def layer_gradients(trace: Trace) -> tuple[LayerGradient, ...]:
    """Gradients of a traced step, gathered by layer, in the optimizer's order."""
    view = graph(trace)
    layers: dict[str, list[Site]] = {}
    for gradient in trace.gradients:
        name = gradient.layer or gradient.variable
        layers.setdefault(name, []).append(trace.sites[gradient.site])
    return tuple(_gather(view, layer, sites) for layer, sites in layers.items())


def _gather(view: Graph, layer: str, sites: list[Site]) -> LayerGradient:
    nonzero = sum(s.statistics.shadow_nonzero for s in sites)
    weighted = sum(s.statistics.error * s.statistics.shadow_nonzero for s in sites)
    flushed = sum(s.statistics.flushed for s in sites)
    origin = None
    if flushed:
        largest = max(sites, key=lambda s: s.statistics.flushed)
        origin = _underflow(view, largest)
    elements = sum(s.statistics.count for s in sites)
    error = weighted / nonzero if nonzero else 0.0
    return LayerGradient(layer, elements, nonzero, flushed, error, origin)


def _underflow(view: Graph, gradient: Site) -> Site | None:
    """The earliest backward operation behind a gradient that flushes decisively by itself."""
    behind: Iterable[Site] = (gradient, *view.ancestors(gradient, len(view.trace.sites)))
    flushing = [s for s in behind if s.place.phase == "backward" and _flushes(s)]
    return min(flushing, key=lambda s: s.index, default=None)


def _flushes(site: Site) -> bool:
    numbers = site.statistics
    return 0 < numbers.local_flushed >= UNDERFLOW_SHARE * numbers.shadow_nonzero
