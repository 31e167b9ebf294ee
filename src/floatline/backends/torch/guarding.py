"""A training step that leaves no trace in its model when the optimizer skips it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import is_
from typing import Any

import torch

from floatline.backends.scaling_interface import SKIPPED
from floatline.backends.torch.recording import Recording
from floatline.backends.torch.values import values_of

Tensor = Any
Versions = list[tuple[Tensor, int]]
"""Tensors, and how often each was written to."""


class Guard:
    """Keeps what a step may write beside its optimizer's updates, and puts it back.

    Which variables these are and what the metrics say takes Keras as long to tell as the rest of
    loss scaling takes. It is known from the step before, unless something else has written to the
    metrics since then, as `fit` does at the beginning of each epoch.

    Frozen weights may be large, and hardly a step writes to them: one to which a step did write is
    kept from the next step on.

    Args:
        model: A Keras model.
        step: Its `train_step`.
    """

    def __init__(self, model: Any, step: Callable[..., Any]) -> None:
        self._model = model
        self._step = step
        self._remember = Recording(_remembered)
        self._settle = Recording(functools.partial(_settled, model))
        self._compiled: tuple[Any, ...] = ()
        self._state: list[Any] = []
        self._metrics: Versions = []
        self._frozen: Versions = []
        self._written: list[Tensor] = []
        self._logs: Mapping[str, Tensor] = {}

    def __call__(self, data: Any) -> Any:
        """Makes the step; where it is skipped, the logs are those of the step before."""
        if not hasattr(self._model.optimizer, "counters"):
            return self._step(data)
        if not self._is_known():
            self._look()
        self._remember(self._state)
        logs = self._step(data)
        loss = torch.as_tensor(logs.get("loss", 0.0), device=self._state[0].device)
        applied = self._settle(self._state, loss)
        if self._logs and logs.keys() != self._logs.keys():
            self._compiled = ()  # Perhaps there is a new metric.
        self._logs = self._kept(logs, applied)
        self._metrics = _versions(tensor for tensor, _ in self._metrics)
        return self._logs

    def _is_known(self) -> bool:
        same = bool(self._compiled) and all(map(is_, self._compiled, _compiled(self._model)))
        return same and not (_written(self._metrics) or _written(self._frozen))

    def _look(self) -> None:
        """Finds out what is to be kept."""
        model, self._compiled, self._logs = self._model, _compiled(self._model), {}
        self._written += _written(self._frozen)
        written = set(map(id, self._written))
        frozen = [each for each in values_of(_frozen_weights(model)) if id(each) not in written]
        self._frozen, left_alone = _versions(frozen), set(map(id, frozen))
        own, metrics = model.optimizer.scale_variables, model.metrics_variables
        variables = [*own, *model.non_trainable_variables, *metrics]
        both = zip(variables, values_of(variables), strict=True)
        variables = [variable for variable, value in both if id(value) not in left_alone]
        values, kept = values_of(variables), self._state[: len(self._state) // 2]
        if [*map(_kind, values)] != [*map(_kind, kept)]:
            kept = [torch.empty_like(value) for value in values]
        self._state = [*kept, *variables]
        self._metrics = _versions(values_of(metrics))

    def _kept(self, logs: dict[str, Tensor], applied: Tensor) -> dict[str, Tensor]:
        """The logs, and those of the step before if the step is skipped."""
        old = self._logs
        if old.keys() != logs.keys():  # It is the first; the metrics are put back by now.
            old = self._model.get_metrics_result()
        if old.keys() != logs.keys() or not all(map(_is_like, logs.values(), old.values())):
            return logs
        with torch.no_grad():
            return {name: torch.where(applied, new, old[name]) for name, new in logs.items()}


def _compiled(model: Any) -> tuple[Any, ...]:
    """Two objects of which compiling a model makes one anew."""
    return model.optimizer, model._loss_tracker  # noqa: SLF001 (no public name)


def _frozen_weights(model: Any) -> list[Any]:
    layers = model._flatten_layers()  # noqa: SLF001 (as in layers.py)
    weights = [v for layer in layers for v in layer._trainable_variables]  # noqa: SLF001 (frozen or not)
    return [variable for variable in weights if not variable.trainable]


def _versions(tensors: Iterable[Tensor]) -> Versions:
    return [(tensor, tensor._version) for tensor in tensors]  # noqa: SLF001 (PyTorch has no public name)


def _written(versions: Versions) -> list[Tensor]:
    """Those that were written to since."""
    return [tensor for tensor, version in versions if tensor._version != version]  # noqa: SLF001 (as above)


def _is_like(value: Any, other: Any) -> bool:
    tensors = isinstance(value, torch.Tensor) and isinstance(other, torch.Tensor)
    return tensors and value.shape == other.shape and value.device == other.device


def _kind(value: Tensor) -> tuple[Any, ...]:
    return value.shape, value.dtype, value.device


def _remembered(*values: Tensor) -> Sequence[Tensor]:
    now = values[len(values) // 2 :]
    return [None, *now, *now]


def _settled(model: Any, loss: Tensor, *values: Tensor) -> Sequence[Tensor]:
    """Puts back all that a skipped step wrote, and clears the scale of a loss that broke."""
    before, now = values[: len(values) // 2], values[len(values) // 2 :]
    own = len(model.optimizer.scale_variables)
    applied = now[own - 1][SKIPPED] == before[own - 1][SKIPPED]
    fails = torch.logical_not(applied | torch.isfinite(loss))
    scale = model.optimizer.cleared(before[:own], now[:own], fails)
    others = [torch.where(applied, n, b) for n, b in zip(now[own:], before[own:], strict=True)]
    return [applied, *before, *scale, *others]
