"""The callback that shows loss scaling in the logs of `fit`, and stops what stands still."""

from __future__ import annotations

import math
import warnings
from typing import Any

import keras

from floatline.scaling import checks
from floatline.scaling.counters import ScaleReport
from floatline.scaling.stall import StallError, describe_stall
from floatline.scaling.variables import Snapshot

READ_AFTER = 5
"""Steps until the device has surely computed what was asked of it."""


class ScaleMonitor(keras.callbacks.Callback):  # type: ignore[misc]  # (Keras carries no types)
    """Writes `loss_scale` and `skipped_steps` into the logs of each epoch, and ends a stall.

    `fit` brings one along when it trains with a `floatline.LossScaleOptimizer`; pass your own to
    choose other numbers. The counters stay on the device; once in `check_every` steps they are
    copied there and read a few steps later, and after each epoch. The mean loss of an epoch in
    which every step was skipped is NaN.

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
        self._skipped = 0
        self._applied = 0
        self._looked_at = 0
        self._taken: Snapshot | None = None
        self._warned = False

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Remembers what happened before."""
        del logs
        self._skipped, self._applied = 0, 0
        if self.model.optimizer.built:
            self._read()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Counts anew."""
        del epoch, logs
        self._looked_at, self._taken = 0, None

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Looks at the counters, now and then.

        It is not `on_train_batch_end`, which would make Keras wait for the logs of every step. What
        is read was taken some steps before, so that the device has it ready.
        """
        del logs
        if self._taken is not None and batch >= self._looked_at + READ_AFTER:
            self._check(self.model.optimizer.report_of(self._taken))
            self._taken = None
        if batch // self.check_every > self._looked_at // self.check_every:
            self._taken, self._looked_at = self._snapshot(), batch

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Adds to the logs, and looks at the counters."""
        del epoch
        skipped, applied = self._skipped, self._applied
        report = self._read()
        idle = report.skipped > skipped and self._applied == applied
        if logs is not None:
            logs["loss_scale"] = report.scale
            logs["skipped_steps"] = report.skipped - skipped
            if idle and "loss" in logs:
                logs["loss"] = math.nan
        self._check(report, idle)

    def _read(self) -> ScaleReport:
        """The counters now."""
        taken = self._snapshot()
        report: ScaleReport = self.model.optimizer.report_of(taken)
        self._skipped, self._applied = report.skipped, int(taken.applied)
        return report

    def _snapshot(self) -> Snapshot:
        optimizer = self.model.optimizer
        held: list[tuple[Any, Any]] = []
        if not getattr(self.model, "_jax_state_synced", True):
            # JAX' `fit` keeps all values to itself between steps. To put every weight back for a
            # few counters, as `jax_state_sync` does, costs more than a step.
            values = self.model._jax_state["optimizer_variables"]  # noqa: SLF001 (what `jax_state_sync` reads)
            held = list(zip(optimizer.variables, values, strict=True))
        with keras.StatelessScope(held):
            taken: Snapshot = optimizer.snapshot()
        return taken

    def _check(self, report: ScaleReport, idle: bool = False) -> None:
        if report.consecutive >= self.stop_after:
            raise StallError(*describe_stall(report))
        stalled = report.consecutive >= self.warn_after or idle
        if stalled and not self._warned:
            warnings.warn("\n".join(describe_stall(report)), stacklevel=2)
        self._warned = stalled
