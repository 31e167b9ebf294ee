"""FL404: scaled-gradient-misuse."""

from __future__ import annotations

from typing import final

from floatline.findings.advice import OfKeras
from floatline.findings.case import Case
from floatline.findings.origin_rule import harm
from floatline.findings.rule import TRACES, CannotTell, Clear, Result, Rule
from floatline.findings.scaling import Clip, clips, never_scaled
from floatline.findings.words import number, where
from floatline.records import Number, Place, Severity, Trace

SCALE_FREE = ("Adam", "AdamW", "Adamax", "Nadam", "RMSprop", "Adagrad", "Adadelta", "Lion", "Lamb")
"""Optimizers whose update is the same when every gradient is multiplied by one number."""

SECOND_MOMENTS = (".exp_avg_sq", ".exp_inf", ".square_avg", ".sum")
"""Ends of the names of what PyTorch's optimizers of that kind divide by; a step of one's own names
no optimizer."""

AFTER_DIVISION = "Clip the gradients after they are divided by the loss scale."


@final
class ScaledGradientMisuse(Rule):
    """Gradients are divided by a loss scale that they do not carry, or clipped while they do.

    What it means:
        A loss-scale optimizer divides every gradient by its scale. If the loss was never
        multiplied by it, or the gradients were clipped to a fixed bound in between, what is
        left is thousands of times too small.

    Evidence:
        The optimizer's loss scale is read and no gradient descends from it; or a gradient passes
        a clip whose bound does not depend on the scale and is smaller than it, or, where the scale
        is a number of the code that is divided out later, nearer to 1 than to that number.

    Why it matters:
        Training stands still, and every number looks ordinary. Optimizers that divide by the
        size of the gradients, such as Adam, hide it, but for their epsilon.

    Remedy:
        Differentiate optimizer.scale_loss(loss); clip with clipnorm on the inner optimizer,
        which acts after unscaling. With PyTorch's GradScaler: scaler.scale(loss).backward(), and
        scaler.unscale_(optimizer) before the clip.

    When it is harmless:
        With an optimizer that ignores the size of gradients; then this is advice.

    References:
        - keras.optimizers.LossScaleOptimizer, methods scale_loss and apply.
        - Micikevicius et al., Mixed Precision Training, 2018, arXiv:1710.03740, section 3.2.
    """

    id = "FL404"
    cause = "scaled-gradient-misuse"
    phase = "backward"
    remedies = (
        OfKeras(
            "Differentiate the scaled loss: optimizer.scale_loss(loss), or scaler.scale(loss).",
            instead="Differentiate the scaled loss: scaler.scale(loss).",
        ),
        OfKeras(
            "Clip by clipnorm or global_clipnorm of the inner optimizer, which acts after"
            " unscaling; with PyTorch's GradScaler, after scaler.unscale_(optimizer).",
            instead=AFTER_DIVISION,
            torch="Clip after scaler.unscale_(optimizer), which divides by the loss scale.",
        ),
    )

    def check(self, case: Case) -> Result:
        """Looks for the loss scale on the way to the gradients, and for what cuts them off."""
        if case.untraced:
            return CannotTell(TRACES)
        traces = [trace for trace in case.evidence.traces if trace.agrees is not False]
        forgotten = next((trace for trace in traces if never_scaled(trace)), None)
        if forgotten:
            return self._forgotten(case, forgotten)
        clip = next((clip for clip in map(clips, traces) if clip), None)
        return self._clipped(case, clip) if clip else Clear()

    def _forgotten(self, case: Case, trace: Trace) -> Result:
        scale = trace.loss_scale or 0.0
        summary = (
            f"The optimizer divides every gradient by its loss scale of {number(scale)},"
            " but the loss that was differentiated was never multiplied by it"
        )
        losses = [trace.sites[index] for index in trace.losses]
        numbers: dict[str, Number] = {"step": trace.step, "loss_scale": scale, **harm(case)}
        place = losses[0].place if losses else None
        return self._misuse(case, summary, numbers, place, self.remedies[:1])

    def _clipped(self, case: Case, clip: Clip) -> Result:
        scale = clip.scale
        summary = (
            f"{where(clip.site.place)} clips gradients to {number(clip.bound)} while they carry"
            f" the loss scale of {number(scale)}: unscaled, {number(clip.true_bound)} is left"
        )
        numbers: dict[str, Number] = {
            "step": clip.trace.step,
            "loss_scale": scale,
            "bound": clip.bound,
            "bound_when_unscaled": clip.true_bound,
            **harm(case),
        }
        named = clip.trace.loss_scale is not None
        remedies = self.remedies[1:] if named else (AFTER_DIVISION,)
        return self._misuse(case, summary, numbers, clip.site.place, remedies)

    def _misuse(
        self,
        case: Case,
        summary: str,
        numbers: dict[str, Number],
        place: Place | None,
        remedies: tuple[str, ...],
    ) -> Result:
        severity = self._severity(case)
        return self.found(summary, numbers, place=place, severity=severity, remedies=remedies)

    def _severity(self, case: Case) -> Severity:
        written = (s.variable or "" for t in case.evidence.traces for s in t.sites)
        divides = any(name.endswith(SECOND_MOMENTS) for name in written)
        hidden = divides or case.evidence.configuration.optimizer in SCALE_FREE
        return "advice" if hidden else "failure"
