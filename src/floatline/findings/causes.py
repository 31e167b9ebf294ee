"""Which root cause an overflow or a breakdown is: every origin belongs to exactly one rule."""

from __future__ import annotations

import math

from floatline.findings.derivatives import divides_by_length, second_order
from floatline.findings.graph import Graph, inherits, literal, low
from floatline.findings.identifiers import picked_by
from floatline.findings.operations import kind
from floatline.formats import FORMATS, Format
from floatline.records import Site

NEAR_HOPS = 4
"""Operations between a lost digit and the division or logarithm that it breaks."""

MASK_HOPS = 2
"""Operations between a mask constant and the sum that it pushes over the edge: (1 - m) * c."""

NORMALIZATION_HOPS = 8
"""Operations between the square and the division in a hand-written normalisation."""

EDGE_SHARE = 0.25
"""A constant of a quarter of the format's range has no use but as a mask, and an exponential that
reaches it overflows once its argument has grown by another ln 4 = 1.4."""

TARGET_FACTOR = 4.0
"""An overflow within this factor of a batch tensor that does not fit is caused by that tensor."""

_FRAGILE = ("divide", "log", "root")
_PROBABLE = ("softmax", "sigmoid", "exponential")


BACKWARD = ("FL110", "FL111", "FL112")
"""Rules of gradients that overflow, which are linear in the loss scale."""

SPECTRUM_HOPS = 6
"""Operations between the parts of a complex number and its power, or the logarithm of that."""

WITH_GRADIENTS = ("FL101", "FL102", "FL106", "FL110", "FL204")
"""Rules that say less than that a gradient is differentiated."""

OF_SPECTRA = ("FL101", "FL102", "FL106", "FL204")
"""Rules that say less than that a spectrum does not fit."""


def cause_of(graph: Graph, site: Site) -> str:
    """The id of the rule that an overflowing or breaking site belongs to."""
    return specific(graph, site, _cause_of(graph, site))


def specific(graph: Graph, site: Site, rule: str) -> str:
    """The rule that says what is special about a site, where another one fits it as well."""
    if rule in WITH_GRADIENTS and second_order(graph, site):
        return "FL112"
    if rule in OF_SPECTRA and site.place.phase == "forward" and _is_spectrum(graph, site):
        return "FL108"
    return rule


def _cause_of(graph: Graph, site: Site) -> str:
    if literal(site):
        return _infinite_literal(graph, site)
    if inherits(graph.trace, site):
        return "FL106" if normalizes(graph, site) else "FL101"
    if picked_by(graph, site):
        return "FL303"
    fragile = kind(site.place.operation) in _FRAGILE or site.statistics.local_nonfinite > 0
    behind = _lost_digit(graph, site) if fragile else None
    if site.place.phase == "update" and (behind or _divides_by_nothing(site)):
        return "FL206"
    if site.place.phase == "backward" and divides_by_length(graph, site):
        return "FL111"
    if behind:
        return behind
    if site.place.phase == "update" and _overflowing_sum(graph, site):
        return "FL102"
    if site.place.phase != "forward" or _is_scaled_loss(graph, site):
        return "FL204" if _breaks_on_what_vanished(graph, site) else "FL110"
    if site.statistics.local_saturated == 0:
        near = graph.ancestors(site, NEAR_HOPS)
        vanished = any(s.statistics.local_flushed or infinite_divisor(graph, s) for s in near)
        return "FL204" if vanished else "FL301"
    return _forward_overflow(graph, site)


def _divides_by_nothing(site: Site) -> bool:
    """Whether an operation in half precision breaks on what it is given, without overflowing."""
    numbers = site.statistics
    return low(site) is not None and numbers.local_nonfinite > 0 == numbers.local_saturated


def one_minus_epsilon(graph: Graph, site: Site) -> bool:
    """Whether a site is 1 - p with p rounded to 1, or the constant 1 - epsilon itself."""
    if site.role == "constant":
        c = site.constant
        return c is not None and 0.99 < c < 1 and site.statistics.computed_max_abs == 1.0
    if kind(site.place.operation) != "subtract" or not site.statistics.flushed:
        return False
    # A literal 1 is exact in every format, and a trace lists only literals that are not.
    others = [i for i in graph.inputs(site) if i.constant != 1.0]
    return len(others) == 1 and others[0].statistics.computed_max_abs == 1.0


def infinite_bound(graph: Graph, site: Site) -> bool:
    """Whether a literal, infinite in the format, was to keep values away from infinity.

    A bound has something to hold back: beside it stands what makes an infinity of finite numbers.
    The log of an impossible event that meets others in a maximum is no bound.
    """
    readers = (graph.trace.sites[index] for index in graph.readers[site.index])
    bounds = (reader for reader in readers if kind(reader.place.operation) == "bound")
    held = (other for bound in bounds for other in graph.inputs(bound) if other is not site)
    return literal(site) and any(_makes_infinity(graph, other) for other in held)


def infinite_divisor(graph: Graph, site: Site) -> bool:
    """Whether a literal is infinite in the format and does nothing but divide: it makes zeros."""
    readers = [graph.trace.sites[index] for index in graph.readers[site.index]]
    infinite = literal(site) and site.statistics.saturated > 0
    return infinite and bool(readers) and all(_divides_by(reader, site) for reader in readers)


def infinite_reciprocal(graph: Graph, site: Site) -> float | None:
    """The literal that a site divides by, where its reciprocal is infinite in the format.

    Compilers (TensorFlow's Grappler, XLA) multiply by the reciprocal of a literal instead.
    """
    ends, inputs = low(site), graph.inputs(site)
    if ends is None or len(inputs) < 2 or kind(site.place.operation) != "divide":
        return None
    divisor = inputs[-1]
    value = divisor.statistics.computed_max_abs if literal(divisor) else 0.0
    return value if value > 0 and 1 / value > ends.max_finite else None


def _divides_by(reader: Site, divisor: Site) -> bool:
    *dividends, last = reader.inputs
    by_it = last == divisor.index and divisor.index not in dividends
    return by_it and kind(reader.place.operation) == "divide"


def _infinite_literal(graph: Graph, site: Site) -> str:
    if infinite_bound(graph, site):
        return "FL203"
    return "FL204" if infinite_divisor(graph, site) else "FL104"


def _makes_infinity(graph: Graph, site: Site) -> bool:
    clean = all(source.statistics.nonfinite == 0 for source in graph.inputs(site))
    return site.role == "value" and clean and site.statistics.nonfinite > 0


def flushed_constant(site: Site) -> bool:
    """Whether a site is a literal that the format rounds to 0."""
    lost = site.constant != 0 and site.constant is not None
    return site.role == "constant" and lost and site.statistics.zero > 0


def edge_constant(site: Site, ends: Format) -> bool:
    """Whether a site is a literal so large that it can only be a mask."""
    return site.constant is not None and abs(site.constant) >= EDGE_SHARE * ends.max_finite


def format_of(site: Site) -> Format:
    """The format in which a site was computed."""
    return low(site) or FORMATS.get(site.dtype, FORMATS["float32"])


def _lost_digit(graph: Graph, site: Site) -> str | None:
    vanished = False
    for ancestor in graph.ancestors(site, NEAR_HOPS):
        if flushed_constant(ancestor):
            return "FL203"
        if one_minus_epsilon(graph, ancestor):
            return "FL203" if _guarded_by_nothing(graph, ancestor) else "FL305"
        vanished |= (
            kind(ancestor.place.operation) in _PROBABLE and ancestor.statistics.local_flushed > 0
        )
    # An epsilon is there to catch what vanished: when it is 0 itself, it comes first. What float32
    # holds, on these very inputs, does not break on their zeros: it overflows.
    if not vanished or site.place.phase != "forward" or not site.statistics.local_nonfinite:
        return None
    return "FL204" if kind(site.place.operation) in ("divide", "root") else "FL205"


def _guarded_by_nothing(graph: Graph, site: Site) -> bool:
    """Whether a literal that the format rounds to 0 is added to a site, to keep it from 0."""
    readers = (graph.trace.sites[index] for index in graph.readers[site.index])
    sums = (reader for reader in readers if kind(reader.place.operation) == "add")
    return any(flushed_constant(other) for added in sums for other in graph.inputs(added))


def _overflowing_sum(graph: Graph, site: Site) -> bool:
    """Whether a sum overflows, or the squares of one, or the product of a vector with itself."""
    what, numbers = kind(site.place.operation), site.statistics
    if not numbers.local_saturated:
        return False
    if what == "matmul":
        return len(set(site.inputs)) == 1
    return what in ("reduction", "norm") or (_is_square(graph, site) and _is_summed(graph, site))


def _breaks_on_what_vanished(graph: Graph, site: Site) -> bool:
    """Whether a gradient divides by a value of the forward pass that is 0 in half precision only.

    The root of a sum of squares is read again by its own gradient: no overflow of that is to blame
    for what it is divided by. In float32 it breaks on such inputs just as well.
    """
    numbers = site.statistics
    if numbers.local_saturated or not numbers.local_nonfinite:
        return False
    vanished = any(i.statistics.flushed > i.statistics.shadow_zero for i in graph.inputs(site))
    near = graph.ancestors(site, NEAR_HOPS)
    return vanished and any(s.statistics.local_flushed and s.place.phase == "forward" for s in near)


def _is_scaled_loss(graph: Graph, site: Site) -> bool:
    return graph.trace.loss_scale is not None and site.index in graph.trace.losses


def _forward_overflow(graph: Graph, site: Site) -> str:
    ends, what = format_of(site), kind(site.place.operation)
    if what == "cast":
        return _cast(graph, site, ends)
    if what == "exponential":
        return "FL103"
    if what in ("add", "subtract", "multiply") and _masks(graph, site, ends):
        return "FL104"
    if what == "matmul" and _is_attention(graph, site):
        return "FL107"
    if what == "matmul" and _sums_products(graph, site, ends):
        return "FL102"
    if what == "normalization":
        return "FL106"
    if _is_square(graph, site):
        return _squares(graph, site)
    if what in ("reduction", "norm"):
        return _sum(graph, site, ends)
    return "FL105" if _out_of_range_target(graph, site, ends) else "FL101"


def _cast(graph: Graph, site: Site, ends: Format) -> str:
    source = _read(graph, site)
    while source is not None and kind(source.place.operation) == "cast" and source.inputs:
        source = graph.inputs(source)[0]
    if source is None and _mask_like(site, ends):
        return "FL104"  # A literal that is exact in float32 is no site; this is one, cast.
    if source is None or source.role == "input":
        return "FL105"  # Integers are not measured; those of the data are cast here.
    if source.role == "constant":
        return "FL104"
    if _is_sum(graph, source):
        return "FL106" if normalizes(graph, site) else _sum(graph, source, ends)
    return "FL105" if _out_of_range_target(graph, site, ends) else "FL101"


def _sum(graph: Graph, total: Site, ends: Format) -> str:
    """The rule of a sum that overflows: its terms are many, or one alone is about to overflow.

    The terms of a softmax or logsumexp written by hand leave the range when their arguments grow by
    a little more: a wider sum would not hold them for long.
    """
    near = graph.ancestors(total, MASK_HOPS)
    powers = (s for s in near if kind(s.place.operation) == "exponential" and s.role == "value")
    alone = any(s.statistics.max_abs >= EDGE_SHARE * ends.max_finite for s in powers)
    return "FL103" if alone else "FL102"


def _read(graph: Graph, site: Site) -> Site | None:
    """The tensor that a site reads, before the numbers beside it (the count of a mean)."""
    inputs = graph.inputs(site)
    return next((i for i in inputs if i.shape), next(iter(inputs), None))


def _is_sum(graph: Graph, site: Site) -> bool:
    """Whether a site is a sum, or a mean, which JAX computes as a sum divided by a number."""
    tensors = [i for i in graph.inputs(site) if i.shape] or graph.inputs(site)
    if kind(site.place.operation) == "divide" and len(tensors) == 1:
        return kind(tensors[0].place.operation) == "reduction"
    return kind(site.place.operation) == "reduction"


def _masks(graph: Graph, site: Site, ends: Format) -> bool:
    near = graph.ancestors(site, MASK_HOPS)
    return any(edge_constant(s, ends) or _mask_like(s, ends) for s in near)


def _mask_like(site: Site, ends: Format) -> bool:
    """Whether a tensor holds nothing but zeros and values at the end of the range."""
    numbers = site.statistics
    return numbers.shadow_zero > 0 and numbers.min_abs_nonzero >= EDGE_SHARE * ends.max_finite


def _is_spectrum(graph: Graph, site: Site) -> bool:
    """Whether a site is computed from a complex number, or is a part of one."""
    near = (site, *graph.ancestors(site, SPECTRUM_HOPS))
    forward = (s for s in near if s.place.phase == "forward")
    return any(kind(s.place.operation) == "spectrum" for s in forward)


def _is_attention(graph: Graph, site: Site) -> bool:
    computed = not any(_is_weight(graph, i) for i in graph.inputs(site))
    ahead = graph.descendants(site, NEAR_HOPS)
    feeds = any(kind(near.place.operation) in ("softmax", "exponential") for near in ahead)
    return computed and (feeds or "Attention" in (site.place.layer_class or ""))


def _sums_products(graph: Graph, site: Site, ends: Format) -> bool:
    """Whether a product of computed tensors overflows although each of its terms fits."""
    factors = graph.inputs(site)
    if not factors or any(_is_weight(graph, i) for i in factors):
        return False
    largest = factors[0].statistics.max_abs * factors[-1].statistics.max_abs
    return largest <= ends.max_finite


def _is_weight(graph: Graph, site: Site) -> bool:
    cast = kind(site.place.operation) == "cast"
    return site.role != "value" or (cast and any(i.role == "parameter" for i in graph.inputs(site)))


def _multiplies_itself(graph: Graph, site: Site) -> bool:
    """Whether a product or a power is a square; a literal that is exact is no site either."""
    if len(set(site.inputs)) != 1:
        return False
    square = graph.inputs(site)[0].statistics.max_abs ** 2
    return len(site.inputs) > 1 or math.isclose(square, site.statistics.max_abs, rel_tol=0.01)


def _is_square(graph: Graph, site: Site) -> bool:
    what = kind(site.place.operation)
    return what == "square" or (what in ("multiply", "power") and _multiplies_itself(graph, site))


def _squares(graph: Graph, site: Site) -> str:
    if normalizes(graph, site):
        return "FL106"
    return "FL102" if _is_summed(graph, site) else "FL101"


def _is_summed(graph: Graph, site: Site) -> bool:
    sums = graph.descendants(site, MASK_HOPS)
    return any(kind(s.place.operation) == "reduction" for s in sums)


def normalizes(graph: Graph, site: Site) -> bool:
    """Whether other values are divided by what becomes of the square."""
    ahead = graph.descendants(site, NORMALIZATION_HOPS, lambda s: s.place.phase == "forward")
    near = {s.index: s for s in ahead}
    by_root = any(kind(s.place.operation) == "root" for s in near.values())
    known = near.keys() | {site.index}
    for reached in near.values():
        what = kind(reached.place.operation)
        other = any(i.role == "value" and i.index not in known for i in graph.inputs(reached))
        divides = what == "divide" and reached.inputs[-1] in known
        if other and (divides or (what == "multiply" and by_root)):
            return True
    return False


def _out_of_range_target(graph: Graph, site: Site, ends: Format) -> bool:
    return any(
        other.role == "input"
        and other.dtype in FORMATS
        and other.statistics.max_abs > ends.max_finite
        and other.statistics.max_abs * TARGET_FACTOR >= site.statistics.max_abs
        for other in graph.trace.sites
    )
