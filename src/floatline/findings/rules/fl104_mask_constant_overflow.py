"""FL104: mask-constant-overflow."""

from __future__ import annotations

from typing import final

from floatline.findings.causes import format_of
from floatline.findings.graph import literal
from floatline.findings.origin_rule import OriginRule, overflow
from floatline.findings.origins import Origin
from floatline.findings.words import number, where


@final
class MaskConstantOverflow(OriginRule):
    """A mask constant does not fit the format and becomes infinite.

    What it means:
        A literal such as -1e9 is -inf in float16, and one at the edge, -65504, becomes -inf with
        the first score added to it. 0 * -inf is NaN where nothing was masked, and a row in which
        all is masked has no softmax.

    Evidence:
        A literal that is finite as written and infinite as computed, or an addition to a literal
        above a quarter of the range, whose non-finite values reach the loss or a gradient.
        Without a run, `floatline inspect` finds such numbers in the code of layers, between the
        layers of a functional model, and as the mask_value of Masking.

    Why it matters:
        NaN from the first step, or only for batches with empty rows.

    Remedy:
        Select with where and a constant that leaves room, -3e4 for float16, or apply the softmax
        in float32.

    When it is harmless:
        When every row keeps an unmasked entry and the constant is only added, never multiplied:
        -inf then gives the intended 0.

    References:
        - keras.layers.Softmax: the mask constant Keras uses for float16 is -3e4.
        - IEEE 754-2019, binary16: largest finite value 65504, 11 significand bits.
    """

    id = "FL104"
    cause = "mask-constant-overflow"
    remedies = (
        "Use where(mask, scores, -3e4) instead of adding a product with the constant.",
        "Combine masks as booleans before using the constant once.",
        "Compute scores, mask and softmax in float32.",
    )

    def sentence(self, origin: Origin) -> str:
        """What happens at the origin."""
        site, ends = origin.site, format_of(origin.site).name
        if not literal(site):
            return f"{overflow(origin)}; a mask constant at the end of the range leaves no room"
        constant = site.statistics.max_abs if site.constant is None else site.constant
        subject = f"The constant {number(constant)}"
        if origin.spot is site:
            return f"{subject} is infinite in {ends} and spreads from {where(site.place)}"
        return (
            f"{subject} is infinite in {ends}; {where(origin.spot.place)}"
            " spreads it as non-finite values"
        )
