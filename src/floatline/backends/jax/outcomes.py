"""What a step that ran has shown: loss, gradients, loss scale, and whether it was skipped."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import jax.numpy as jnp
import keras
import numpy as np

from floatline.backends.interface import Outcome
from floatline.backends.jax.builder import StepJaxpr
from floatline.backends.jax.lanes import Array
from floatline.backends.jax.programs import PlainProgram, Ran
from floatline.backends.jax.variables import scale_position


def outcome_of(
    step: StepJaxpr, program: PlainProgram, inputs: Sequence[Array], ran: Ran
) -> Outcome:
    """Loss, gradients and loss scale of a step that ran, and whether it moved the weights.

    Args:
        step: The step.
        program: What ran it.
        inputs: What it was given.
        ran: What it gave.
    """
    finite = tuple(map(bool, np.asarray(ran.finite)))
    scale = scale_position(step.observed.optimizers, step.paths)
    scale = program.scale if scale is None else scale
    return Outcome(
        loss=float(ran.losses[0]) if ran.losses else None,
        finite=finite,
        variables=program.paths,
        loss_scale=None if scale is None else float(inputs[scale]),
        applied=all(finite) or _moved(step, inputs, ran.outputs, program.paths),
    )


def _moved(
    step: StepJaxpr, inputs: Sequence[Array], outputs: Sequence[Array], weights: Collection[str]
) -> bool:
    """Whether a step with a bad gradient changed a weight; one out of sight is believed changed.

    It is where a loop has names of its own. An optimizer of Keras' with a loss scale skips there.
    """
    pairs = [(n, after) for n, after in step.continued.items() if step.paths[n] in weights]
    if not pairs:
        return not any(map(_skips, step.observed.optimizers))
    return any(not bool(jnp.array_equal(inputs[n], outputs[after])) for n, after in pairs)


def _skips(optimizer: Any) -> bool:
    return isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
