"""Undoes on the device what should not have happened, without telling the host.

PyTorch has no multi-tensor `where`, but the kernels behind its fused optimizers test a flag on the
device and return at once when it is set (`found_inf`, see
https://docs.pytorch.org/docs/stable/amp.html). In its first step with momentum, fused SGD sets the
momentum buffer to the gradient: a copy of whole lists of tensors that costs next to nothing when
the flag says that there is nothing to copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import is_
from typing import Any

import torch

Tensor = Any


class Backup:
    """Saves the values of tensors, should a step have to be undone; empty memory if not.

    What it knows of the tensors is kept from step to step, and the memory is given back.
    """

    def __init__(self) -> None:
        self._tensors: list[Tensor] = []
        self._groups: list[_Group] = []
        self._others: list[Tensor] = []
        self._values: list[Tensor] = []
        self._finite: Tensor = None
        self._flag: Tensor = None

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # (PyTorch carries no types here); it compiles no fused SGD
    def save(self, tensors: Sequence[Tensor], finite: Tensor) -> None:
        """Saves the tensors unless `finite`.

        Args:
            tensors: What to save; anything but dense floats on one device is copied in any case.
            finite: Boolean scalar on the device.
        """
        if not (len(tensors) == len(self._tensors) and all(map(is_, tensors, self._tensors))):
            self._group(tensors, finite.device)
        self._values = [tensor.clone() for tensor in self._others]
        self._finite, self._flag = finite, finite.float()
        for group in self._groups:
            group.save_unless(self._flag)

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # (as above)
    def restore(self) -> None:
        """Puts the saved values back unless the step was finite, and gives the memory back."""
        for group in self._groups:
            group.restore_unless(self._flag)
        for tensor, value in zip(self._others, self._values, strict=True):
            tensor.copy_(torch.where(self._finite, tensor, value))
        self._values = []

    def __deepcopy__(self, memo: dict[int, Any]) -> Backup:
        """A copy saves other tensors."""
        return Backup()

    def _group(self, tensors: Sequence[Tensor], device: Any) -> None:
        fused: dict[Any, list[Tensor]] = {}
        self._tensors, self._others = list(tensors), []
        for tensor in tensors:
            # Copying leaves bits as they are, so that counts of steps may pass for floats.
            same = tensor.view(torch.float32) if tensor.dtype == torch.int32 else tensor
            if _is_fusible(same, device):
                fused.setdefault(same.dtype, []).append(same)
            else:
                self._others.append(tensor)
        self._groups = [_Group(group) for group in fused.values()]


class _Group:
    """Tensors of one dtype; copies overwrite their first argument with scratch of its shape."""

    def __init__(self, tensors: list[Tensor]) -> None:
        self._tensors = tensors
        sizes = [tensor.numel() for tensor in tensors]
        self._memory = tensors[0].new_empty(sum(sizes) + max(sizes))
        self._bytes = self._memory.untyped_storage().nbytes()
        *self._saved, spare = self._memory.split([*sizes, max(sizes)])
        self._saved = [s.view(t.shape) for s, t in zip(self._saved, tensors, strict=True)]
        self._scratch = [spare[: t.numel()].view(t.shape) for t in tensors]

    def save_unless(self, flag: Tensor) -> None:
        self._memory.untyped_storage().resize_(self._bytes)
        _copy_unless(flag, self._tensors, self._saved, self._scratch)

    def restore_unless(self, flag: Tensor) -> None:
        _copy_unless(flag, self._saved, self._tensors, self._scratch)
        self._memory.untyped_storage().resize_(0)  # The views stay, and so do not cost a step.


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
