"""FL110: backward-only-overflow."""

from __future__ import annotations

from typing import ClassVar, final

from floatline.findings.advice import OfKeras
from floatline.findings.origin_rule import OriginRule, overflow
from floatline.findings.origins import Origin
from floatline.findings.words import number, where
from floatline.records import Phase


@final
class BackwardOnlyOverflow(OriginRule):
    """Gradients overflow although the forward pass is finite.

    What it means:
        A gradient, multiplied by the loss scale, leaves the range of the format at one operation
        of the backward pass: a division by something small, a long residual stream, a large loss.

    Evidence:
        The first operation of the backward pass with finite inputs and infinite output at the
        lowest loss scale that was traced, and steps that are lost to it beyond a normal search
        for the scale.

    Why it matters:
        Every such step is skipped. A dynamic loss scale falls until the largest gradient fits,
        and the small ones are then flushed to zero; without a loss scale the weights become NaN.

    Remedy:
        Compute this operation in float32, so that its large gradients do not bind the loss scale
        for all; or start from a lower scale if nothing underflows there.

    When it is harmless:
        A few skipped steps at the start, or one now and then, are the search for the loss scale.

    References:
        - Micikevicius et al., Mixed Precision Training, 2018, arXiv:1710.03740.
        - keras.optimizers.LossScaleOptimizer: halves the scale at each non-finite gradient.
    """

    id = "FL110"
    cause = "backward-only-overflow"
    phase: ClassVar[Phase] = "backward"
    remedies = (
        OfKeras(
            "Compute this operation in float32: cast its inputs, or give the layer"
            ' dtype="float32".',
            instead="Compute this operation in float32: {float32}.",
        ),
        "Keep denominators away from 0: add an epsilon that the format can hold.",
        (
            "Start from a lower loss scale: initial_scale of Keras' LossScaleOptimizer, init_scale"
            " of PyTorch's GradScaler."
        ),
    )

    def sentence(self, origin: Origin) -> str:
        """What happens at the origin."""
        scale = origin.trace.loss_scale
        if not origin.site.statistics.local_saturated:
            return (
                f"{where(origin.spot.place)} breaks in this precision only:"
                f" {origin.site.statistics.nonfinite} of {origin.site.statistics.count} elements"
                " are not finite although its inputs are"
            )
        return overflow(origin) + (f" (loss scale {number(scale)})" if scale else "")
