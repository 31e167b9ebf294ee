"""FL203: epsilon-underflow."""

from __future__ import annotations

from typing import final

from floatline.findings.causes import infinite_bound
from floatline.findings.flushed import flushed_ancestor
from floatline.findings.graph import graph
from floatline.findings.origin_rule import OriginRule
from floatline.findings.origins import Origin
from floatline.findings.words import number, where


@final
class EpsilonUnderflow(OriginRule):
    """An epsilon is 0 in the format and protects nothing.

    What it means:
        Literals below 3e-8 are 0 in float16: 1e-8, 1e-10, 1e-12. A division, logarithm or inverse
        root that they were to guard breaks as soon as its argument is 0.

    Evidence:
        A literal that is nonzero as written and 0 as computed, and behind it an operation that is
        non-finite in this precision only. Or the inverse of an epsilon, a bound that is infinite
        as computed.
        Without a run, `floatline inspect` finds such epsilons in the code of layers and between the
        layers of a functional model.

    Why it matters:
        NaN as soon as a feature is constant, a vector is 0 or a probability vanishes: at random,
        as it seems.

    Remedy:
        An epsilon between 1e-5 and 1e-3 in float16, or the expression in float32.

    When it is harmless:
        When the guarded value is never near 0; then nothing breaks and nothing is reported.

    References:
        - IEEE 754-2019, binary16: largest finite value 65504, 11 significand bits.
        - pytorch/pytorch#40497: the search for epsilons that are too small.
    """

    id = "FL203"
    cause = "epsilon-underflow"
    remedies = (
        "Use a larger epsilon: 1e-4 or more in float16.",
        "Compute the guarded expression in float32.",
    )

    def sentence(self, origin: Origin) -> str:
        """What happens at the origin."""
        if infinite_bound(graph(origin.trace), origin.site):
            return (
                f"The bound {number(origin.site.statistics.max_abs)} is infinite in half precision"
                f" and {where(origin.spot.place)} keeps nothing away from infinity: 0 times it is"
                " NaN"
            )
        constant = flushed_ancestor(origin)
        literal = "An epsilon" if constant is None else f"The epsilon {number(constant)}"
        statistics = origin.site.statistics
        return (
            f"{literal} is 0 in half precision, and {where(origin.spot.place)} breaks on it:"
            f" {statistics.nonfinite} of {statistics.count} elements are not finite"
        )
