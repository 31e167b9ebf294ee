"""FL503: fails-on-other-devices."""

from __future__ import annotations

from typing import final

from floatline.findings.advice import OfKeras
from floatline.findings.case import Case
from floatline.findings.elsewhere import Loss, lost_elsewhere
from floatline.findings.rule import Clear, Found, Result, Rule
from floatline.findings.words import number, share, where
from floatline.formats import FORMATS
from floatline.records import Number


@final
class FailsOnOtherDevices(Rule):
    """A value that this device holds in float32 would not fit where it is held in 16 bits.

    What it means:
        Some operations run in float32 here although the training asks for 16 bits: on a CPU,
        Keras casts their arguments to float32 and rounds the result, because PyTorch has no
        kernel for them. On a GPU the same operations run in 16 bits throughout. A value between
        argument and result overflows or vanishes there, and nothing of it shows here.

    Evidence:
        The value in float32, as it was computed here: its largest magnitude is beyond the end
        of the 16-bit format, or more than a hundredth of the sum of its magnitudes lies below
        the format's smallest number.

    Why it matters:
        The training is healthy on this machine. Moved to a GPU it may fail, or learn something
        else. It was not run there: this is a forecast, and no finding about the training that
        was watched.

    Remedy:
        Give the layer dtype="float32" before moving the training, or rescale what the
        operation reads. Diagnose again on the device that will train.

    When it is harmless:
        When the training stays on this machine. A value that overflows only to be divided by
        may do no harm either: its reciprocal becomes 0 where it was small.

    References:
        - Keras, keras/src/backend/torch/numpy.py and nn.py: casts for float16 on a CPU.
    """

    id = "FL503"
    cause = "fails-on-other-devices"
    phase = "configuration"
    remedies = (
        OfKeras(
            'Give the layer dtype="float32" before the training moves to a GPU.',
            instead="Compute it in float32 before the training moves to a GPU: {float32}.",
        ),
        "Rescale what the operation reads, so that its intermediate values fit.",
        "Diagnose again on the device that will train.",
    )

    def check(self, case: Case) -> Result:
        """Looks at what is held in float32 on this device only."""
        losses = [loss for trace in case.evidence.traces for loss in lost_elsewhere(trace)]
        if not losses:
            return Clear()
        overflows = [loss for loss in losses if loss.overflows]
        return self._caution(overflows[0] if overflows else losses[0])

    def _caution(self, loss: Loss) -> Found:
        form, numbers = FORMATS[loss.dtype], loss.site.statistics
        begun = f"on a GPU, in {loss.dtype}, {where(loss.site.place)} would"
        if loss.overflows:
            end = number(form.max_finite)
            said = f"{begun} overflow: it reaches {number(numbers.max_abs)} here, {loss.dtype}"
            summary = f"{said} ends at {end}"
        else:
            summary = f"{begun} lose {share(loss.flushed)} of its magnitude to underflow"
        evidence: dict[str, Number] = {
            "elements": numbers.count,
            "shadow_max_abs": numbers.max_abs,
            "format_max": form.max_finite,
            "flushed_magnitude_share": loss.flushed,
        }
        return self.found(summary, evidence, place=loss.site.place, severity="advice")
