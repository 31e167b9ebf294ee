"""FL106: norm-variance-overflow."""

from __future__ import annotations

from typing import final

from floatline.findings.advice import OfKeras
from floatline.findings.origin_rule import OriginRule, overflow
from floatline.findings.origins import Origin


@final
class NormVarianceOverflow(OriginRule):
    """The variance in a normalisation leaves the range of the format.

    What it means:
        Deviations above 256 overflow float16 once squared. The normalisation then divides by
        infinity and its output is a constant 0, which looks finite.

    Evidence:
        A square with finite inputs and infinite output on the way to a division of other values,
        whose consequences reach the loss or the gradients. Or a division by a constant that was
        infinite before training began: the variance that a Normalization layer adapted.

    Why it matters:
        The feature is dead and training stalls, often without a single NaN or skipped step; or
        the gradient of the division is NaN.

    Remedy:
        Compute the statistics in float32, or scale the values before squaring them.

    When it is harmless:
        When the layer is followed by nothing that training depends on.

    References:
        - IEEE 754-2019, binary16: largest finite value 65504, 11 significand bits.
        - keras-team/keras#22586: Keras casts the inputs of a layer before the layer runs.
    """

    id = "FL106"
    cause = "norm-variance-overflow"
    remedies = (
        OfKeras(
            'Build the normalising layer with dtype="float32", or cast its input to float32'
            " inside it.",
            instead="Normalise in float32: {float32}.",
        ),
        "Scale the values down before squaring: they must stay below 256.",
        OfKeras(
            "Use keras.layers.LayerNormalization or GroupNormalization: they compute in float32.",
            torch="Use torch.nn.LayerNorm, RMSNorm or GroupNorm, which add up in float32.",
        ),
    )

    def sentence(self, origin: Origin) -> str:
        """What happens at the origin."""
        text = overflow(origin)
        return text if origin.reach != "none" else f"{text}; dividing by infinity leaves only 0"
