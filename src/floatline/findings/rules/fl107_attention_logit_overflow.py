"""FL107: attention-logit-overflow."""

from __future__ import annotations

from typing import final

from floatline.findings.origin_rule import OriginRule, overflow
from floatline.findings.origins import Origin


@final
class AttentionLogitOverflow(OriginRule):
    """Attention scores leave the range of the format.

    What it means:
        The product of queries and keys is formed before it is divided by the root of the head
        size: 64 entries of 32 each already give 65536.

    Evidence:
        A product of two computed tensors that leads to a softmax (or stands in an attention
        layer), with finite inputs and infinite output.

    Why it matters:
        Softmax of infinity is NaN. It often comes late, as queries and keys grow during training.

    Remedy:
        Scale the query before the product, normalise queries and keys, or compute product and
        softmax in float32.

    When it is harmless:
        When the infinite scores are all masked away before the softmax.

    References:
        - IEEE 754-2019, binary16: largest finite value 65504, 11 significand bits.
        - Henry et al., Query-Key Normalization for Transformers, 2020, arXiv:2010.04245.
    """

    id = "FL107"
    cause = "attention-logit-overflow"
    remedies = (
        "Divide the query by the root of the head size before the product.",
        "Compute the product and the softmax in float32.",
        "Normalise queries and keys.",
    )

    def sentence(self, origin: Origin) -> str:
        """What happens at the origin."""
        return overflow(origin)
