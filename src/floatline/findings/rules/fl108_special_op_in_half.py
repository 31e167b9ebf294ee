"""FL108: special-op-in-half."""

from __future__ import annotations

from typing import final

from floatline.findings.advice import OfKeras
from floatline.findings.origin_rule import OriginRule, fault
from floatline.findings.origins import Origin


@final
class SpecialOpInHalf(OriginRule):
    """A spectrum, or its power, does not fit the format.

    What it means:
        A Fourier transform adds up a whole window: its values are as large as the window is long,
        and their squares span ten powers of ten, from silence to the loudest tone. float16 ends at
        65504 and begins at 6e-8.

    Evidence:
        An operation that overflows, or flushes half of its nonzero results, a few operations behind
        the parts or the magnitude of complex numbers.

    Why it matters:
        Infinite features make the loss NaN; features that are 0 make their logarithm infinite, or
        carry nothing. A loss scale does not help, for it acts on the backward pass only.

    Remedy:
        The whole front end (transform, power, filter bank, logarithm) in float32; cast its result,
        which is small.

    When it is harmless:
        When what overflows or vanishes does not reach the loss; then nothing is reported.

    References:
        - jaywalnut310/vits#15, adobe-research/convmelspec#3: transforms in half precision.
        - IEEE 754-2019, binary16: largest finite value 65504, smallest 5.96e-8.
    """

    id = "FL108"
    cause = "special-op-in-half"
    remedies = (
        "Compute transform, power and logarithm in float32, and cast the features afterwards.",
        OfKeras('Give the layer of the front end dtype="float32".'),
        "Divide the signal, or its window, by the window's length first.",
    )

    def sentence(self, origin: Origin) -> str:
        """What happens at the origin."""
        return fault(origin, "the power of a spectrum")
