"""What one step means for the loss scale: a pure function of a few small tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from keras import ops

from floatline.scaling.counters import Counters
from floatline.scaling.gradients import first_nonfinite
from floatline.scaling.measure import observe
from floatline.scaling.state import Scale, Tensor


class Verdict(NamedTuple):
    """Whether a step is applied, and what comes after it, as tensors on the device.

    Attributes:
        finite: Boolean scalar; whether every value of every gradient is finite.
        scale: As `dynamic_scale` of the optimizer, for the next step.
        good_steps: As its `step_counter`.
        memory: As its `scale_memory`.
        counters: As its `counters`.
    """

    finite: Tensor
    scale: Tensor
    good_steps: Tensor
    memory: Tensor
    counters: Tensor


@dataclass(frozen=True, slots=True)
class Judge:
    """Judges steps whose gradients belong to the same variables.

    Attributes:
        law: The law of the scale.
        scaled: For each gradient, whether the scale is in it.
        indices: For each gradient, the index of its variable in the optimizer.
    """

    law: Scale[Any]
    scaled: tuple[bool, ...]
    indices: tuple[int, ...]

    def __call__(
        self, magnitudes: Tensor, scale: Tensor, good_steps: Tensor, memory: Tensor, counts: Tensor
    ) -> Verdict:
        """The verdict on gradients of these magnitudes, as tensors of the same types."""
        state_type = type(self.law.initial_state())
        seen = observe(magnitudes, scale, self.scaled)
        state = state_type(scale, good_steps, *ops.unstack(memory))
        after, good_after, *remembered = self.law.next_state(state, seen)
        culprit = first_nonfinite(magnitudes, self.indices)
        counters = Counters(*ops.unstack(counts)).after(seen.finite, culprit, scale, after)
        return Verdict(
            seen.finite,
            after,
            good_after,
            ops.stack([ops.cast(value, "float32") for value in remembered]),
            ops.stack(counters),
        )
