"""FL501: policy-set-too-late."""

from __future__ import annotations

from typing import final

from floatline.findings.case import Case
from floatline.findings.rule import Clear, Result, Rule
from floatline.formats import LOW_FORMATS
from floatline.records import Number


@final
class PolicySetTooLate(Rule):
    """A mixed policy is set, and no layer computes in it.

    What it means:
        A layer takes the global policy when it is built. A policy that is set after the model
        was built changes nothing; the model trains in float32.

    Evidence:
        The global policy is mixed and every layer computes in float32.
        `floatline inspect` tells it without a run.

    Why it matters:
        Nothing fails, and nothing is gained: no memory and no time is saved.

    Remedy:
        Set the policy before the first layer is made.

    When it is harmless:
        Always for the numbers; it is advice.

    References:
        - keras.config.set_dtype_policy: applies to layers created afterwards.
    """

    id = "FL501"
    cause = "policy-set-too-late"
    phase = "configuration"
    remedies = ("Call keras.config.set_dtype_policy before the first layer of the model is made.",)

    def check(self, case: Case) -> Result:
        """Compares the global policy with what the layers compute in."""
        configuration = case.evidence.configuration
        layers = configuration.layers
        low = any(layer.compute_dtype in LOW_FORMATS for layer in layers)
        if not configuration.global_policy.startswith("mixed_") or not layers or low:
            return Clear()
        summary = (
            f"The global policy is {configuration.global_policy}, but all {len(layers)} layers"
            " compute in float32: it was set after they were made"
        )
        numbers: dict[str, Number] = {
            "global_policy": configuration.global_policy,
            "layers": len(layers),
        }
        return self.found(summary, numbers, severity="advice")
