"""FL302: reduction-sum-stagnation."""

from __future__ import annotations

from typing import final

from floatline.findings.graph import graph
from floatline.findings.loops import carried_sum
from floatline.findings.origin_rule import OriginRule
from floatline.findings.origins import Origin
from floatline.findings.words import share, where

CARRY = ("Carry the value through the loop in float32, and cast what each turn computes from it.",)
"""What to do where a loop adds."""


@final
class ReductionSumStagnation(OriginRule):
    """A long sum stops growing because its terms are below its last digit.

    What it means:
        Adding 1 to 2048 gives 2048 in float16. A running sum in half precision stagnates once the
        terms are half a unit of its last place.

    Evidence:
        A reduction with a relative error of 5 % or more of its own, which leads to gradients that
        are decisively wrong. Or a value that a loop (`lax.scan`) carries in half precision, adds to
        what is below its last digit, and leaves with such an error after all turns.

    Why it matters:
        Sums, cumulative sums and averages are too small by any factor, without NaN.

    Remedy:
        Accumulate in float32.

    When it is harmless:
        When the sum is only reported.

    References:
        - N. Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, 2002, chapter 4
          on summation.
    """

    id = "FL302"
    cause = "reduction-sum-stagnation"
    remedies = (
        "Cast to float32 before the reduction and back after it.",
        "Use a mean, which accumulates in float32.",
    )

    def advice(self, origin: Origin) -> tuple[str, ...]:
        """A loop has no mean to use instead."""
        return CARRY if carried_sum(graph(origin.trace), origin.site) else self.remedies

    def sentence(self, origin: Origin) -> str:
        """What happens at the origin."""
        if carried_sum(graph(origin.trace), origin.site):
            return (
                f"A loop carries {where(origin.spot.place)} in {origin.site.dtype}, and adds what"
                f" is below its last digit: off by {share(origin.site.statistics.error)} after all"
                " turns"
            )
        return (
            f"{where(origin.spot.place)} is off by {share(origin.site.statistics.local_error)} of"
            " its value by itself: the sum outgrows its terms"
        )
