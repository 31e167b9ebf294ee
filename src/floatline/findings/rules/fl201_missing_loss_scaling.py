"""FL201: missing-loss-scaling."""

from __future__ import annotations

from typing import final

from floatline.findings.case import Case
from floatline.findings.rule import Clear, Result, Rule
from floatline.findings.scale_advice import MISSING
from floatline.findings.underflow import gradient_underflow, scales, suspicious


@final
class MissingLossScaling(Rule):
    """Gradients underflow to zero because nothing scales the loss.

    What it means:
        Gradients below 3e-8 are 0 in float16. A loss scale lifts them above that and is taken
        out again before the update. Custom loops, auto_scale_loss=False and mixed_float16 on
        single layers under a float32 global policy get none.

    Evidence:
        No loss scale, and layers of which float32 has a gradient and this precision has not:
        the flushed share per layer. Either training does worse than float32, or the layers
        stand still in the first and in the last traced step while others receive a gradient; or
        they end where they began, behind one that starts at zero, and float32's loss is better.
        Without a run, `floatline inspect` tells that layers with weights compute in float16 and
        that the optimizer has no loss scaling; whether that harms, only a run does.

    Why it matters:
        The layers do not learn, or learn slowly, without any NaN or warning.

    Remedy:
        Wrap the optimizer in LossScaleOptimizer; in a custom loop use its scale_loss and apply.
        Without an optimizer of Keras': torch.amp.GradScaler on PyTorch, floatline.LossScaler on JAX
        and TensorFlow.

    When it is harmless:
        When the flushed gradients are those of samples that are already fitted, or of biases
        that a normalisation cancels: the loss keeps pace with float32.

    References:
        - Micikevicius et al., Mixed Precision Training, 2018, arXiv:1710.03740, section 3.2.
        - keras-team/keras#19244, keras-team/keras#20894: loss scaling in custom loops.
    """

    id = "FL201"
    cause = "missing-loss-scaling"
    phase = "backward"
    remedies = (
        "Wrap the optimizer: keras.optimizers.LossScaleOptimizer(optimizer).",
        "In a custom loop, differentiate optimizer.scale_loss(loss) and call optimizer.apply.",
        'Set the global policy "mixed_float16" before compile: Keras then wraps the optimizer.',
        'Use "mixed_bfloat16", whose smallest values are those of float32.',
    )

    def check(self, case: Case) -> Result:
        """Looks at gradients only when no step was scaled."""
        if scales(case):
            return Clear()
        return gradient_underflow(self, case, "there is no loss scaling", MISSING)

    def asks_float32(self, case: Case) -> bool:
        """Where gradients are flushed, the loss has to say whether that matters."""
        return suspicious(case)
