"""Reads what the light watch wants to know of a step, in one transfer from the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import torch

from floatline.backends.interface import Outcome
from floatline.backends.torch.lanes import Tensor
from floatline.backends.torch.observer import Observed


def note_loss(loss: Tensor) -> Tensor:
    """The loss as one number, still on its device."""
    return loss.detach().to(torch.float32).mean()


def note_finite(gradient: Tensor) -> Tensor:
    """Whether all values of a gradient are finite, still on its device."""
    gradient = gradient.detach()
    values = gradient.coalesce().values() if gradient.is_sparse else gradient
    return torch.isfinite(values).all()


def outcome(observed: Observed, path: Callable[[Any], str]) -> Outcome:
    """The outcome of a step that was observed with `note_loss` and `note_finite`.

    Args:
        observed: What was seen.
        path: Names a variable.
    """
    gradients = observed.handed_over
    loss, scale = observed.loss_notes[:1], observed.scales[:1]
    numbers = fetched([*loss, *scale, *(flag for _, flag in gradients)])
    finite = tuple(bool(flag) for flag in numbers[len(loss) + len(scale) :])
    return Outcome(
        loss=numbers[0] if loss else None,
        finite=finite,
        variables=tuple(path(variable) for variable, _ in gradients),
        loss_scale=numbers[len(loss)] if scale else None,
        # Whoever scales a loss leaves the step out when a gradient is not finite.
        applied=all(finite) or not _scales(observed),
    )


def fetched(values: list[Any]) -> list[float]:
    """Scalars on whatever device as numbers; the host waits once for all of them."""
    if not values:
        return []
    tensors = [torch.as_tensor(value, dtype=torch.float32) for value in values]
    device = next((t.device for t in tensors if t.device.type != "cpu"), tensors[0].device)
    return [float(n) for n in torch.stack([t.to(device) for t in tensors]).tolist()]


def _scales(observed: Observed) -> bool:
    return any(scaler.is_enabled() for scaler in observed.scalers) or any(
        isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        for optimizer in observed.optimizers
    )
