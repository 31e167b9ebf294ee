"""FL105: input-or-target-out-of-range."""

from __future__ import annotations

from typing import final

from floatline.findings.advice import OfKeras
from floatline.findings.origin_rule import OriginRule, overflow
from floatline.findings.origins import Origin
from floatline.findings.words import number, where


@final
class InputOrTargetOutOfRange(OriginRule):
    """Values of the data do not fit the format.

    What it means:
        Inputs above 65504 are infinite after the cast that a layer applies to what it is given;
        large inputs with a small spread lose the spread, for the spacing at 20000 is 16. Targets
        that do not fit ask for outputs that do not fit.

    Evidence:
        A cast of a batch tensor that overflows; or an operation whose outputs must reach targets
        beyond the range; or a subtraction of a batch tensor and a constant that leaves an error
        out of all proportion.
        Without a run, `floatline inspect` tells a Rescaling whose scale or offset is infinite in
        the format, and a Normalization around a mean beyond it, or too large beside its spread.

    Why it matters:
        NaN from the first step on, or, for lost spread, a model that never learns, without any
        warning.

    Remedy:
        Normalise data before the model, in float32 or on the host, or build the first layer (or
        the output layer) in float32.

    When it is harmless:
        When the large column is constant or not used.

    References:
        - keras-team/keras#22586: Keras casts the inputs of a layer before the layer runs.
        - IEEE 754-2019, binary16: largest finite value 65504, 11 significand bits.
    """

    id = "FL105"
    cause = "input-or-target-out-of-range"
    remedies = (
        "Normalise the data before it enters the model.",
        OfKeras(
            "Build the layer that receives it (or the output layer, for targets) with"
            ' dtype="float32".',
            instead="In the layer that receives it (the last one, for targets): {float32}.",
        ),
        OfKeras("Give a custom layer autocast=False and cast inside it."),
    )

    def sentence(self, origin: Origin) -> str:
        """What happens at the origin."""
        if origin.site.statistics.local_saturated or origin.site.statistics.saturated:
            return overflow(origin)
        return (
            f"Rounding the input leaves {where(origin.spot.place)} with a relative error of"
            f" {number(origin.site.statistics.error)}: the data are large beside their spread"
        )
