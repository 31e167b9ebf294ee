"""What loss scaling asks of a framework; the rest of it is written with `keras.ops`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

Tensor = Any
Function = Callable[..., Sequence[Any]]
Assign = Callable[[Any, Tensor], None]
Gradient = Any
"""A dense or a sparse gradient, in the form in which the framework hands it out."""

SKIPPED = 0
"""Place of the count of skipped steps in the last of an optimizer's `scale_variables`."""


class Transition(Protocol):
    """Moves variables from one state to the next."""

    def __call__(self, variables: Sequence[Any], *arguments: Tensor) -> Tensor:
        """Writes into `variables` what follows from them and the arguments.

        Args:
            variables: Keras variables, of the same shapes and types in every call.
            *arguments: Tensors on the device, of the same shapes and types in every call.

        Returns:
            What is said of the new state; the next call may overwrite it.
        """
        ...


class Updater(Protocol):
    """Makes the updates of one optimizer."""

    def __call__(
        self,
        finite: Tensor,
        update: Callable[[list[Gradient | None]], None],
        gradients: list[Gradient | None],
        variables: Sequence[Any],
    ) -> None:
        """Calls `update(gradients)` to the effect that nothing happened unless `finite`.

        The decision is made on the device.

        Args:
            finite: Boolean scalar, the same on every replica.
            update: Writes only to `variables`.
            gradients: What `update` is given.
            variables: Keras variables.
        """
        ...


class ScalingKernels(Protocol):
    """The few operations of loss scaling that a framework has its own fast or safe way for."""

    def magnitudes(self, gradients: Sequence[Gradient]) -> Tensor:
        """Each gradient's largest magnitude.

        Args:
            gradients: At least one gradient; none of them None.

        Returns:
            float32, shape `(len(gradients),)`. An entry is non-finite if and only if its gradient
            has a non-finite value. Where gradients differ between replicas, the entry is an upper
            bound for all replicas, and the same on each.
        """
        ...

    def scaled(self, loss: Tensor, scale: Tensor) -> Tensor:
        """The loss times the scale; NaN in every gradient if the loss is NaN."""
        ...

    def transition(self, function: Function, assign: Assign) -> Transition:
        """A transition by `function`, as cheap as the framework can where every step makes it.

        Args:
            function: A pure function `(*arguments, *values) -> (said, *new values)`.
            assign: Gives a variable a value, unless the framework writes where it lies.
        """
        ...

    def unscale(self, gradients: Sequence[Gradient], scale: Tensor) -> list[Gradient]:
        """New gradients, divided by `scale`; the given ones stay as they are."""
        ...

    def updater(self) -> Updater:
        """A function for the updates of one optimizer; what it needs it may keep between them."""
        ...

    def guarded_step(self, model: Any, step: Callable[..., Any]) -> Callable[..., Any]:
        """A train step that leaves no trace in `model` when its optimizer skips.

        A step counts as skipped when the optimizer's count of them rose. Then variables that are
        not trained and metrics are what they were before, and so are the logs, where they are the
        metrics' results. Where the loss of a skipped step was non-finite before it was scaled, no
        scale is to blame, and the optimizer's `scale_variables` become what its `cleared` says.

        Args:
            model: A Keras model. As long as its optimizer counts no skipped steps, the step is
                `step`.
            step: The model's `train_step`.
        """
        ...

    def would_freeze(self, value: Tensor) -> bool:
        """Whether `value` would become a constant of the function that is being compiled now."""
        ...
