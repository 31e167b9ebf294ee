"""FL303: integer-in-half."""

from __future__ import annotations

from pathlib import PurePath
from typing import ClassVar, final

from floatline.findings.advice import OfKeras
from floatline.findings.origin_rule import OriginRule
from floatline.findings.origins import Origin
from floatline.findings.words import where


@final
class IntegerInHalf(OriginRule):
    """Integers pass through half precision and come out as others.

    What it means:
        float16 holds every integer up to 2048, bfloat16 up to 256; 2049 becomes 2048. Class ids,
        token ids and row numbers that travel in a float tensor are rounded.

    Evidence:
        An integer tensor that was cast from half precision, has values above the limit, differs
        from float32, and leads to gradients that are decisively wrong. The loss itself need not
        show it: it may be measured against the rounded labels.
        Without a run, `floatline inspect` tells a table with more rows than the integers that its
        ids keep after their cast, and a mask_value that is rounded.

    Why it matters:
        Wrong rows are looked up and wrong classes learnt, without any NaN.

    Remedy:
        Declare integer inputs as integers and never cast them to the compute dtype.

    When it is harmless:
        When the rounded ids are only logged.

    References:
        - keras-team/keras#15012, keras-team/keras#19629: silent damage to integer labels.
        - IEEE 754-2019, binary16: largest finite value 65504, 11 significand bits.
    """

    id = "FL303"
    cause = "integer-in-half"
    shows_in_loss: ClassVar[bool] = False  # It falls, towards the rounded targets.
    remedies = (
        "Keep ids and labels in an integer dtype; do not cast them to the compute dtype.",
        OfKeras(
            "Give the layer that receives them autocast=False, or the dtype float32.",
            instead="Take them from the batch before it is cast.",
        ),
    )

    def sentence(self, origin: Origin) -> str:
        """What happens at the origin."""
        statistics = origin.site.statistics
        return (
            f"{where(origin.spot.place)} carries integers up to {statistics.max_abs:.0f} through"
            f" half precision: {statistics.mismatched} of {statistics.count} come out wrong"
            f"{_taken_out(origin)}"
        )


def _taken_out(origin: Origin) -> str:
    """Where they become integers again: a policy casts at the border of a layer, unseen."""
    rounded, read = origin.spot.place.source, origin.site.place.source
    if read is None or read == rounded:
        return ""
    return f" at {PurePath(read.file).name}:{read.line}"
