"""What the watch sees, as frozen records of plain numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["non-finite", "stalled-scale", "divergence"]
Mode = Literal["stop", "continue"]


@dataclass(frozen=True, slots=True)
class ScaleReading:
    """The state of loss scaling.

    Attributes:
        scale: The loss scale of the next step.
        skipped: Steps that were skipped since the training began.
        consecutive: Steps that were skipped one after the other until now.
        culprit: Path of the first variable with a non-finite gradient in the last skipped step,
            where the optimizer tells.
    """

    scale: float
    skipped: int
    consecutive: int
    culprit: str | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What the watch reads every few steps.

    Attributes:
        step: Steps since the training began.
        epoch: Epoch, from 0.
        loss: Mean loss of the steps since the reading before; None where the logs have none.
        scaling: The state of loss scaling, or None without one.
        bad_weight: Path of the first variable with a non-finite value, where one was looked for
            and found.
    """

    step: int
    epoch: int
    loss: float | None
    scaling: ScaleReading | None = None
    bad_weight: str | None = None


@dataclass(frozen=True, slots=True)
class Symptom:
    """A failure of the training, as it is first seen."""

    kind: Kind
    step: int
    message: str


@dataclass(frozen=True, slots=True)
class VariableSample:
    """One variable and its gradient in one step.

    Attributes:
        variable: Its path.
        layer: Path of its layer.
        largest: Largest magnitude of the gradient, without the loss scale.
        nonzero: Elements of the gradient that are not 0.
        flushed: Elements that are 0, but not at a larger loss scale; None where that cannot be
            known: in formats with float32's exponents, or where that scale overflows.
        update: Sum of the magnitudes of the step's update.
        weight: Sum of the magnitudes of the weights before it.
        lost: Elements that did not move although their gradient is not 0.
    """

    variable: str
    layer: str
    largest: float
    nonzero: float
    flushed: float | None
    update: float
    weight: float
    lost: float


@dataclass(frozen=True, slots=True)
class ActivationSample:
    """The largest magnitude that a layer returned in one step, and the dtype it was in."""

    layer: str
    dtype: str
    largest: float


@dataclass(frozen=True, slots=True)
class Sample:
    """What one measured step showed.

    Attributes:
        step: The step.
        applied: Whether any weight moved; False in a skipped or accumulating step.
        boost: How many times larger the second loss scale was; 1 when there was no second.
        variables: One entry per gradient.
        activations: One entry per layer and dtype, in order of the forward pass.
    """

    step: int
    applied: bool
    boost: float
    variables: tuple[VariableSample, ...]
    activations: tuple[ActivationSample, ...]


@dataclass(frozen=True, slots=True)
class Drift:
    """A quantity that grows towards a limit.

    Attributes:
        quantity: What grows, in words.
        step: When this was seen.
        value: Its latest value.
        limit: The largest value that it may have.
        per_step: Powers of two that it gains in a step.
        steps_left: Steps until it reaches the limit at this pace.
    """

    quantity: str
    step: int
    value: float
    limit: float
    per_step: float
    steps_left: int
