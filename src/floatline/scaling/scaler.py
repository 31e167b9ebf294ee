"""Loss scaling for training loops written by hand: state in, state out, on every backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from keras import ops, tree

from floatline.scaling.counters import Counters, ScaleReport
from floatline.scaling.gradients import Gradients, first_nonfinite
from floatline.scaling.kernels import load_kernels
from floatline.scaling.laws import chosen_law
from floatline.scaling.measure import observe
from floatline.scaling.state import Observation, Scale, Tensor
from floatline.scaling.variables import report_of


class ScalerState(NamedTuple):
    """What a loop carries from step to step: tensors on the device, a pytree.

    Attributes:
        scale: The state of the scale; `scale.scale` is the number.
        counters: What happened so far.
    """

    scale: Any
    counters: Counters


class Unscaled(NamedTuple):
    """The gradients of one step as float32 would have them, and whether they may be used; a pytree.

    Attributes:
        gradients: In the order that was given; None where there was none.
        finite: Boolean scalar; whether every value of every gradient is finite.
        seen: What the scale learns from them.
        culprit: Index of the first gradient with a non-finite value, if there is one.
    """

    gradients: list[Any]
    finite: Tensor
    seen: Observation
    culprit: Tensor


class LossScaler:
    """The verbs of loss scaling, as functions of a state that the loop keeps.

    A step of a loop is: `scale` the loss, differentiate it, `unscale` the gradients, look at them
    or clip them, make the update only where they are finite (`select` or `step`), and `update` the
    state. Nothing waits for the device, so all of it may be compiled.

    Args:
        scale: The law of the loss scale; by default a `CalibratedScale`.

    Raises:
        InputError: `scale` is no such law.

    Example:

    >>> import floatline
    >>> scaler = LossScaler(floatline.FixedScale(128.0))
    >>> state = scaler.initial_state()
    >>> float(scaler.scale(ops.convert_to_tensor(2.0), state))
    256.0
    >>> unscaled = scaler.unscale([ops.convert_to_tensor([128.0, 64.0])], state)
    >>> [float(value) for value in unscaled.gradients[0]]
    [1.0, 0.5]
    >>> int(scaler.update(state, unscaled).counters.skipped)
    0
    """

    def __init__(self, scale: Scale[Any] | Mapping[str, Any] | None = None) -> None:
        self._law = chosen_law(scale, None, None)
        self._kernels = load_kernels()
        self._update_where = self._kernels.updater()

    def initial_state(self) -> ScalerState:
        """The state before the first step, as tensors."""
        state = ScalerState(self._law.initial_state(), Counters())
        tensors: ScalerState = tree.map_structure(_tensor, state)
        return tensors

    def scale(self, loss: Tensor, state: ScalerState) -> Tensor:
        """The loss times the scale; NaN in every gradient if the loss is NaN."""
        return self._kernels.scaled(loss, state.scale.scale)

    def unscale(self, gradients: Sequence[Any], state: ScalerState) -> Unscaled:
        """Divides the gradients by the scale that is in them.

        Args:
            gradients: Gradients of the scaled loss, dense or sparse; None where there is none. A
                nest of them is flattened by `jax.tree.leaves` or `keras.tree.flatten` first.
            state: The state with which the loss was scaled.
        """
        given = Gradients.plain(gradients)
        scale = state.scale.scale
        magnitudes = self._kernels.magnitudes(given.present)
        seen = observe(magnitudes, scale, given.scaled)
        unscaled = given.unscaled(self._kernels, scale)
        return Unscaled(unscaled, seen.finite, seen, first_nonfinite(magnitudes, given.indices))

    def select(self, unscaled: Unscaled, new: Any, old: Any) -> Any:
        """The nest `new` after a finite step, else `old`: the update of a pure function."""
        return tree.map_structure(lambda n, o: ops.where(unscaled.finite, n, o), new, old)

    def step(
        self,
        unscaled: Unscaled,
        update: Callable[[list[Any]], None],
        variables: Sequence[Any],
    ) -> None:
        """Calls `update(gradients)` to the effect that nothing happened unless they are finite.

        Args:
            unscaled: The gradients; clipped ones may be put in their place with `_replace`.
            update: Makes the update, `optimizer.apply` or a function around an optimizer of the
                framework.
            variables: Keras variables or PyTorch tensors: everything that `update` writes.
        """
        self._update_where(unscaled.finite, update, list(unscaled.gradients), variables)

    def update(self, state: ScalerState, unscaled: Unscaled) -> ScalerState:
        """The state for the next step."""
        scale = self._law.next_state(state.scale, unscaled.seen)
        counters = state.counters.after(
            unscaled.finite, unscaled.culprit, state.scale.scale, scale.scale
        )
        next_state = ScalerState(scale, counters)
        same: ScalerState = tree.map_structure(_like, next_state, state)
        return same

    def report(self, state: ScalerState, names: Sequence[str] = ()) -> ScaleReport:
        """The state as plain numbers; waits for the device.

        Args:
            state: The state.
            names: Names of the gradients, for `ScaleReport.culprit`.
        """
        return report_of(self._law, state.scale.scale, state.counters, names)


def _tensor(value: float) -> Tensor:
    return ops.convert_to_tensor(value, "float32" if isinstance(value, float) else "int")


def _like(value: Tensor, reference: Tensor) -> Tensor:
    return ops.cast(value, reference.dtype)
