"""FL103: exp-overflow."""

from __future__ import annotations

from typing import final

from floatline.findings.origin_rule import OriginRule, overflow
from floatline.findings.origins import Origin


@final
class ExpOverflow(OriginRule):
    """An exponential leaves the range of the format.

    What it means:
        exp(x) exceeds float16 from x = 11.09 on. Exponentials of log-variances, of similarities
        divided by a temperature, softplus or softmax written by hand.

    Evidence:
        An exponential with finite inputs and an infinite output that float32 holds; or an infinite
        sum of exponentials of which one alone reaches a quarter of the range.

    Why it matters:
        inf - inf and inf / inf follow, which are NaN; every such step is lost.

    Remedy:
        Subtract the maximum first, or use softplus, logsumexp and log_sigmoid, which do; clip the
        argument; or compute the expression in float32.

    When it is harmless:
        When the result is only used as a denominator, where infinity gives the intended 0.

    References:
        - IEEE 754-2019, binary16: largest finite value 65504, 11 significand bits.
        - keras.ops.softplus, keras.ops.logsumexp: the guarded forms.
    """

    id = "FL103"
    cause = "exp-overflow"
    remedies = (
        "Use the guarded form (softplus, logsumexp, log_sigmoid), or subtract the maximum.",
        "Cast the argument to float32 before the exponential.",
        "Clip the argument below 11.",
    )

    def sentence(self, origin: Origin) -> str:
        """What happens at the origin."""
        return overflow(origin)
