"""FL112: second-order-gradient."""

from __future__ import annotations

from typing import final

from floatline.findings.advice import OfKeras
from floatline.findings.origin_rule import OriginRule, fault
from floatline.findings.origins import Origin


@final
class SecondOrderGradient(OriginRule):
    """A gradient that is part of the loss leaves the range of the format.

    What it means:
        A gradient penalty, or an equation of derivatives, computes with a gradient as if it were an
        activation: no loss scale is on it, its squares overflow above 255 and vanish below 2e-4,
        and it is differentiated once more.

    Evidence:
        The loss depends on the result of a backward pass. There, in what is computed from it, or in
        its own gradient is the first operation that overflows, breaks or flushes what it has.

    Why it matters:
        One loss scale has to fit both the loss and the penalty, whose gradients differ by powers of
        ten: it falls until the one fits, and the other is flushed to 0.

    Remedy:
        The inner gradient and all that is computed from it in float32: the layers that it passes,
        or the whole critic.

    When it is harmless:
        When the penalty is small beside the loss and training keeps pace; then nothing is reported.

    References:
        - Gulrajani et al., Improved Training of Wasserstein GANs, 2017, arXiv:1704.00028.
        - tensorflow/tensorflow#48662, NVIDIA/apex#654: gradient penalties in mixed precision.
    """

    id = "FL112"
    cause = "second-order-gradient"
    remedies = (
        OfKeras(
            "Compute the inner gradient in float32: give the layers that it passes"
            ' dtype="float32".',
            instead="Compute what is differentiated twice in float32: {float32}.",
        ),
        "Cast the gradient to float32 before it is squared or summed.",
        "Take the mean of squares, or divide by the size of the input first.",
    )

    def sentence(self, origin: Origin) -> str:
        """What happens at the origin."""
        return fault(origin, "a gradient that the loss is made of")
