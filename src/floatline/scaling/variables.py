"""Reads and writes the state of a loss-scale optimizer in its Keras variables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from floatline.scaling.counters import Counters, ScaleReport
from floatline.scaling.scales import DynamicScale
from floatline.scaling.state import Scale, Tensor

LOSS_SCALE_OPTIMIZER = keras.optimizers.LossScaleOptimizer

KERAS_PLACES = {"step_counter": "2", "dynamic_scale": "3"}
"""Where Keras' class stores them, behind its unused counter and learning rate."""

OWN_NAMES = ("dynamic_scale", "step_counter", "scale_memory", "counters")
"""The variables of a loss-scale optimizer beside its inner optimizer's: Keras' two, what else the
law remembers, and the counters; few, because each costs a step something."""


def start_values(law: Scale[Any]) -> tuple[Any, ...]:
    """What the variables hold before the first step, in the order of `OWN_NAMES`."""
    scale, good_steps, *memory = law.initial_state()
    return scale, good_steps, tuple(map(float, memory)), tuple(Counters())


class Snapshot(NamedTuple):
    """Scale, counters and applied steps at one moment; no later step overwrites these tensors."""

    scale: Tensor
    counters: Tensor
    applied: Tensor


def snapshot(optimizer: Any) -> Snapshot:
    """What a report is made of; the host does not wait for it."""
    # Arithmetic copies, and makes one number of a variable that is mirrored on several devices.
    scale, counters = optimizer.dynamic_scale.value + 0.0, optimizer.counters.value + 0
    # The count itself: `iterations` is a quotient of it when gradients are accumulated.
    return Snapshot(scale, counters, optimizer.inner_optimizer._iterations.value + 0)  # noqa: SLF001


def read_report(optimizer: Any, taken: Snapshot) -> ScaleReport:
    """A snapshot on the host."""
    paths = [variable.path for variable in optimizer._trainable_variables]  # noqa: SLF001 (Keras' own field of the base class)
    counts = Counters(*ops.convert_to_numpy(taken.counters).tolist())
    return report_of(optimizer.scale, taken.scale, counts, paths)


def report_of(
    law: Scale[Any], scale: Tensor, counters: Counters, names: Sequence[str]
) -> ScaleReport:
    """Scale and counters in plain numbers."""
    counts = Counters(*(int(value) for value in counters))
    culprit = int(counts.culprit)
    return ScaleReport(
        scale=float(scale),
        floor=float(getattr(law, "floor", law.initial_state().scale)),
        culprit=names[culprit] if 0 <= culprit < len(names) else None,
        **{k: v for k, v in counts._asdict().items() if k != "culprit"},
    )


def law_of(taken: keras.optimizers.LossScaleOptimizer) -> Scale[Any]:
    """The law by which another loss-scale optimizer scales."""
    own: Scale[Any] | None = getattr(taken, "scale", None)
    if own is not None:
        return own
    initial, defaults = float(taken.initial_scale), DynamicScale()
    return DynamicScale(
        initial,
        growth_interval=taken.dynamic_growth_steps,
        floor=min(initial, defaults.floor),
        ceiling=max(initial, defaults.ceiling),
    )
