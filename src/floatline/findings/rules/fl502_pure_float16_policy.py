"""FL502: pure-float16-policy."""

from __future__ import annotations

from typing import final

from floatline.findings.advice import OfKeras
from floatline.findings.case import Case
from floatline.findings.origin_rule import FLOAT32_FIRST, harm
from floatline.findings.rule import CannotTell, Clear, Result, Rule
from floatline.formats import LOW_FORMATS
from floatline.records import Number, Severity


@final
class PureFloat16Policy(Rule):
    """Weights are kept in half precision: the policy is float16, not mixed_float16.

    What it means:
        The policy "float16" (or "bfloat16") keeps variables and optimizer state in half
        precision and scales no loss. Mixed precision keeps them in float32.

    Evidence:
        Layers, or without Keras trained variables, in half precision; a failure only when training
        breaks or does worse than float32.
        `floatline inspect` tells it without a run, as a risk.

    Why it matters:
        Small updates are lost, optimizer epsilons such as 1e-8 are 0, gradients underflow.

    Remedy:
        Use the mixed policy; without Keras, keep weights in float32 and cast copies of them.

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
        OfKeras(
            'Use the policy "mixed_float16" (or "mixed_bfloat16") instead.',
            instead="Keep weights in float32, and cast copies of them in the loss.",
            torch="Keep weights in float32, and let torch.autocast compute in half precision.",
        ),
        "If memory forces float16 weights, use an optimizer epsilon of 1e-4 or more.",
    )

    def check(self, case: Case) -> Result:
        """Found as a failure when training suffers, else as advice."""
        kept = half_variables(case)
        if not kept:
            return Clear()
        state = case.outcome
        if state.float32_fails:
            return CannotTell(FLOAT32_FIRST)
        suffers = state.broken or bool(state.worse)
        severity: Severity = "failure" if suffers else "advice"
        dtype, what = next(iter(kept.values())), "layers"
        summary = f"{len(kept)} layers keep their weights in {dtype}"
        if not case.evidence.configuration.layers:
            what, summary = "variables", f"{len(kept)} weights are kept in {dtype}"
        summary += ", and training suffers" if suffers else "; training keeps up so far"
        numbers: dict[str, Number] = {what: len(kept), "variable_dtype": dtype, **harm(case)}
        return self.found(summary, numbers, severity=severity)

    def asks_float32(self, case: Case) -> bool:
        """Where weights are kept in half precision, the loss has to say whether that matters."""
        return bool(half_variables(case))


def half_variables(case: Case) -> dict[str, str]:
    """What keeps weights in half precision, and in which: layers; without Keras' layers, variables.

    A variable counts when it is trained: read in half precision and given a gradient.
    """
    layers = case.evidence.configuration.layers
    if layers:
        records = (record for record in layers if record.variable_dtype in LOW_FORMATS)
        return {record.path: str(record.variable_dtype) for record in records}
    found: dict[str, str] = {}
    for trace in case.evidence.traces:
        trained = {gradient.variable for gradient in trace.gradients}
        read = (s for s in trace.sites if s.role == "parameter" and s.dtype in LOW_FORMATS)
        found |= {site.variable: site.dtype for site in read if site.variable in trained}
    return found
