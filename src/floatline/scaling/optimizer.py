"""The optimizer around an optimizer: scaled loss, unscaled gradients, skipped steps that count."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterable, Mapping, Sequence
from operator import is_
from typing import Any

import keras
from keras import ops

from floatline.errors import InputError
from floatline.scaling.counters import ScaleReport, cleared
from floatline.scaling.gradients import Gradients
from floatline.scaling.guard import guard_training
from floatline.scaling.judge import Judge
from floatline.scaling.kernels import load_kernels
from floatline.scaling.laws import chosen_law, scale_to_config
from floatline.scaling.scales import FixedScale, NoScale
from floatline.scaling.state import Scale, Tensor
from floatline.scaling.variables import (
    KERAS_PLACES,
    LOSS_SCALE_OPTIMIZER,
    OWN_NAMES,
    Snapshot,
    law_of,
    read_report,
    snapshot,
    start_values,
)

FORGOTTEN = (
    "A LossScaleOptimizer was given gradients, but `scale_loss` was never called: it divides them "
    "by the loss scale all the same. Differentiate `optimizer.scale_loss(loss)` instead of `loss`."
)


@keras.saving.register_keras_serializable(package="floatline")
class LossScaleOptimizer(keras.optimizers.LossScaleOptimizer):  # type: ignore[misc]  # (Keras carries no types)
    """Scales the loss, and skips the steps whose gradients are not finite, never silently.

    It takes the place of `keras.optimizers.LossScaleOptimizer`: in `compile` and `fit`, and in
    custom loops through `scale_loss` and `apply` or `stateless_apply`, on every backend.

    Args:
        inner_optimizer: The optimizer that makes the updates. A loss-scale optimizer is taken
            over: its inner optimizer, its scale and its counters.
        initial_scale: As in Keras; makes the scale a `DynamicScale`.
        dynamic_growth_steps: As in Keras; makes the scale a `DynamicScale`.
        scale: The law of the loss scale: `NoScale`, `FixedScale`, `DynamicScale` or
            `CalibratedScale`. By default a `CalibratedScale`.
        name: Name of the optimizer.
        **kwargs: Refused with a hint, as in Keras: they belong to the inner optimizer.

    Raises:
        InputError: The arguments contradict each other, or are none of the allowed ones.
    """

    def __init__(
        self,
        inner_optimizer: keras.optimizers.Optimizer,
        initial_scale: float | None = None,
        dynamic_growth_steps: int | None = None,
        name: str | None = None,
        *,
        scale: Scale[Any] | Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        _check_optimizer(inner_optimizer)
        taken = inner_optimizer if isinstance(inner_optimizer, LOSS_SCALE_OPTIMIZER) else None
        if taken is not None:
            inner_optimizer = taken.inner_optimizer
            if scale is None and initial_scale is None and dynamic_growth_steps is None:
                scale = law_of(taken)
        law = chosen_law(scale, initial_scale, dynamic_growth_steps)
        super().__init__(
            inner_optimizer,
            initial_scale=float(law.initial_state().scale),
            dynamic_growth_steps=getattr(law, "growth_interval", 2000),
            name=name,
            **kwargs,
        )
        self.scale = law
        self._in_words_of_keras = initial_scale is not None or dynamic_growth_steps is not None
        self._kernels = load_kernels()
        self._update_where = self._kernels.updater()
        self._judge = functools.lru_cache(maxsize=4)(
            lambda scaled, indices: self._kernels.transition(
                Judge(law, scaled, indices), inner_optimizer.assign
            )
        )
        self._scaled_a_loss = False
        guard_training()
        if taken is not None and taken.built:
            self._take_over(taken)

    # State. ------------------------------------------------------------------------------------

    def build(self, var_list: Sequence[keras.Variable]) -> None:
        """Creates the variables of scale, counters and inner optimizer."""
        if self.built:
            return
        for name, value in zip(OWN_NAMES, start_values(self.scale), strict=True):
            setattr(self, name, self._add_own(name, value))
        self.inner_optimizer.build(var_list)
        super(LOSS_SCALE_OPTIMIZER, self).build(var_list)

    @property
    def scale_variables(self) -> list[keras.Variable]:
        """Scale, its state and the counters, these last; known once the optimizer is built."""
        return [getattr(self, name) for name in OWN_NAMES]

    def cleared(
        self, before: Sequence[Tensor], after: Sequence[Tensor], fails: Tensor
    ) -> list[Tensor]:
        """The values of `scale_variables` after a step of which no scale is to blame if it `fails`.

        Args:
            before: Their values before the step.
            after: Their values after it.
            fails: Whether the loss was non-finite before it was scaled.
        """
        *old, old_counters = before
        *new, new_counters = after
        kept = [ops.where(fails, o, n) for o, n in zip(old, new, strict=True)]
        return [*kept, cleared(old_counters, new_counters, fails)]

    def _add_own(self, name: str, value: float | tuple[float, ...]) -> keras.Variable:
        values = value if isinstance(value, tuple) else (value,)
        return self.add_variable(
            shape=(len(values),) if isinstance(value, tuple) else (),
            dtype="float32" if isinstance(values[0], float) else "int",
            initializer=keras.initializers.Constant(value),
            aggregation="only_first_replica",
            name=name,
        )

    def _take_over(self, taken: keras.optimizers.LossScaleOptimizer) -> None:
        self.build(taken._trainable_variables)  # noqa: SLF001 (Keras' own field of the base class)
        same_law = getattr(taken, "scale", None) == self.scale
        # A scale that never changes would keep the one that was searched for.
        constant = isinstance(self.scale, FixedScale | NoScale)
        others = () if constant else OWN_NAMES[:2]
        for name in OWN_NAMES if same_law else others:
            getattr(self, name).assign(getattr(taken, name))

    # A step. -----------------------------------------------------------------------------------

    def scale_loss(
        self, loss: Tensor, optimizer_variables: Sequence[Tensor] | None = None
    ) -> Tensor:
        """The loss times the scale.

        A loss that is NaN makes every gradient NaN, also where the framework would have returned
        finite ones, so that such a step is skipped and counted.

        Args:
            loss: Scalar float tensor.
            optimizer_variables: Inside of a function that JAX compiles: the current values of
                `optimizer.variables`, as they are handed to `stateless_apply`.

        Raises:
            InputError: JAX would compile the present scale into the function as a constant.
        """
        self._scaled_a_loss = True
        return self._kernels.scaled(loss, self._scale_now(optimizer_variables))

    def _scale_now(self, optimizer_variables: Sequence[Tensor] | None) -> Tensor:
        if not self.built:
            return self.initial_scale
        if optimizer_variables is not None:
            place = [variable is self.dynamic_scale for variable in self.variables].index(True)
            return optimizer_variables[place]
        scale = self.dynamic_scale.value
        if self._kernels.would_freeze(scale) and not isinstance(self.scale, FixedScale | NoScale):
            raise InputError(
                "`scale_loss` was called in a function that JAX compiles, where the loss scale "
                "would stay what it is now while `stateless_apply` divides by the current one.",
                "Pass it the variables that `stateless_apply` is given: "
                "`optimizer.scale_loss(loss, optimizer_variables)`.",
            )
        return scale

    def apply(
        self, grads: Sequence[Any], trainable_variables: Sequence[keras.Variable] | None = None
    ) -> None:
        """Unscales the gradients and lets the inner optimizer apply them, if all are finite.

        Args:
            grads: Gradients of the scaled loss, dense or sparse, one per variable; None where a
                variable has none.
            trainable_variables: The variables; those of `build` by default.

        Raises:
            InputError: There is no gradient at all, or no variable to apply it to.
        """
        grads = list(grads)
        if not grads:
            return
        self._check(grads, trainable_variables)
        if not self.built:
            with keras.name_scope(self.name):
                self.build(list(trainable_variables or ()))
        variables = list(trainable_variables or self._trainable_variables)
        gradients = Gradients.of(grads, variables, self._indices(variables))
        magnitudes = self._kernels.magnitudes(gradients.present)
        unscaled = gradients.unscaled(self._kernels, self.dynamic_scale.value)
        judge = self._judge(gradients.scaled, gradients.indices)
        self._update_where(
            judge(self.scale_variables, magnitudes),  # From here on the scale is the next one.
            lambda grads: self.inner_optimizer.apply(grads, trainable_variables),
            unscaled,
            [*self.inner_optimizer.variables, *self._trainable_variables],
        )

    def _indices(self, variables: Sequence[keras.Variable]) -> Sequence[int]:
        """The places of the variables among those that the optimizer was built with."""
        own = self._trainable_variables
        if len(variables) == len(own) and all(map(is_, variables, own)):
            return range(len(own))
        self._check_variables_are_known(variables)
        return [self._get_variable_index(variable) for variable in variables]

    def stateless_apply(
        self,
        optimizer_variables: Sequence[Tensor],
        grads: Sequence[Any],
        trainable_variables: Sequence[Tensor],
    ) -> tuple[list[Tensor], list[Tensor]]:
        """`apply` as a pure function: new trainable variables and new optimizer variables."""
        result: tuple[list[Tensor], list[Tensor]] = super(
            LOSS_SCALE_OPTIMIZER, self
        ).stateless_apply(optimizer_variables, grads, trainable_variables)
        return result

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Any, keras.Variable]]) -> Any:
        """As `apply`, from pairs; returns the updates made so far by the inner optimizer."""
        grads, trainable_variables = zip(*grads_and_vars, strict=True)
        self.apply(grads, trainable_variables)
        return self.iterations

    def _check(self, grads: Sequence[Any], variables: Sequence[Any] | None) -> None:
        if all(gradient is None for gradient in grads):
            raise InputError(
                f"No gradients provided for any variable: {len(grads)} times None.",
                "Compute the loss from the trainable variables, and differentiate that loss.",
            )
        if variables is None and not self.built:
            raise InputError(
                "The optimizer is not built and was given gradients without variables.",
                "Call `optimizer.build(trainable_variables)` first, or pass the variables.",
            )
        if not self._scaled_a_loss:
            self._scaled_a_loss = True  # Said once.
            warnings.warn(FORGOTTEN, stacklevel=3)

    def exclude_from_weight_decay(
        self,
        var_list: Sequence[keras.Variable] | None = None,
        var_names: Sequence[str] | None = None,
    ) -> None:
        """As in Keras, but heard by the inner optimizer: it is the one that decays the weights."""
        self.inner_optimizer.exclude_from_weight_decay(var_list, var_names)

    # Reading, saving, loading. -----------------------------------------------------------------

    def report(self) -> ScaleReport:
        """Scale and counters as plain numbers; waits for the device."""
        return read_report(self, self.snapshot())

    def snapshot(self) -> Snapshot:
        """What a report is made of, on the device; waits for nothing."""
        return snapshot(self)

    def report_of(self, taken: Snapshot) -> ScaleReport:
        """The report of a moment that has passed; waits only if that is not yet computed."""
        return read_report(self, taken)

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Sets all of `variables`, those of the inner optimizer among them."""
        for variable, weight in zip(self.variables, weights, strict=True):
            variable.assign(weight)

    def save_own_variables(self, store: Any) -> None:
        """Stores scale and counters, if there are any yet; the inner optimizer stores its own."""
        for name in OWN_NAMES if self.built else ():
            store[name] = getattr(self, name).numpy()

    def load_own_variables(self, store: Any) -> None:
        """Loads scale and counters, from a file of Keras' own class, too."""
        for name in OWN_NAMES if self.built else ():
            key = name if name in store else KERAS_PLACES.get(name, name)
            variable = getattr(self, name)
            if key in store and tuple(store[key].shape) == tuple(variable.shape):
                variable.assign(store[key])

    def get_config(self) -> dict[str, Any]:
        """The settings: Keras' four keys if it was made with Keras' arguments, else `scale`."""
        config: dict[str, Any] = super().get_config()
        if self._in_words_of_keras:
            return config
        del config["initial_scale"], config["dynamic_growth_steps"]
        return {**config, "scale": scale_to_config(self.scale)}


def _check_optimizer(optimizer: Any) -> None:
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        raise InputError(
            f"LossScaleOptimizer received inner_optimizer={optimizer!r}.",
            "Pass a Keras optimizer, as in `LossScaleOptimizer(keras.optimizers.Adam(1e-3))`.",
        )
