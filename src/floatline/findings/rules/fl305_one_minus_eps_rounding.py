"""FL305: one-minus-eps-rounding."""

from __future__ import annotations

from typing import final

from floatline.findings.advice import OfKeras
from floatline.findings.origin_rule import OriginRule
from floatline.findings.origins import Origin
from floatline.findings.words import number, where

IN_UPDATE = (
    'Use "mixed_bfloat16" or "mixed_float16": the optimizer then computes in float32.',
    "If weights must stay in bfloat16, give Adam a beta_2 of 0.99 or less.",
)
"""What to do where it is the optimizer that subtracts from 1."""


@final
class OneMinusEpsRounding(OriginRule):
    """1 - epsilon is 1 in the format.

    What it means:
        float16 has no value between 1 - 2.4e-4 and 1 that keeps them apart: clip(p, 1e-7, 1 -
        1e-7) does nothing at the top, and 1 - p is exactly 0.

    Evidence:
        A difference 1 - p that is 0 in this precision only, or a literal 1 - epsilon that rounds
        to 1, and behind it a logarithm or division that is not finite. Or such a difference that
        every update is multiplied by: Adam's 1 - beta_2, where 0.999 is 1 in bfloat16.
        Without a run, `floatline inspect` finds such bounds, and a beta_2 that is 1.

    Why it matters:
        log(0) and 1 / 0 follow. The forward pass may stay finite because the value is weighted by
        0, while its gradient is 0 * inf: NaN.

    Remedy:
        Use from_logits=True or log_sigmoid, or compute the loss in float32.

    When it is harmless:
        When the values stay away from 1; then nothing breaks and nothing is reported.

    References:
        - IEEE 754-2019, binary16: largest finite value 65504, 11 significand bits.
        - keras.ops.log_sigmoid, keras.losses.BinaryCrossentropy(from_logits=True).
    """

    id = "FL305"
    cause = "one-minus-eps-rounding"
    remedies = (
        "Compute the expression in float32: cast the prediction first.",
        OfKeras(
            "Use log_sigmoid, softplus or from_logits=True instead of the logarithm of 1 - p.",
            instead="Use log_sigmoid, softplus or a loss that takes logits, not log(1 - p).",
        ),
        "Clip at 1 - 1e-3 in float16, at 1 - 1e-2 in bfloat16: closer to 1 they round to it.",
    )

    def advice(self, origin: Origin) -> tuple[str, ...]:
        """An optimizer is not the user's to rewrite."""
        return IN_UPDATE if origin.reach == "none" else self.remedies

    def sentence(self, origin: Origin) -> str:
        """What happens at the origin."""
        statistics = origin.site.statistics
        if origin.reach == "none":
            return (
                f"{where(origin.spot.place)} is 0 because p in 1 - p is rounded to 1 in"
                f" {origin.site.dtype}, where float32 has {number(statistics.max_abs)}: updates are"
                " multiplied by it, and the weights do not move"
            )
        return (
            f"{where(origin.spot.place)} breaks because 1 - p is rounded to 0 (or p to 1) in half"
            f" precision: {statistics.nonfinite} of {statistics.count} elements are not finite"
        )
