"""FL111: l2-normalize-gradient."""

from __future__ import annotations

from typing import ClassVar, final

from floatline.findings.advice import OfKeras
from floatline.findings.flushed import flushed_ancestor
from floatline.findings.origin_rule import OriginRule, overflow
from floatline.findings.origins import Origin
from floatline.findings.words import number, where
from floatline.records import Phase


@final
class L2NormalizeGradient(OriginRule):
    """The gradient of a normalisation to unit length overflows where vectors are short.

    What it means:
        The derivative of x / |x| holds 1 / |x|, and on its way 1 / |x|**3: for a squared length of
        2e-4 that is 3.5e5, above float16's end at 65504. An epsilon that is 0 in float16, or whose
        root is, protects from nothing.

    Evidence:
        The forward pass is finite; the first operation of the backward pass that is not reads the
        root of a sum of squares by which those very values are divided.

    Why it matters:
        One short or empty vector in a batch makes the gradients of all weights before it NaN or
        infinite. The step is skipped, and a loss scale that falls helps only while the factor
        itself is finite.

    Remedy:
        Normalise in float32; keep the squared length away from 0 by an epsilon inside of the root
        that the format holds, 1e-4 in float16.

    When it is harmless:
        When such vectors are rare and the loss scale settles: then a few steps are skipped.

    References:
        - keras-team/keras#23546 and #23075: the gradient of ops.normalize in float16.
        - pytorch/pytorch#43211: the gradient of a norm at 0.
    """

    id = "FL111"
    cause = "l2-normalize-gradient"
    phase: ClassVar[Phase] = "backward"
    remedies = (
        OfKeras(
            'Normalise in float32: cast the vectors first, or give the layer dtype="float32".',
            instead="Normalise in float32: {float32}.",
        ),
        "Put an epsilon that the format holds inside of the root: sqrt(sum(x * x) + 1e-4).",
        "Leave out, or mask, vectors that are 0.",
    )

    def sentence(self, origin: Origin) -> str:
        """What happens at the origin."""
        statistics = origin.site.statistics
        epsilon = flushed_ancestor(origin)
        protects = "" if epsilon is None else f"; the epsilon {number(epsilon)} is 0 there"
        if statistics.local_saturated:
            return f"{overflow(origin)}, as it divides by the length of a short vector{protects}"
        return (
            f"{where(origin.spot.place)} divides by the length of a vector that is 0 in half"
            f" precision: {statistics.nonfinite} of {statistics.count} elements are not finite"
            f"{protects}"
        )
