"""Loss scaling on PyTorch: few operations over all tensors at once, and the host waits for none."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, final

import torch

from floatline.backends.scaling_interface import (
    SKIPPED,
    Function,
    Gradient,
    Tensor,
    Updater,
)
from floatline.backends.torch.recording import Recording
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

    def recorded(self, function: Function) -> Function:
        """The function, recorded on a GPU as a CUDA graph: one launch instead of some eighty."""
        return Recording(function)  # type: ignore[return-value]  # (is called alike)

    def unscale(self, gradients: Sequence[Gradient], scale: Tensor) -> list[Gradient]:
        """New gradients, divided by `scale`."""
        with torch.no_grad():
            return list(torch._foreach_div(list(gradients), scale))  # noqa: SLF001 (as above)

    def updater(self) -> Updater:
        """Updates, and then puts back what was written unless the step is finite."""
        return _update_or_undo(Backup())

    def guarded_step(self, model: Any, step: Callable[..., Any]) -> Callable[..., Any]:
        """A train step that leaves no trace in `model` when its optimizer skips."""

        @functools.lru_cache(maxsize=1)
        def clear(optimizer: Any) -> Recording:
            return Recording(functools.partial(_cleared, optimizer))

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
                now = [variable.value for variable in optimizer.scale_variables]
                loss = torch.as_tensor(logs.get("loss", 0.0), device=now[0].device)
                applied, *cleared = clear(optimizer)(loss, *scale, *now)
                for variable, value in zip(optimizer.scale_variables, cleared, strict=True):
                    variable.assign(value)
                _put_back_unless(applied, variables, before)
            results: dict[str, Tensor] = model.get_metrics_result()
            return results if results.keys() == logs.keys() else logs

        return train_step

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
        with torch.no_grad():
            before = _tensors(variables)
            backup.save(before, finite)
            update(gradients)
            backup.restore(finite)
            for variable, old, new in zip(variables, before, _tensors(variables), strict=True):
                if new is not old:  # In a `StatelessScope` some are replaced, not written to.
                    variable.assign(torch.where(finite, new, old))

    return update_where


def _put_back_unless(finite: Tensor, variables: Sequence[Any], before: Sequence[Tensor]) -> None:
    for variable, value in zip(variables, before, strict=True):
        variable.assign(torch.where(finite, variable.value, value))


def _cleared(optimizer: Any, loss: Tensor, *values: Tensor) -> Sequence[Tensor]:
    """Whether the step was applied, and the scale's variables, cleared of a loss that broke."""
    half = len(values) // 2
    before, after = values[:half], values[half:]
    applied = after[-1][SKIPPED] == before[-1][SKIPPED]
    fails = torch.logical_not(applied | torch.isfinite(loss))
    return [applied, *optimizer.cleared(before, after, fails)]


def _tensors(variables: Sequence[Any]) -> list[Tensor]:
    """The tensors that are read and written now: Keras' `value`, which is slow, only if needed."""
    raw = [v if isinstance(v, torch.Tensor) else v._value for v in variables]  # noqa: SLF001 (what `value` returns outside of scopes)
    if all(v is r or v.value is r for v, r in zip(variables[:1], raw, strict=False)):
        return raw
    return [variable.value for variable in variables]


KERNELS = TorchKernels()
