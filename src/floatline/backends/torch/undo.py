"""Undoes on the device what should not have happened, without telling the host.

PyTorch has no multi-tensor `where`, but the kernels behind its fused optimizers test a flag on the
device and return at once when it is set (`found_inf`, see
https://docs.pytorch.org/docs/stable/amp.html). In its first step with momentum, fused SGD sets the
momentum buffer to the gradient: a copy of whole lists of tensors that costs next to nothing when
the flag says that there is nothing to copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

Tensor = Any


class Backup:
    """The values of tensors, should a step have to be undone; empty memory if not.

    Args:
        tensors: What to save; anything but dense floats on one device is copied in any case.
        finite: Boolean scalar on the device: False saves, and lets `restore` put back.
    """

    def __init__(self, tensors: Sequence[Tensor], finite: Tensor) -> None:
        self._finite = finite
        self._flag = finite.float()
        fused: dict[Any, list[Tensor]] = {}
        self._others = []
        for tensor in tensors:
            if _is_fusible(tensor, finite.device):
                fused.setdefault(tensor.dtype, []).append(tensor)
            else:
                self._others.append((tensor, tensor.clone()))
        self._groups = [_Group(group) for group in fused.values()]
        for group in self._groups:
            group.save_unless(self._flag)

    def restore(self) -> None:
        """Puts the saved values back, unless the step was finite."""
        for group in self._groups:
            group.restore_unless(self._flag)
        for tensor, value in self._others:
            tensor.copy_(torch.where(self._finite, tensor, value))


class _Group:
    """Tensors of one dtype; copies overwrite their first argument with scratch of its shape."""

    def __init__(self, tensors: list[Tensor]) -> None:
        self._tensors = tensors
        memory = tensors[0].new_empty(sum(tensor.numel() for tensor in tensors))
        self._saved = torch._utils._unflatten_dense_tensors(memory, tensors)  # noqa: SLF001 (views for all of them in one call)
        shapes = {tensor.shape: tensor for tensor in tensors}
        scratch = {shape: torch.empty_like(tensor) for shape, tensor in shapes.items()}
        self._scratch = [scratch[tensor.shape] for tensor in tensors]

    def save_unless(self, flag: Tensor) -> None:
        _copy_unless(flag, self._tensors, self._saved, self._scratch)

    def restore_unless(self, flag: Tensor) -> None:
        _copy_unless(flag, self._saved, self._tensors, self._scratch)


def _copy_unless(
    flag: Tensor, sources: Sequence[Tensor], targets: Sequence[Tensor], scratch: list[Tensor]
) -> None:
    torch._fused_sgd_(
        scratch,
        sources,
        targets,
        weight_decay=0.0,
        momentum=1.0,
        lr=0.0,
        dampening=0.0,
        nesterov=False,
        maximize=False,
        is_first_step=True,
        grad_scale=None,
        found_inf=flag,
    )


def _is_fusible(tensor: Tensor, device: Any) -> bool:
    return bool(
        tensor.is_floating_point()
        and tensor.device == device
        and tensor.is_contiguous()
        and tensor.numel()
    )
