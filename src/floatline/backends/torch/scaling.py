"""Loss scaling on PyTorch: few operations over all tensors at once, and the host waits for none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, final

import torch

from floatline.backends.scaling_interface import Gradient, Tensor


@final
class TorchKernels:
    """The operations of loss scaling on PyTorch."""

    def magnitudes(self, gradients: Sequence[Gradient]) -> Tensor:
        """Each gradient's largest magnitude; a NaN passes through the maximum norm."""
        filled = [g.detach() if g.numel() else g.new_zeros(1) for g in gradients]
        norms = torch._foreach_norm(filled, torch.inf)  # noqa: SLF001 (the public optimizers' own multi-tensor operation)
        return torch.stack(norms).float()

    def unscale(self, gradients: Sequence[Gradient], scale: Tensor) -> list[Gradient]:
        """New gradients, divided by `scale`."""
        divided: list[Gradient] = list(torch._foreach_div([g.detach() for g in gradients], scale))  # noqa: SLF001
        return divided

    def update_where(
        self,
        finite: Tensor,
        update: Callable[[list[Gradient | None]], None],
        gradients: list[Gradient | None],
        variables: Sequence[Any],
    ) -> None:
        """Updates, and then puts back what it wrote unless `finite`."""
        with torch.no_grad():
            before = [variable.value.clone() for variable in variables]
            update(gradients)
            for variable, value in zip(variables, before, strict=True):
                variable.assign(torch.where(finite, variable.value, value))

    def would_freeze(self, value: Tensor) -> bool:
        """Never: PyTorch reads a variable when it computes with it."""
        del value
        return False


KERNELS = TorchKernels()
