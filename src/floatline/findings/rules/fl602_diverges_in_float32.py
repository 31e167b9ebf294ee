"""FL602: diverges-in-float32."""

from __future__ import annotations

from typing import final

from floatline.findings.advice import OfKeras
from floatline.findings.case import Case
from floatline.findings.gradients import added_to_old
from floatline.findings.graph import graph
from floatline.findings.origin_rule import harm
from floatline.findings.outcome import nonfinite
from floatline.findings.rule import CannotTell, Clear, Result, Rule
from floatline.findings.words import where
from floatline.records import Site, StepRecord

BEFORE_TRAINING = (
    "Look at the first forward pass: the initialisation, the size of inputs and targets, the loss.",
    "Initialise so that activations keep their size (HeNormal before relu), or normalise them.",
    "Make the first loss finite in float32 first, then diagnose again.",
)
"""What to do where no update is to blame yet."""

CLEARING = (
    "Call optimizer.zero_grad() in every step, unless gradients are meant to accumulate.",
    "Make the training work in float32 first, then diagnose again.",
)
"""What to do where gradients are added to those of the steps before."""

WITHOUT_GRADIENT = (
    "Find the operation whose gradient is not finite: no learning rate and no clip mends that.",
    "Make the training work in float32 first, then diagnose again.",
)
"""What to do where no step, not even the first, has had a finite gradient."""


@final
class DivergesInFloat32(Rule):
    """The training fails in float32 in the same way: precision is not the cause.

    What it means:
        The same steps on the same batches in float32 become non-finite or blow up as well: a
        learning rate that is too high, gradients that explode, a loss without a bound. Where the
        first loss is non-finite already, no update is to blame: then it is the initialisation,
        the data or the loss.

    Evidence:
        The float32 training fails by about the same step. What is told beside it: whether the
        gradients of earlier steps are still in those of the last traced one.

    Why it matters:
        No change of precision helps.

    Remedy:
        Lower the learning rate, clip gradients, look at the data and the loss, in float32.

    When it is harmless:
        Never, but it is not a question of precision.

    References:
        - I. Goodfellow et al., Deep Learning, 2016, chapter 11.4 on choosing hyper-parameters.
    """

    id = "FL602"
    cause = "diverges-in-float32"
    phase = "update"
    remedies = (
        "Lower the learning rate, or warm it up.",
        OfKeras(
            "Clip the gradients: clipnorm or global_clipnorm of the optimizer.",
            instead="Clip the gradients by their norm.",
            torch="Clip the gradients: torch.nn.utils.clip_grad_norm_.",
        ),
        "Make the training work in float32 first, then diagnose again.",
    )

    def check(self, case: Case) -> Result:
        """Asks the float32 reference."""
        state = case.outcome
        fails = state.ends_broken or state.diverged
        if state.float32_fails is None and fails:
            return CannotTell("the same steps in float32")
        if not state.float32_fails:
            return Clear()
        if _before_training(case):
            text = "Float32 fails as well, before any update: its first loss is not finite"
            first = _first_nonfinite(case)
            if first is not None:
                text += f"; the first that is not is {where(first.place)}"
            place = first.place if first else None
            return self.found(text, harm(case), place=place, remedies=BEFORE_TRAINING)
        text = f"Float32 fails in the same way: {_how(case)}"
        if not added_to_old(case.evidence.traces):
            remedies = WITHOUT_GRADIENT if _never_moved(case) else self.remedies
            return self.found(text, harm(case), remedies=remedies)
        text += "; every step adds its gradients to those of the steps before"
        return self.found(text, harm(case), remedies=CLEARING)


def _again(case: Case) -> tuple[StepRecord, ...]:
    reference = case.evidence.reference
    return (reference.rebuilt or reference.steps) if reference else ()


def _how(case: Case) -> str:
    if not case.outcome.ends_broken:
        return "the loss ends far above its start"
    if any(nonfinite(step.loss) for step in _again(case)):
        return "the loss ends non-finite"
    return "its gradients stay non-finite, and the loss scale skips every step"


def _never_moved(case: Case) -> bool:
    """Whether float32 has finite losses and, from the first step on, no finite gradient."""
    history, again = case.evidence.history.steps, _again(case)
    if not history or history[0].step != 0 or not again or again[0].step != 0:
        return False
    return not any(step.finite_gradients or nonfinite(step.loss) for step in again)


def _before_training(case: Case) -> bool:
    """Whether float32's first loss is non-finite, so that no learning rate is to blame."""
    history, again = case.evidence.history.steps, _again(case)
    if not history or history[0].step != 0:
        return False
    return bool(again) and again[0].step == 0 and nonfinite(again[0].loss)


def _first_nonfinite(case: Case) -> Site | None:
    """The operation of the first step whose result is the first that float32 cannot hold."""
    for trace in case.evidence.traces[:1]:
        view = graph(trace)
        for site in trace.sites:
            before = any(s.statistics.shadow_nonfinite for s in view.inputs(site))
            if site.role == "value" and site.statistics.shadow_nonfinite and not before:
                return None if site.index in view.inherited else site
    return None
