"""FL204: activation-underflow."""

from __future__ import annotations

from typing import final

from floatline.findings.causes import NEAR_HOPS, format_of
from floatline.findings.graph import graph, literal
from floatline.findings.origin_rule import OriginRule
from floatline.findings.origins import Origin
from floatline.findings.words import number, share, where


@final
class ActivationUnderflow(OriginRule):
    """Activations that float32 holds are 0 in the format.

    What it means:
        Values below 3e-8 are 0 in float16. Products of small factors, squares of small numbers
        and powers vanish, and what divides by them or takes their logarithm breaks. A literal
        divisor above 65504 is infinite, and everything divided by it is 0.

    Evidence:
        An operation of the forward pass that flushes half of its nonzero results by itself and
        leaves the loss or the gradients decisively wrong; one whose zeros a bound of the dtype's
        own (`finfo(dtype).tiny`) replaces, where float32 learns with a bound of its own; a division
        or logarithm that breaks behind one; or a division by a literal that is finite as written
        and infinite as computed.
        Without a run, `floatline inspect` finds divisors that are infinite and factors that are 0.

    Why it matters:
        The feature carries no information and no gradient; a loss scale does not help, for it
        acts on the backward pass only.

    Remedy:
        Scale the values up before the operation, or compute it in float32.

    When it is harmless:
        Attention weights, gates and the far side of a softmax may vanish without any effect.

    References:
        - Micikevicius et al., Mixed Precision Training, 2018, arXiv:1710.03740.
        - IEEE 754-2019, binary16: largest finite value 65504, 11 significand bits.
    """

    id = "FL204"
    cause = "activation-underflow"
    remedies = (
        "Compute this operation in float32.",
        "Scale its inputs up first, and the result down after.",
        "Divide large numbers before they are cast, or in steps whose divisors the format holds.",
    )

    def sentence(self, origin: Origin) -> str:
        """What happens at the origin."""
        statistics = origin.site.statistics
        if literal(origin.site):
            constant, ends = origin.site.constant or statistics.max_abs, format_of(origin.site)
            subject = f"The constant {number(constant)} is infinite in {ends.name}"
            if origin.spot is origin.site:
                return f"{subject}, and what is divided by it is 0: {where(origin.spot.place)}"
            return f"{subject}: {where(origin.spot.place)} divides by it and gives 0"
        if origin.reach != "none":
            return (
                f"{where(origin.spot.place)} breaks on a value that underflowed to 0"
                f"{_underflow(origin)}: {statistics.nonfinite} of {statistics.count} elements are"
                " not finite"
            )
        return (
            f"{where(origin.spot.place)} flushes {share(statistics.flushed_share)} of its nonzero"
            " values to 0"
        )


def _underflow(origin: Origin) -> str:
    """Where values were flushed to 0, if that is another line than the one that breaks on them."""
    near = graph(origin.trace).ancestors(origin.site, NEAR_HOPS)
    forward = (s for s in near if s.place.phase == "forward" and s.statistics.local_flushed)
    found = next(forward, None)
    if found is None or found.place.source in (None, origin.spot.place.source):
        return ""
    return f" in {where(found.place)}"
