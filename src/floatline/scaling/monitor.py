"""The callback that shows loss scaling in the logs of `fit`, and stops what stands still."""

from __future__ import annotations

import math
import warnings
from typing import Any

import keras

from floatline.scaling import checks
from floatline.scaling.counters import ScaleReport
from floatline.scaling.stall import StallError, describe_stall


class ScaleMonitor(keras.callbacks.Callback):  # type: ignore[misc]  # (Keras carries no types)
    """Writes `loss_scale` and `skipped_steps` into the logs of each epoch, and ends a stall.

    `fit` brings one along when it trains with a `floatline.LossScaleOptimizer`; pass your own to
    choose other numbers. The counters stay on the device and are read once in `check_every` steps
    and after each epoch. The mean loss of an epoch in which every step was skipped is NaN.

    Args:
        warn_after: Consecutive skipped steps after which it warns, once per stall.
        stop_after: Consecutive skipped steps after which it stops the training.
        check_every: Steps between two looks at the counters.

    Raises:
        StallError: From `fit`, when `stop_after` steps were skipped one after the other.
    """

    def __init__(self, warn_after: int = 10, stop_after: int = 50, check_every: int = 50) -> None:
        super().__init__()
        for name, value in (
            ("warn_after", warn_after),
            ("stop_after", stop_after),
            ("check_every", check_every),
        ):
            checks.check_count(name, value, "ScaleMonitor")
        self.warn_after = warn_after
        self.stop_after = stop_after
        self.check_every = check_every
        self._steps = 0
        self._skipped_before = 0
        self._warned = False

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Counts anew."""
        del epoch, logs
        self._steps = 0
        optimizer = self.model.optimizer
        self._skipped_before = self._report().skipped if optimizer.built else 0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Looks at the counters, now and then."""
        del logs
        before, self._steps = self._steps, batch + 1
        if self._steps // self.check_every > before // self.check_every:
            self._check(self._report())

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Adds to the logs, and looks at the counters."""
        del epoch
        report = self._report()
        skipped = report.skipped - self._skipped_before
        if logs is not None:
            logs["loss_scale"] = report.scale
            logs["skipped_steps"] = skipped
            if skipped >= self._steps and "loss" in logs:
                logs["loss"] = math.nan
        self._check(report, idle=skipped >= self._steps)

    def _report(self) -> ScaleReport:
        optimizer = self.model.optimizer
        held: list[tuple[Any, Any]] = []
        if not getattr(self.model, "_jax_state_synced", True):
            # JAX' `fit` keeps all values to itself between steps. To put every weight back for a
            # few counters, as `jax_state_sync` does, costs more than a step.
            values = self.model._jax_state["optimizer_variables"]  # noqa: SLF001 (what `jax_state_sync` reads)
            held = list(zip(optimizer.variables, values, strict=True))
        with keras.StatelessScope(held):
            report: ScaleReport = optimizer.report()
        return report

    def _check(self, report: ScaleReport, idle: bool = False) -> None:
        if report.consecutive >= self.stop_after:
            raise StallError(*describe_stall(report))
        stalled = report.consecutive >= self.warn_after or idle
        if stalled and not self._warned:
            warnings.warn("\n".join(describe_stall(report)), stacklevel=2)
        self._warned = stalled
