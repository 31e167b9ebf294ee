"""FL101: activation-range-overflow."""

from __future__ import annotations

from typing import final

from floatline.findings.advice import OfKeras
from floatline.findings.causes import format_of, infinite_reciprocal
from floatline.findings.graph import graph
from floatline.findings.origin_rule import OriginRule, number_of_end, overflow
from floatline.findings.origins import Origin
from floatline.findings.words import number, where


@final
class ActivationRangeOverflow(OriginRule):
    """An activation leaves the range of the format in the forward pass.

    What it means:
        A matrix product, a convolution or a sum of a few large terms exceeds the largest value of
        the format and becomes infinite, although its inputs are finite.

    Evidence:
        The first operation of the step with finite inputs and an infinite output that float32
        holds: elements, the largest float32 value, and the operations that only pass it on. Its
        infinities reach the loss or a gradient, or training falls behind float32. Where only the
        compiled step overflows: a division by a literal below 1/65504, which compilers turn into
        a product with its reciprocal.

    Why it matters:
        The forward pass does not depend on the loss scale, so no loss scale helps: every such
        step is lost, and without a loss scale the weights become NaN.

    Remedy:
        Keep the layer and the addition it feeds in float32, or make the values smaller: normalise
        inputs and branches, initialise smaller, clip. bfloat16 has float32's range.

    When it is harmless:
        When the infinite values are masked away afterwards, and neither loss nor gradients see
        them.

    References:
        - IEEE 754-2019, binary16: largest finite value 65504, 11 significand bits.
        - huggingface/transformers#10956: float16 overflow in T5's feed-forward layers.
    """

    id = "FL101"
    cause = "activation-range-overflow"
    remedies = (
        OfKeras(
            'Build this layer, and the addition or normalisation it feeds, with dtype="float32".',
            instead="Compute this, and the sum or normalisation it feeds, in float32: {float32}.",
            of_layer=True,
        ),
        "Make the values smaller before it: normalise its input or initialise smaller.",
        OfKeras(
            'Use "mixed_bfloat16", which has the range of float32.',
            instead="Use bfloat16 instead of float16: it has the range of float32.",
        ),
    )

    def sentence(self, origin: Origin) -> str:
        """What happens at the origin."""
        divisor = infinite_reciprocal(graph(origin.trace), origin.site)
        if divisor is None or origin.site.statistics.saturated:
            return overflow(origin)
        ends = format_of(origin.site)
        return (
            f"{where(origin.spot.place)} divides by {number(divisor)}; the compiled step multiplies"
            f" by {number(1 / divisor)} instead, and {ends.name} ends at"
            f" {number_of_end(ends.max_finite)}"
        )
