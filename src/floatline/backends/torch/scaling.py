"""Loss scaling on PyTorch: few operations over all tensors at once, and the host waits for none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from keras import ops
from keras.src.backend.common.stateless_scope import in_stateless_scope

from floatline.backends.scaling_interface import (
    Assign,
    Function,
    Gradient,
    Tensor,
    Transition,
    Updater,
)
from floatline.backends.torch.guarding import Guard
from floatline.backends.torch.recording import Recording
from floatline.backends.torch.undo import Backup
from floatline.backends.torch.values import values_of, write


@final
class TorchKernels:
    """The operations of loss scaling on PyTorch."""

    def magnitudes(self, gradients: Sequence[Gradient]) -> Tensor:
        """Each gradient's largest magnitude; a NaN passes through the maximum norm."""
        filled = [g if g.numel() else g.new_zeros(1) for g in gradients]
        with torch.no_grad():
            norms = torch._foreach_norm(filled, torch.inf)  # noqa: SLF001 (the public optimizers' own multi-tensor operation)
            return torch.stack(norms).float()

    def scaled(self, loss: Tensor, scale: Tensor) -> Tensor:
        """The loss times the scale; NaN in every gradient if the loss is NaN."""
        loss = ops.convert_to_tensor(loss)
        wide = loss.float() if loss.dtype.itemsize < torch.float32.itemsize else loss
        known = wide.detach()
        return wide * torch.where(known.isnan(), known, scale)

    def transition(self, function: Function, assign: Assign) -> Transition:
        """Recorded on a GPU as a CUDA graph: one launch instead of some eighty."""
        del assign  # It is written in place, or by Keras' own `assign` in a `StatelessScope`.
        return Recording(function)

    def unscale(self, gradients: Sequence[Gradient], scale: Tensor) -> list[Gradient]:
        """New gradients, divided by `scale`."""
        with torch.no_grad():
            return list(torch._foreach_div(list(gradients), scale))  # noqa: SLF001 (as above)

    def updater(self) -> Updater:
        """Updates, and then puts back what was written unless the step is finite."""
        return _update_or_undo(Backup())

    def guarded_step(self, model: Any, step: Callable[..., Any]) -> Callable[..., Any]:
        """A train step that leaves no trace in `model` when its optimizer skips."""
        return Guard(model, step)

    def would_freeze(self, value: Tensor) -> bool:
        """Never: PyTorch reads a variable when it computes with it."""
        del value
        return False


def _update_or_undo(backup: Backup) -> Updater:
    def update_where(
        finite: Tensor,
        update: Callable[[list[Gradient | None]], None],
        gradients: list[Gradient | None],
        variables: Sequence[Any],
    ) -> None:
        before = values_of(variables)
        with torch.no_grad():
            backup.save(before, finite)
            update(gradients)
            backup.restore()
            if in_stateless_scope():  # There some are replaced, not written to.
                after = values_of(variables)
                put = [torch.where(finite, a, b) for a, b in zip(after, before, strict=True)]
                write(variables, after, put)

    return update_where


KERNELS = TorchKernels()
