"""FL301: position-precision."""

from __future__ import annotations

from typing import final

from floatline.findings.advice import OfKeras
from floatline.findings.graph import graph, low
from floatline.findings.origin_rule import OriginRule
from floatline.findings.origins import Origin, blurs_exponent
from floatline.findings.words import number, where

BEHIND_FLOAT32 = (
    "Compute in float32 what is subtracted, too: the layers that it comes from, and their inputs.",
    "Ask for less: a wider step of a finite difference, or a derivative by the framework.",
)
"""What to do where the difference itself is in float32 already."""


@final
class PositionPrecision(OriginRule):
    """An operation cancels or folds away the digits that its inputs have.

    What it means:
        Half precision keeps 3 digits. The difference of two large close numbers, or the sine of a
        large angle, needs those that were rounded away: timestamps, positions, coordinates.

    Evidence:
        In the first step, an operation of the forward pass whose relative error is 10 % or more
        although its inputs are as exact as the format allows, and which leads to gradients that
        are decisively wrong; a sum, a difference or a sine in float32 counts as well, of what was
        rounded to half precision before it. In any step, forward and backward, a difference in an
        exponent that is eight times less exact than its terms: a sum of logarithms over a long
        chain (a CRF, a CTC loss) grows until half precision cannot tell its terms apart.

    Why it matters:
        No NaN: the model learns from noise, and its quality falls with sequence length or
        distance from zero.

    Remedy:
        Compute positions, angles and differences in float32 and cast the result.

    When it is harmless:
        The residual of a good fit, prediction minus target, cancels as it should; so do
        differences that nobody uses.

    References:
        - N. Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, 2002, section
          1.7 on cancellation.
        - huggingface/transformers#12898: damage without a warning.
    """

    id = "FL301"
    cause = "position-precision"
    remedies = (
        "Compute the difference or the angle, and what leads to it, in float32; cast the result.",
        OfKeras(
            'Build the layer with dtype="float32"; a custom layer also needs autocast=False.',
            instead="Compute it in float32: {float32}.",
            of_layer=True,
        ),
        "Subtract a common offset from the data before the model.",
    )

    def advice(self, origin: Origin) -> tuple[str, ...]:
        """Where float32 subtracts, it is what it subtracts that needs more digits."""
        wide = origin.reach == "none" and low(origin.site) is None
        behind = wide and origin.spot is origin.site
        return BEHIND_FLOAT32 if behind else self.remedies

    def sentence(self, origin: Origin) -> str:
        """What happens at the origin."""
        if origin.reach != "none" and origin.spot is not origin.site and low(origin.site) is None:
            return (
                f"{where(origin.spot.place)} keeps too few digits for {where(origin.site.place)},"
                " which computes in float32 and breaks on what it is handed"
            )
        if origin.reach != "none":
            return f"{where(origin.spot.place)} cancels to a value that breaks what follows"
        error = number(origin.site.statistics.error)
        if low(origin.site) is None and origin.spot is not origin.site:
            return (
                f"{where(origin.spot.place)} rounds to half precision what"
                f" {where(origin.site.place)} folds in {origin.site.dtype}: a relative error of"
                f" {error}"
            )
        if low(origin.site) is None:
            return (
                f"{where(origin.spot.place)} cancels, in {origin.site.dtype}, what was rounded to"
                f" half precision before: a relative error of {error}"
            )
        if blurs_exponent(graph(origin.trace), origin.site):
            return (
                f"{where(origin.spot.place)} is an exponent of which half precision keeps too few"
                f" digits: a difference of larger numbers, with a relative error of {error}"
            )
        return (
            f"{where(origin.spot.place)} loses its digits: a relative error of {error} from inputs"
            " that are exact to half precision"
        )
