"""FL205: softmax-or-loss-in-half."""

from __future__ import annotations

from typing import final

from floatline.findings.advice import OfKeras
from floatline.findings.origin_rule import OriginRule
from floatline.findings.origins import Origin
from floatline.findings.words import where


@final
class SoftmaxOrLossInHalf(OriginRule):
    """A loss takes the logarithm of probabilities that vanished in half precision.

    What it means:
        Probabilities below 6e-8 are 0 in float16. Their logarithm is -inf, or, where the loss
        clips them, a constant without gradient.

    Evidence:
        A softmax, sigmoid or exponential that flushes probabilities and breaks a logarithm. Or a
        softmax that does, feeds a logarithm that stays finite, and leaves the gradients decisively
        wrong, in a training that does worse than float32.
        Without a run, `floatline inspect` tells a softmax or sigmoid in half precision before a
        loss that takes its logarithm, and a loss that was given a half-precision dtype.

    Why it matters:
        A class whose probability vanished can never be learnt: a plateau at a high loss, or NaN
        after good epochs.

    Remedy:
        Let the last layer be in float32, or give the loss logits with from_logits=True.

    When it is harmless:
        Attention weights that vanish, and a well-fitted classifier whose wrong classes vanish.

    References:
        - Micikevicius et al., Mixed Precision Training, 2018, arXiv:1710.03740.
        - keras.io, Mixed precision: the softmax at the end of a model should be float32.
    """

    id = "FL205"
    cause = "softmax-or-loss-in-half"
    remedies = (
        OfKeras(
            'Build the output layer with dtype="float32".',
            instead="Compute the last layer in float32: {float32}.",
        ),
        OfKeras(
            "Return logits and use from_logits=True in the loss.",
            instead="Return logits, and use a loss that takes logits.",
            torch="Return logits, and use cross_entropy or binary_cross_entropy_with_logits.",
        ),
        "Where the code takes the logarithm: log_softmax, or -softplus(-x) for that of a sigmoid.",
    )

    def sentence(self, origin: Origin) -> str:
        """What happens at the origin."""
        numbers = origin.site.statistics
        return (
            f"{numbers.flushed or numbers.nonfinite} of {numbers.count} elements of"
            f" {where(origin.spot.place)} vanish or break in half precision, and a loss takes"
            " their logarithm"
        )
