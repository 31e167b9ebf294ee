"""Gradients by layer, as a trace counted them: what was flushed to zero, what was not finite."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from floatline.records import Trace


@dataclass(frozen=True, slots=True)
class LayerGradients:
    """Counts over the gradients of one layer's variables.

    Attributes:
        layer: Path of the layer; None for variables outside every layer.
        elements: Elements of all gradients.
        nonzero: Elements that float32 has nonzero and finite: what can be flushed.
        flushed: Those of them that this precision has as 0.
        nonfinite: Elements that are infinite or NaN in this precision.
    """

    layer: str | None
    elements: int
    nonzero: int
    flushed: int
    nonfinite: int

    @property
    def flushed_share(self) -> float:
        """Share of the nonzero elements that were flushed."""
        return self.flushed / self.nonzero if self.nonzero else 0.0


def by_layer(trace: Trace) -> tuple[LayerGradients, ...]:
    """Adds up the gradients of each layer, in the order of the optimizer's variables."""
    totals: dict[str | None, LayerGradients] = {}
    for gradient in trace.gradients:
        counts = trace.sites[gradient.site].statistics
        before = totals.get(gradient.layer, LayerGradients(gradient.layer, 0, 0, 0, 0))
        totals[gradient.layer] = LayerGradients(
            gradient.layer,
            before.elements + counts.count,
            before.nonzero + counts.shadow_nonzero,
            before.flushed + counts.flushed,
            before.nonfinite + counts.nonfinite,
        )
    return tuple(totals.values())


def most_flushed(traces: Iterable[Trace]) -> tuple[Trace, tuple[LayerGradients, ...]] | None:
    """The trace in which the largest share of all gradients was flushed; None if none was."""
    tables = [(trace, by_layer(trace)) for trace in traces]
    flushed = [entry for entry in tables if any(layer.flushed for layer in entry[1])]
    return max(flushed, key=lambda entry: _share(entry[1]), default=None)


def _share(layers: tuple[LayerGradients, ...]) -> float:
    nonzero = sum(layer.nonzero for layer in layers)
    return sum(layer.flushed for layer in layers) / nonzero if nonzero else 0.0
