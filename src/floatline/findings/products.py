"""Matrix products of a traced step: how much work each is, and which miss the tensor cores."""

from __future__ import annotations

from dataclasses import dataclass

from floatline.findings.graph import Graph, graph, low
from floatline.findings.operations import kind
from floatline.records import Site, Trace

BLOCK = 8
"""Sides of a 16-bit product that are no multiple of this are handled by slower kernels (NVIDIA,
Train With Mixed Precision, section on tensor core shape constraints)."""


@dataclass(frozen=True, slots=True)
class Product:
    """A product of activations with a weight matrix in half precision.

    Attributes:
        site: Its result.
        weight: Shape of the matrix.
        work: Multiplications and additions of the forward pass.
    """

    site: Site
    weight: tuple[int, int]
    work: int

    @property
    def fits(self) -> bool:
        """Whether both sides of the matrix are multiples of the block."""
        return all(side % BLOCK == 0 for side in self.weight)


def products(trace: Trace) -> tuple[Product, ...]:
    """The products with weights in the forward pass of a step, in execution order."""
    view = graph(trace)
    found = (_product(view, site) for site in trace.sites)
    return tuple(product for product in found if product is not None)


def next_size(side: int) -> int:
    """The next multiple of the block.

    Example:

    >>> next_size(50257), next_size(64)
    (50264, 64)
    """
    return -(-side // BLOCK) * BLOCK


def _product(view: Graph, site: Site) -> Product | None:
    multiplies = kind(site.place.operation) == "matmul" and site.place.phase == "forward"
    if not multiplies or low(site) is None:
        return None
    matrices = [shape for read in view.inputs(site) if (shape := _weight(view, read))]
    units = site.shape[-1] if site.shape else None
    if len(matrices) != 1 or units not in matrices[0]:
        return None
    first, second = matrices[0]
    inner = first if units == second else second
    return Product(site, (first, second), 2 * site.statistics.count * inner)


def _weight(view: Graph, site: Site) -> tuple[int, int] | None:
    """The shape of a matrix that is a variable, or the cast of one."""
    site = view.uncast(site)
    match site.shape:
        case (int() as first, int() as second) if site.role == "parameter":
            return first, second
        case _:
            return None
