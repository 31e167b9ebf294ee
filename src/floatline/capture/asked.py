"""What became of the precision that a script was asked to run in."""

from __future__ import annotations

import keras

from floatline.records import Configuration


def precision_note(
    configuration: Configuration, precision: str | None, *, has_layers: bool
) -> str | None:
    """What a reader must know who has asked for a precision; None where it is what was run.

    Args:
        configuration: The training.
        precision: Name of the dtype policy that was set before the script began, or None.
        has_layers: Whether the script has made a layer of Keras'.
    """
    if precision is None:
        return None
    actual = configuration.global_policy
    if actual != precision:
        return (
            f"The script sets the policy {actual!r} itself; the requested {precision!r} holds only "
            "for what it made before."
        )
    if not (has_layers or configuration.layers):
        return (
            f"The requested {precision!r} changed nothing: it is a policy for the layers of Keras, "
            "and the script has made none. What it computes in half precision, it has to say "
            "itself: torch.autocast on PyTorch, casts on JAX and TensorFlow."
        )
    wanted = keras.dtype_policies.get(precision).compute_dtype
    layers = configuration.layers
    if layers and all(layer.compute_dtype != wanted for layer in layers):
        return (
            f"The requested {precision!r} changed nothing in the layers that are trained: the "
            "script gives each of them a dtype of its own."
        )
    return None
