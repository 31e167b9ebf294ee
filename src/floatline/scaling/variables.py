"""Reads and writes the state of a loss-scale optimizer in its Keras variables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from floatline.scaling.calibrated import CalibratedState
from floatline.scaling.counters import Counters, ScaleReport
from floatline.scaling.scales import DynamicScale
from floatline.scaling.state import AnyState, Scale, ScaleState

LOSS_SCALE_OPTIMIZER = keras.optimizers.LossScaleOptimizer

KERAS_NAMES = {"scale": "dynamic_scale", "good_steps": "step_counter"}
"""Fields of a scale's state that Keras' class has under a name of its own."""

KERAS_PLACES = {"step_counter": "2", "dynamic_scale": "3"}
"""Where Keras' class stores them, behind its unused counter and learning rate."""

OWN_FIELDS = tuple(
    dict.fromkeys(
        KERAS_NAMES.get(field, field)
        for fields in (ScaleState._fields, CalibratedState._fields, Counters._fields)
        for field in fields
    )
)
"""Names of all variables that a loss-scale optimizer may have beside its inner optimizer's."""


def state_names(state: AnyState) -> tuple[str, ...]:
    """The optimizer's names for the fields of a scale's state."""
    return tuple(KERAS_NAMES.get(field, field) for field in type(state)._fields)  # type: ignore[attr-defined]  # (every state is a named tuple)


def read_state(optimizer: Any) -> Any:
    """The state of the scale, as tensors."""
    start = optimizer.scale.initial_state()
    return type(start)(*(getattr(optimizer, name).value for name in state_names(start)))


def read_counters(optimizer: Any) -> Counters:
    """The counters, as tensors."""
    return Counters(*(getattr(optimizer, field).value for field in Counters._fields))


def write(optimizer: Any, state: AnyState, counters: Counters) -> None:
    """Assigns state and counters to the variables."""
    for name, value in zip(state_names(state), state, strict=True):  # type: ignore[call-overload]  # (every state is a named tuple)
        getattr(optimizer, name).assign(value)
    for name, value in zip(Counters._fields, counters, strict=True):
        getattr(optimizer, name).assign(value)


def read_report(optimizer: Any) -> ScaleReport:
    """State and counters on the host."""
    paths = [variable.path for variable in optimizer._trainable_variables]  # noqa: SLF001 (Keras' own field of the base class)
    return report_of(optimizer.scale, read_state(optimizer), read_counters(optimizer), paths)


def report_of(
    law: Scale[Any], state: AnyState, counters: Counters, names: Sequence[str]
) -> ScaleReport:
    """State and counters on the host."""
    # Arithmetic makes a number of a variable that is mirrored on several devices, too.
    counts = Counters(*(int(value + 0) for value in counters))
    culprit = int(counts.culprit)
    return ScaleReport(
        scale=float(state.scale + 0.0),
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
