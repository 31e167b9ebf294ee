"""FL502: pure-float16-policy."""

from __future__ import annotations

from typing import final

from floatline.findings.case import Case
from floatline.findings.origin_rule import FLOAT32_FIRST, harm
from floatline.findings.rule import CannotTell, Clear, Result, Rule
from floatline.formats import LOW_FORMATS
from floatline.records import LayerRecord, Number, Severity


@final
class PureFloat16Policy(Rule):
    """Weights are kept in half precision: the policy is float16, not mixed_float16.

    What it means:
        The policy "float16" (or "bfloat16") keeps variables and optimizer state in half
        precision and scales no loss. Mixed precision keeps them in float32.

    Evidence:
        Layers whose variables are in half precision; a failure only when training breaks or
        does worse than float32.

    Why it matters:
        Small updates are lost, optimizer epsilons such as 1e-8 are 0, gradients underflow.

    Remedy:
        Use the mixed policy.

    When it is harmless:
        Small models often train; then this is advice.

    References:
        - keras-team/keras#15012: half precision taken for mixed precision.
        - Micikevicius et al., Mixed Precision Training, 2018, arXiv:1710.03740, section 3.1.
    """

    id = "FL502"
    cause = "pure-float16-policy"
    phase = "configuration"
    remedies = (
        'Use the policy "mixed_float16" (or "mixed_bfloat16") instead.',
        "If memory forces half-precision weights, use an optimizer epsilon of 1e-4 or more.",
    )

    def check(self, case: Case) -> Result:
        """Found as a failure when training suffers, else as advice."""
        layers = half_variables(case)
        if not layers:
            return Clear()
        state = case.outcome
        if state.float32_fails:
            return CannotTell(FLOAT32_FIRST)
        suffers = state.broken or bool(state.worse)
        severity: Severity = "failure" if suffers else "advice"
        dtype = layers[0].variable_dtype
        summary = f"{len(layers)} layers keep their weights in {dtype}"
        summary += ", and training suffers" if suffers else "; training keeps up so far"
        numbers: dict[str, Number] = {"layers": len(layers), "variable_dtype": dtype, **harm(case)}
        return self.found(summary, numbers, severity=severity)


def half_variables(case: Case) -> tuple[LayerRecord, ...]:
    """Layers whose variables are in half precision."""
    layers = case.evidence.configuration.layers
    return tuple(layer for layer in layers if layer.variable_dtype in LOW_FORMATS)
