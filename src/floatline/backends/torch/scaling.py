"""Loss scaling on PyTorch: few operations over all tensors at once, and the host waits for none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, final

import torch

from floatline.backends.scaling_interface import SKIPPED, Gradient, Tensor
from floatline.backends.torch.undo import Backup


@final
class TorchKernels:
    """The operations of loss scaling on PyTorch."""

    def magnitudes(self, gradients: Sequence[Gradient]) -> Tensor:
        """Each gradient's largest magnitude; a NaN passes through the maximum norm."""
        filled = [g if g.numel() else g.new_zeros(1) for g in gradients]
        with torch.no_grad():
            norms = torch._foreach_norm(filled, torch.inf)  # noqa: SLF001 (the public optimizers' own multi-tensor operation)
            return torch.stack(norms).float()

    def unscale(self, gradients: Sequence[Gradient], scale: Tensor) -> list[Gradient]:
        """New gradients, divided by `scale`."""
        with torch.no_grad():
            return list(torch._foreach_div(list(gradients), scale))  # noqa: SLF001 (as above)

    def update_where(
        self,
        finite: Tensor,
        update: Callable[[list[Gradient | None]], None],
        gradients: list[Gradient | None],
        variables: Sequence[Any],
    ) -> None:
        """Updates, and then puts back what it wrote unless `finite`."""
        with torch.no_grad():
            before = _tensors(variables)
            backup = Backup(before, finite)
            update(gradients)
            backup.restore()
            for variable, old, new in zip(variables, before, _tensors(variables), strict=True):
                if new is not old:  # In a `StatelessScope` some are replaced, not written to.
                    variable.assign(torch.where(finite, new, old))

    def guarded_step(self, model: Any, step: Callable[..., Any]) -> Callable[..., Any]:
        """A train step that leaves no trace in `model` when its optimizer skips."""

        def train_step(data: Any) -> Any:
            optimizer = model.optimizer
            if not hasattr(optimizer, "counters"):
                return step(data)
            variables = [*model.non_trainable_variables, *model.metrics_variables]
            with torch.no_grad():
                before = [variable.value.clone() for variable in variables]
                scale = [variable.value.clone() for variable in optimizer.scale_variables]
            logs = step(data)
            with torch.no_grad():
                counters = optimizer.scale_variables[-1].value
                applied = counters[SKIPPED] == scale[-1][SKIPPED]
                _put_back_unless(applied, variables, before)
                _exonerate(optimizer, scale, applied, logs)
            results: dict[str, Tensor] = model.get_metrics_result()
            return results if results.keys() == logs.keys() else logs

        return train_step

    def would_freeze(self, value: Tensor) -> bool:
        """Never: PyTorch reads a variable when it computes with it."""
        del value
        return False


def _put_back_unless(finite: Tensor, variables: Sequence[Any], before: Sequence[Tensor]) -> None:
    for variable, value in zip(variables, before, strict=True):
        variable.assign(torch.where(finite, variable.value, value))


def _exonerate(
    optimizer: Any, scale: Sequence[Tensor], applied: Tensor, logs: dict[str, Tensor]
) -> None:
    """Puts the scale back where the loss was non-finite before it was scaled."""
    if "loss" in logs:
        loss = torch.as_tensor(logs["loss"], device=applied.device)
        fails = torch.logical_not(applied | torch.isfinite(loss))
        now = [variable.value for variable in optimizer.scale_variables]
        values = optimizer.cleared(scale, now, fails)
        for variable, value in zip(optimizer.scale_variables, values, strict=True):
            variable.assign(value)


def _tensors(variables: Sequence[Any]) -> list[Tensor]:
    """The tensors that are read and written now: Keras' `value`, which is slow, only if needed."""
    raw = [v if isinstance(v, torch.Tensor) else v._value for v in variables]  # noqa: SLF001 (what `value` returns outside of scopes)
    if all(v is r or v.value is r for v, r in zip(variables[:1], raw, strict=False)):
        return raw
    return [variable.value for variable in variables]


KERNELS = TorchKernels()
