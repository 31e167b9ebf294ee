"""What to do about a loss scale where Keras' optimizer does not keep it, by framework."""

from __future__ import annotations

from collections.abc import Mapping

from floatline.findings.case import Case

Advice = Mapping[str, tuple[str, ...]]
"""What to change, by the name of the framework."""

_TORCH = "torch.amp.GradScaler(device)"
_BFLOAT16 = "Use bfloat16 instead of float16: its smallest values are those of float32."

MISSING: Advice = {
    "torch": (
        (
            f"Scale the loss with scaler = {_TORCH}: scaler.scale(loss).backward(), then"
            " scaler.step(optimizer) and scaler.update()."
        ),
        "Where gradients are clipped, call scaler.unscale_(optimizer) before.",
        _BFLOAT16,
    ),
    "jax": (
        (
            "Scale the loss with scaler = floatline.LossScaler(): differentiate scaler.scale(loss,"
            " state), take scaler.unscale(jax.tree.leaves(gradients), state), and carry"
            " scaler.update(state, unscaled) to the next step."
        ),
        (
            "Let scaler.select(unscaled, new, old) keep weights and optimizer where a gradient is"
            " not finite."
        ),
        _BFLOAT16,
    ),
    "tensorflow": (
        (
            "Scale the loss with scaler = floatline.LossScaler(): scaler.scale(loss, state) inside"
            " the tape, scaler.unscale(gradients, state) behind it, and carry"
            " scaler.update(state, unscaled) to the next step."
        ),
        "Update in scaler.step(unscaled, update, variables), which skips what is not finite.",
        _BFLOAT16,
    ),
}
"""Where nothing scales the loss."""

TOO_LOW: Advice = {
    "torch": (
        "Start from a higher scale: torch.amp.GradScaler(device, init_scale=2.0**15) or more.",
        "Let the scale grow faster: a smaller growth_interval.",
    ),
    "jax": ("Start from a higher scale, 2.0**15 or more, and let it grow while steps are finite.",),
    "tensorflow": (
        "Start from a higher scale, 2.0**15 or more, and let it grow while steps are finite.",
    ),
}
"""Where the scale is too low."""

TOO_HIGH: Advice = {
    "torch": ("Start lower: torch.amp.GradScaler(device, init_scale=...) with the settled scale.",),
    "jax": ("Start lower, with the settled scale.",),
    "tensorflow": ("Start lower, with the settled scale.",),
}
"""Where the search for a scale starts too high."""


def scale_advice(case: Case, advice: Advice) -> tuple[str, ...]:
    """The advice for a loop of the framework's own; nothing where Keras has the optimizer."""
    configuration = case.evidence.configuration
    if configuration.entry != "step function" or configuration.optimizer is not None:
        return ()
    return advice.get(case.backend or "", ())
