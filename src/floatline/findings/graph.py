"""A trace as a graph: who reads whose values, and what values lead where."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from floatline.findings.operations import kind
from floatline.formats import FORMATS, LOW_FORMATS, Format
from floatline.records import Site, Trace

ORDINARY_SUM = 1e18
"""Magnitude up to which sums, differences and products of two numbers are finite in float32."""

DECISIVE_ERROR = 0.2
"""Relative error of a gradient or loss above which training follows another direction."""


@dataclass(frozen=True, slots=True)
class Graph:
    """A trace and, for every site, the sites that read it.

    Attributes:
        trace: The trace.
        readers: For every site, the indices of the sites that read it.
        inherited: Sites that are non-finite in the shadow only because a half-precision constant
            was already non-finite before the step began: `inherits`, and what follows from it. The
            -inf of a mask is none, which is -inf in float32 as well.
        second: Gradients that the loss is made of, and what the forward pass makes of them up to
            the loss: a penalty on a gradient.
    """

    trace: Trace
    readers: tuple[tuple[int, ...], ...]
    inherited: frozenset[int] = frozenset()
    second: frozenset[int] = frozenset()

    def harmed(self, site: Site) -> bool:
        """Whether values are non-finite that a training in float32 would not have."""
        return harmed(site) or (site.index in self.inherited and site.statistics.nonfinite > 0)

    def ancestors(self, site: Site, hops: int | None) -> Iterator[Site]:
        """Sites whose values `site` came from, nearest first; `hops` limits how far."""
        sites = self.trace.sites
        for index in _walk(site.index, lambda i: sites[i].inputs, hops):
            yield sites[index]

    def descendants(
        self, site: Site, hops: int | None = None, through: Callable[[Site], bool] | None = None
    ) -> Iterator[Site]:
        """Sites that `site` leads to, nearest first; `through` limits it to sites it accepts."""
        sites = self.trace.sites

        def readers(index: int) -> tuple[int, ...]:
            if through is None:
                return self.readers[index]
            return tuple(i for i in self.readers[index] if through(sites[i]))

        for index in _walk(site.index, readers, hops):
            yield sites[index]

    def inputs(self, site: Site) -> tuple[Site, ...]:
        """The sites that `site` reads."""
        return tuple(self.trace.sites[index] for index in site.inputs)

    def uncast(self, site: Site) -> Site:
        """The value before it was cast."""
        while kind(site.place.operation) == "cast" and site.inputs and site.role == "value":
            site = self.inputs(site)[0]
        return site

    @property
    def ends(self) -> frozenset[int]:
        """Sites that training acts on: what was differentiated, and the gradients.

        A step that raised has got to neither; it ended on what it had in hand.
        """
        ends = frozenset(self.trace.losses) | {g.site for g in self.trace.gradients}
        if self.trace.raised is None:
            return ends
        return ends | {index for index, readers in enumerate(self.readers) if not readers}

    @property
    def written(self) -> frozenset[int]:
        """What the update leaves in the variables, where the gradients it works on are finite.

        Where they are not, a loss scale may yet discard what was computed.
        """
        sites = self.trace.sites
        if any(sites[index].statistics.nonfinite for index in self.ends):
            return frozenset()
        updates = (s for s in sites if s.role == "value" and s.place.phase == "update")
        return frozenset({s.variable: s.index for s in updates if s.variable}.values())

    def leading_to(
        self, ends: Iterable[int], through: Callable[[Site], bool] | None = None
    ) -> frozenset[int]:
        """Sites whose values lead to one of `ends`, the ends included.

        Args:
            ends: Indices of sites.
            through: Limits the way, the ends included, to sites it accepts.
        """
        sites = self.trace.sites
        accepted = [i for i in ends if through is None or through(sites[i])]
        found, stack = set(accepted), accepted
        while stack:
            for index in sites[stack.pop()].inputs:
                if index not in found and (through is None or through(sites[index])):
                    found.add(index)
                    stack.append(index)
        return frozenset(found)

    def influential(self) -> frozenset[int]:
        """Sites that lead to a loss or gradient that is decisively wrong."""
        sites = self.trace.sites
        return self.leading_to(i for i in self.ends if decisively_wrong(sites[i]))

    def misleading(self) -> frozenset[int]:
        """Sites of an update that lead to a decisively wrong change of a variable.

        A gradient may be right and what is made of it not: its norm overflows, and clips it to 0.
        """
        sites = self.trace.sites
        written = (sites[index] for index in self.written)
        changes = (s.index for w in written for s in self.inputs(w) if decisively_wrong(s))
        found = (sites[index] for index in self.leading_to(changes))
        return frozenset(s.index for s in found if s.place.phase == "update")


def graph(trace: Trace) -> Graph:
    """Turns the inputs of every site around."""
    readers: list[list[int]] = [[] for _ in trace.sites]
    for site in trace.sites:
        for index in dict.fromkeys(site.inputs):
            readers[index].append(site.index)
    view = Graph(trace, tuple(map(tuple, readers)))
    return replace(view, inherited=_inherited(view), second=_second(view))


def inherits(trace: Trace, site: Site) -> bool:
    """Whether a site reads a constant that half precision had made non-finite before the step.

    Such a constant, the adapted variance of a Normalization layer, is itself no site, and what it
    would be in float32 is lost. It shows in its reader, whose shadow is not finite although
    nothing that was measured explains it.
    """
    if site.role != "value" or low(site) is None or not site.statistics.shadow_nonfinite:
        return False
    inputs = [trace.sites[index].statistics for index in site.inputs]
    if any(numbers.shadow_nonfinite or numbers.max_abs > ORDINARY_SUM for numbers in inputs):
        return False
    return not inputs or kind(site.place.operation) in ("add", "subtract", "multiply")


def _inherited(view: Graph) -> frozenset[int]:
    found = set[int]()
    for site in view.trace.sites:
        passed = site.statistics.shadow_nonfinite and not found.isdisjoint(site.inputs)
        if passed or (inherits(view.trace, site) and not _masks(view, site)):
            found.add(site.index)
    return frozenset(found)


def _second(view: Graph) -> frozenset[int]:
    """See `Graph.second`.

    What an optimizer is handed, and what it writes, is on no way to a loss: a step may update some
    weights and then compute a loss with them.
    """
    sites, losses = view.trace.sites, frozenset(view.trace.losses)
    handed = {gradient.site for gradient in view.trace.gradients}
    way = view.leading_to(
        losses, through=lambda s: s.index not in handed and s.place.phase != "update"
    )
    inner = {index for index in way if sites[index].place.phase == "backward"}

    def made_of(site: Site) -> bool:
        return site.place.phase == "forward" and site.index not in losses

    made = {s.index for index in inner for s in view.descendants(sites[index], through=made_of)}
    return frozenset(inner | made)


def _masks(view: Graph, site: Site) -> bool:
    """Whether what is infinite only meets an exponential, which makes the zeros of a mask of it."""
    carriers = {s.index for s in view.descendants(site, through=_infinite)} | {site.index}
    readers = {index for carrier in carriers for index in view.readers[carrier]} - carriers
    ahead = (view.trace.sites[index] for index in readers)
    kinds = {kind(s.place.operation) for s in ahead if s.place.phase == "forward"}
    divides = kinds & {"divide", "multiply", "normalization", "root"}
    return not kinds.isdisjoint(("exponential", "softmax")) and not divides


def _infinite(site: Site) -> bool:
    return site.statistics.nonfinite > 0


def low(site: Site) -> Format | None:
    """The half-precision format a site is computed in, or None."""
    return FORMATS[site.dtype] if site.dtype in LOW_FORMATS else None


def literal(site: Site) -> bool:
    """Whether a site is a literal of the code, or the cast of one: no measured value feeds it."""
    return site.role == "constant" or (
        site.role == "value" and not site.inputs and site.shape == () and low(site) is not None
    )


def harmed(site: Site) -> bool:
    """Whether values are non-finite that are finite in float32."""
    return site.statistics.saturated + site.statistics.poisoned > 0


def decisively_wrong(site: Site) -> bool:
    """Whether a site is harmed, or its finite values are off by a decisive share of their sum."""
    return harmed(site) or site.statistics.error >= DECISIVE_ERROR


def _walk(
    start: int, neighbours: Callable[[int], tuple[int, ...]], hops: int | None
) -> Iterator[int]:
    seen, queue = {start}, deque([(start, 0)])
    while queue:
        index, distance = queue.popleft()
        if hops is not None and distance == hops:
            continue
        for neighbour in neighbours(index):
            if neighbour not in seen:
                seen.add(neighbour)
                queue.append((neighbour, distance + 1))
                yield neighbour
