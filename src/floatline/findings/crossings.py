"""Losses that compare every row's prediction with every row's target, for want of equal shapes.

A prediction of shape (n, 1) beside a target of shape (n,) gives (n, n). Where the loss then sums or
averages all of that, it is the sum of one and the same function of each prediction: no prediction
learns which target is its own, and the best that all of them can be is one number.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from floatline.findings.graph import Graph, graph
from floatline.findings.operations import Kind, kind
from floatline.records import Site, Trace

LEAST_ROWS = 4
"""Rows of a batch below which a count of n * n is too easily met by chance."""

_MIXES: tuple[Kind, ...] = (
    "convolution",
    "matmul",
    "norm",
    "normalization",
    "reduction",
    "softmax",
    "unscale",
)
"""Kinds whose results depend on more than the elements at their own place."""

_LINEAR: tuple[Kind, ...] = ("add", "cast", "divide", "multiply", "subtract")
"""Kinds that may follow once a part of the (n, n) is summed: what is not linear means that part."""

_NEGATIVES = ("neg", "negative")
_SUMS = ("sum", "mean", "reduce_sum", "reducesum", "nansum", "nanmean")
_WHOLE_LOSSES = ("mse_loss", "smooth_l1_loss", "huber_loss")
"""PyTorch's losses that stretch, compare and average in one operation."""


@dataclass(frozen=True, slots=True)
class Crossing:
    """Where each prediction meets each target.

    Attributes:
        site: The operation.
        rows: Rows of the batch, n.
        predicted: The side that depends on the weights.
        given: The side that is made of the batch alone.
        only: Whether nothing else on the way to the loss, outside of layers, knows of both
            predictions and batch: then no row can learn its own target.
    """

    site: Site
    rows: int
    predicted: Site
    given: Site
    only: bool


@dataclass(frozen=True, slots=True)
class _Origins:
    """Of every site, what it is made of; a site may be made of neither."""

    weights: frozenset[int]
    batch: frozenset[int]
    unknown: frozenset[int]

    def predicted(self, index: int) -> bool:
        """Whether a value depends on weights and on the batch."""
        return index in self.weights and index in self.batch

    def given(self, index: int) -> bool:
        """Whether a value is made of the batch alone."""
        return index in self.batch and index not in self.weights | self.unknown


def crossing(trace: Trace) -> Crossing | None:
    """The first place where a loss crosses rows by mistake, or None.

    None, too, where predictions are compared with each other as well (a contrast, a distance of
    distributions), where a mask of (n, n) takes part, and where a row keeps a meaning of its own:
    a minimum, a softmax, a logarithm of a row's sum.
    """
    view, made = graph(trace), _origins(trace)
    ahead = view.leading_to(trace.losses, through=lambda site: site.place.phase == "forward")
    found = [c for index in sorted(ahead) if (c := _crossing(view, made, trace.sites[index]))]
    if not found or not _all_summed(view, ahead, found) or _pairs(view, made, ahead, found[0].rows):
        return None
    crossed = _following(view, ahead, found)
    only = not any(
        index not in crossed and _meets(view, made, trace.sites[index]) for index in ahead
    )
    first = found[0]
    return Crossing(first.site, first.rows, first.predicted, first.given, only)


def _origins(trace: Trace) -> _Origins:
    weights, batch, unknown = set[int](), set[int](), set[int]()
    for site in trace.sites:
        for group in (weights, batch, unknown):
            if not group.isdisjoint(site.inputs):
                group.add(site.index)
        if site.role == "parameter":
            weights.add(site.index)
        elif site.role == "input" or _is_data(site):
            batch.add(site.index)
        elif site.role == "value" and not site.inputs and site.statistics.count > 1:
            unknown.add(site.index)
    return _Origins(frozenset(weights), frozenset(batch), frozenset(unknown))


def _is_data(site: Site) -> bool:
    """Whether whole numbers of the batch are cast here: those are no sites themselves."""
    return site.role == "value" and not site.inputs and kind(site.place.operation) == "cast"


def _crossing(view: Graph, made: _Origins, site: Site) -> Crossing | None:
    if site.role != "value" or kind(site.place.operation) in _MIXES:
        return None
    values = [s for s in view.inputs(site) if s.statistics.count > 1]
    predicted = [s for s in values if made.predicted(s.index)]
    given = [s for s in values if made.given(s.index)]
    if len(values) != 2 or len(predicted) != 1 or len(given) != 1:
        return None
    one, other, rows = predicted[0], given[0], predicted[0].statistics.count
    if rows < LEAST_ROWS or not _has_rows(one, rows) or not _has_rows(other, rows):
        return None
    if other.statistics.count >= rows * rows or _pairs_made(view, site) != rows * rows:
        return None
    return Crossing(site, rows, one, other, only=False)


def _has_rows(site: Site, rows: int) -> bool:
    """Whether a value is n numbers, or a part of it is: a column of a table with n rows."""
    return site.statistics.count == rows or site.shape[:1] in ((rows,), (None,))


def _pairs_made(view: Graph, site: Site) -> int:
    """How many elements an operation works on: of a whole loss, its gradient tells."""
    if site.place.operation not in _WHOLE_LOSSES or site.statistics.count != 1:
        return site.statistics.count
    name, read = f"{site.place.operation}_backward", set(site.inputs)
    readers = (view.trace.sites[i] for i in view.readers[site.inputs[0]])
    backward = (s for s in readers if s.place.operation == name and read <= set(s.inputs))
    return max((s.statistics.count for s in backward), default=0)


def _following(view: Graph, ahead: frozenset[int], found: Iterable[Crossing]) -> set[int]:
    """The crossings and all that is made of them on the way to the loss."""
    made = {c.site.index for c in found}
    for index in sorted(ahead):
        if not made.isdisjoint(view.trace.sites[index].inputs):
            made.add(index)
    return made


def _all_summed(view: Graph, ahead: frozenset[int], found: list[Crossing]) -> bool:
    """Whether every element of the (n, n) counts alike, down to the loss."""
    pairs = found[0].rows ** 2
    crossed = _following(view, ahead, found)
    starts = {c.site.index for c in found}
    return all(
        _counts_alike(view, view.trace.sites[index], crossed, pairs) for index in crossed - starts
    )


def _counts_alike(view: Graph, site: Site, crossed: set[int], pairs: int) -> bool:
    inputs, what = view.inputs(site), kind(site.place.operation)
    others = [s for s in inputs if s.index not in crossed]
    own = max(s.statistics.count for s in inputs if s.index in crossed)
    if own == 1:
        return True
    if any(s.statistics.count**2 > pairs for s in others):
        return False  # A mask, or another table of pairs.
    if what == "reduction" and site.statistics.count < own:
        return site.place.operation.lower() in _SUMS
    if site.statistics.count != own:
        return False
    if own < pairs:
        return what in _LINEAR or site.place.operation.lower() in _NEGATIVES
    return what not in _MIXES


def _pairs(view: Graph, made: _Origins, ahead: frozenset[int], rows: int) -> bool:
    """Whether predictions are paired with each other, on purpose then."""
    for index in ahead:
        site = view.trace.sites[index]
        values = [s for s in view.inputs(site) if s.statistics.count > 1]
        own = bool(values) and all(made.predicted(s.index) for s in values)
        small = all(s.statistics.count == rows for s in values)
        if own and small and site.statistics.count == rows * rows:
            return True
    return False


def _meets(view: Graph, made: _Origins, site: Site) -> bool:
    """Whether predictions and batch meet here, outside of layers."""
    if site.place.layer is not None or kind(site.place.operation) in ("convolution", "matmul"):
        return False
    values = [s.index for s in view.inputs(site) if s.statistics.count > 1]
    return any(map(made.predicted, values)) and any(map(made.given, values))
