"""FL606: learns-nothing."""

from __future__ import annotations

from typing import final

from floatline.findings.case import Case
from floatline.findings.learning import DEALS, LEAST_EPOCHS, MANY_STEPS, gains, learns_little
from floatline.findings.origin_rule import harm
from floatline.findings.rule import Clear, Result, Rule
from floatline.findings.words import number
from floatline.records import Severity


@final
class LearnsNothing(Rule):
    """The model learns nothing from its inputs, in float32 either.

    What it means:
        Targets that do not belong to their inputs (shuffled apart, sorted on one side only, an
        index off by one), inputs that are lost on the way (a wrong scale, a mask, features that
        are all alike), or a learning rate that moves nothing. No precision helps.

    Evidence:
        Float32, trained again with targets that belong to other inputs, ends with the same loss:
        the right ones gain nothing beyond three standard errors, and less than a twentieth of the
        loss. The error is that from step to step, and from one such training to the next, of which
        there are three. Looked at only where the loss of at least 60 updates of a Keras `fit` did
        not fall to a quarter, with a loss of Keras' own, which compares row by row, and inputs that
        are no whole numbers. Advice only, where fewer than four epochs were meant, or neither 500
        steps nor the end of the training were watched.

    Why it matters:
        The loss falls as far as the mean of the targets takes it, and later because the model
        learns its examples by heart; nothing of that holds for others.

    Remedy:
        Look at a few inputs beside their targets as the model gets them.

    When it is harmless:
        When targets are drawn at random on purpose, for a test of speed.

    References:
        - C. Zhang et al., Understanding deep learning requires rethinking generalization, 2017,
          arXiv:1611.03530, on training with random labels.
        - M. Ojala and G. Garriga, Permutation Tests for Studying Classifier Performance, Journal of
          Machine Learning Research 11, 2010.
    """

    id = "FL606"
    cause = "learns-nothing"
    phase = "update"
    remedies = (
        "Check that inputs and targets belong together row by row, as the model gets them.",
        "Let it learn one batch by heart in float32: if it cannot, look at the learning rate.",
    )

    def check(self, case: Case) -> Result:
        """Compares float32 with itself on targets that belong to other inputs."""
        history, reference = case.evidence.history, case.evidence.reference
        asked = reference and len(reference.dealt_out) == DEALS and learns_little(history)
        found = gains(reference) if reference and asked else []
        if not found or case.outcome.worse or not all(gain.is_nothing for gain in found):
            return Clear()
        gain = found[0]
        text = (
            f"Float32 ends at a loss of {number(gain.loss)}, and with targets that belong to other"
            f" inputs at {number(gain.others)}: the model learns nothing from its inputs"
        )
        numbers = {
            "loss_with_other_targets": gain.others,
            "standard_error": gain.error,
            **harm(case),
        }
        epochs = case.evidence.configuration.epochs or 1
        long = history.stopped == "end of training" or len(history.steps) >= MANY_STEPS
        meant = long and epochs >= LEAST_EPOCHS
        severity: Severity = "failure" if meant else "advice"
        return self.found(text, numbers, severity=severity)
