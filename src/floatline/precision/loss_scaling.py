"""Attaches loss scaling where layers compute in float16, and takes it away where none does."""

from __future__ import annotations

import contextlib
from typing import Any

import keras

from floatline.layers import computes_on_floats, is_container, walk
from floatline.precision.rule import LossScale
from floatline.scaling.calibrated import CalibratedScale
from floatline.scaling.guard import guard
from floatline.scaling.optimizer import LossScaleOptimizer
from floatline.scaling.scales import DynamicScale, FixedScale, NoScale
from floatline.scaling.variables import law_of

_SCALES = {
    "none": NoScale,
    "fixed": FixedScale,
    "dynamic": DynamicScale,
    "calibrated": CalibratedScale,
}


def computes_in_half(model: Any) -> bool:
    """Whether any layer of the model computes in float16, whatever its policy is called.

    A functional or sequential model computes nothing by itself; a subclassed one may, in `call`.

    Args:
        model: A Keras model.
    """
    layers = [layer for _, layer in walk(model)]
    if not is_container(model):
        layers.append(model)
    return any(layer.compute_dtype == "float16" for layer in layers if computes_on_floats(layer))


def settle(
    model: Any,
    asked: LossScale | None,
    undoing: contextlib.ExitStack,
    *,
    restart: bool = False,
    detach: bool = True,
) -> str | None:
    """Gives a compiled model the loss scaling that its layers need.

    Args:
        model: A Keras model; nothing happens as long as it is not compiled.
        asked: The loss scale to use; None keeps the present one or takes the default.
        undoing: Where the way back is noted.
        restart: Whether the scale begins anew.
        detach: Whether loss scaling that no layer needs is taken away.

    Returns:
        What happened, in words, or None when nothing did.

    Raises:
        InputError: The loss scale's settings contradict each other.
    """
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        return None
    wrapped = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    if not computes_in_half(model):
        if not (wrapped and detach):
            return None
        _install(model, optimizer.inner_optimizer, undoing)
        return "taken away: no layer computes in float16"
    scale = None if asked is None else _SCALES[asked.kind](**asked.settings)
    ours = isinstance(optimizer, LossScaleOptimizer)
    if ours and not restart and scale in (None, optimizer.scale):
        return None
    chosen = wrapped and explicitly_scaled(model)
    if scale is None and chosen:
        scale = law_of(optimizer)
    inner = optimizer.inner_optimizer if wrapped else optimizer
    undoing.callback(setattr, inner, "loss_scale_factor", inner.loss_scale_factor)
    # A wrapper that the user chose, or that has trained, is taken over with its state.
    taken = not restart and (chosen or (wrapped and optimizer.built))
    made = LossScaleOptimizer(optimizer if taken else inner, scale=scale)
    _install(model, made, undoing)
    return f"attached: {made.scale!r}"


def drop_automatic(model: Any, before: Any) -> None:
    """Takes away what Keras has wrapped by itself while the model's policy was another one.

    Args:
        model: A Keras model with its own policy again.
        before: The optimizer that it had first, which stays.
    """
    optimizer = getattr(model, "optimizer", None)
    automatic = type(optimizer) is keras.optimizers.LossScaleOptimizer and optimizer is not before
    if automatic and not explicitly_scaled(model) and model.dtype_policy.name != "mixed_float16":
        _put(model, model.optimizer.inner_optimizer, None)


def explicitly_scaled(model: Any) -> bool:
    """Whether the optimizer that was given to `compile` scales the loss, so that it is wanted."""
    compiled_with = getattr(getattr(model, "_compile_config", None), "config", {})
    return isinstance(compiled_with.get("optimizer"), keras.optimizers.LossScaleOptimizer)


def _install(model: Any, optimizer: Any, undoing: contextlib.ExitStack) -> None:
    """Puts an optimizer into a compiled model, also where `model.save` looks for it."""
    before, saved = model.optimizer, getattr(model, "_compile_config", None)

    def back() -> None:
        if model.optimizer is optimizer:  # Not compiled with another one since.
            _put(model, before, saved)

    undoing.callback(back)
    if isinstance(optimizer, LossScaleOptimizer):
        undoing.callback(guard(model))  # What a skipped step is must not depend on who runs it.
    config = saved and type(saved)(**{**saved.config, "optimizer": optimizer})
    _put(model, optimizer, config)
    if optimizer is not before and before.built and not optimizer.built:
        optimizer.build(model.trainable_variables)
        optimizer.built = True


def _put(model: Any, optimizer: Any, config: Any) -> None:
    # As `compile` does it: without the tracking that would write it into TensorFlow's checkpoints.
    object.__setattr__(model, "optimizer", optimizer)
    if config is not None:
        object.__setattr__(model, "_compile_config", config)
