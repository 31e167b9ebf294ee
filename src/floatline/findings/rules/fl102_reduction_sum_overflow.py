"""FL102: reduction-sum-overflow."""

from __future__ import annotations

from typing import final

from floatline.findings.advice import OfKeras
from floatline.findings.operations import kind
from floatline.findings.origin_rule import OriginRule, overflow
from floatline.findings.origins import Origin

OF_SQUARES = (
    "Cast to float32 before the square, and back after the reduction: single squares overflow.",
    "Divide the values before they are squared, so that the largest stays below 256 in float16.",
)


@final
class ReductionSumOverflow(OriginRule):
    """A sum over many values leaves the range of the format.

    What it means:
        Each term fits, their sum does not: 65505 ones are infinite in float16. Sums over pixels,
        long sequences or whole batches, and sums of squares.

    Evidence:
        A reduction (or the squares it adds up) with finite inputs and an infinite result that
        float32 holds.

    Why it matters:
        An infinite sum makes the loss infinite, or, in a denominator, a ratio exactly 0 that has
        no gradient.

    Remedy:
        Reduce in float32, divide before adding up, or use a mean, which accumulates in float32.

    When it is harmless:
        When the sum is only reported and never differentiated.

    References:
        - IEEE 754-2019, binary16: largest finite value 65504, 11 significand bits.
        - tensorflow/tensorflow#47156: sums chosen for float32 by hand.
    """

    id = "FL102"
    cause = "reduction-sum-overflow"
    remedies = (
        "Cast to float32 before the reduction and back after it.",
        "Divide the terms before adding them up, or use a mean instead of a sum.",
        OfKeras(
            'Build the layer with dtype="float32".',
            instead="Compute it in float32: {float32}.",
            of_layer=True,
        ),
    )

    def advice(self, origin: Origin) -> tuple[str, ...]:
        """Squares that overflow one by one are out of range before anything is added up."""
        added = kind(origin.site.place.operation) in ("reduction", "norm", "matmul", "cast")
        return self.remedies if added else (*OF_SQUARES, *self.remedies[2:])

    def sentence(self, origin: Origin) -> str:
        """What happens at the origin."""
        return overflow(origin)
