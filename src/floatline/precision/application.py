"""Applies a plan to a model in place: all of it or nothing, and undoable."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import keras

from floatline.errors import InputError
from floatline.layers import computes_on_floats
from floatline.precision import loss_scaling, optimizers
from floatline.precision.changes import Application, Changes, LayerChange, VariableChange
from floatline.precision.compiled import forget_functions
from floatline.precision.epsilons import refuse_missing, set_epsilons
from floatline.precision.graph_inputs import follow_first_layers
from floatline.precision.hooks import after_compile
from floatline.precision.matching import Place, assigned, places, refuse_unmatched, unmatched
from floatline.precision.plan import Plan
from floatline.precision.policies import POLICIES
from floatline.precision.saving import remember_sublayers
from floatline.precision.variables import convert, own_variables, slots_of


def apply(plan: Plan, model: Any, *, strict: bool = True, lasting: bool = True) -> Application:
    """Gives the layers of a model the policies of a plan, in place.

    Works on built and unbuilt models, functional, sequential and subclassed, and reaches every
    sublayer. Weights keep their values bit for bit; only where a policy keeps variables in another
    dtype (pure `float16` to `mixed_float16`) are they cast, with their slots in the optimizer, and
    listed in `Application.changes`. Functions that Keras has compiled are built anew. Loss scaling
    is attached where layers compute in float16, and taken away where none does; its scale starts
    again. A later `compile` of the model keeps the plan's loss scaling.

    Args:
        plan: The plan.
        model: A Keras model.
        strict: Whether a rule or an epsilon that no layer takes, or a setting that the optimizer
            does not, is an error.
        lasting: Whether a later `compile` of the model is answered, too.

    Returns:
        The handle that undoes it.

    Raises:
        InputError: `model` is no Keras model, a rule matches nothing, no layer at a path has an
            epsilon, or the optimizer lacks a setting. The model is then as it was.

    Example:

    >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="head")])
    >>> application = apply(Plan.of("mixed_float16"), model)
    >>> model.get_layer("head").compute_dtype
    'float16'
    >>> application.undo()
    >>> model.get_layer("head").compute_dtype
    'float32'
    """
    check_model(model)
    found = places(model)
    if strict:
        refuse_unmatched(unmatched(plan, found), found)
        refuse_missing(plan.epsilons, found)
    undoing = contextlib.ExitStack()
    undoing.callback(loss_scaling.drop_automatic, model, getattr(model, "optimizer", None))
    try:
        changes = _change(plan, model, found, undoing, strict=strict)
    except BaseException:
        undoing.close()
        raise
    if lasting:
        after_compile(model, lambda: _tune(plan, model, undoing), undoing)
    return Application(plan, changes, undoing)


def check_model(model: Any) -> None:
    """Complains about anything but a Keras model.

    Raises:
        InputError: It is none.
    """
    if not isinstance(model, keras.Model):
        raise InputError(
            f"Received {model!r}, which is a {type(model).__name__}.", "Pass a Keras 3 model."
        )


def _change(
    plan: Plan,
    model: Any,
    found: Sequence[Place],
    undoing: contextlib.ExitStack,
    *,
    strict: bool,
) -> Changes:
    rules = assigned(plan, found)
    forget_functions(found, undoing)
    layers: list[LayerChange] = []
    variables: list[VariableChange] = []
    for place, rule in zip(found, rules, strict=True):
        if rule is not None and changeable(place.layer) and not _has(place.layer, rule.policy):
            before = place.layer.dtype_policy.name
            variables += _set_policy(model, place.layer, rule.policy, undoing)
            name = type(place.layer).__name__
            layers.append(LayerChange(place.shown, name, before, rule.policy, rule.reason))
    epsilons = set_epsilons(plan.epsilons, found, undoing)
    notes = remember_sublayers(found, undoing)
    follow_first_layers(found, undoing)
    said = _tune(plan, model, undoing, restart=bool(layers), strict=strict)
    return Changes(tuple(layers), tuple(variables), said, notes if layers else (), epsilons)


def _tune(
    plan: Plan,
    model: Any,
    undoing: contextlib.ExitStack,
    *,
    restart: bool = False,
    strict: bool = True,
) -> str | None:
    """Gives the optimizer its settings and its loss scaling; says what happened to that."""
    optimizers.configure(model, plan.optimizer, undoing, strict=strict)
    return loss_scaling.settle(model, plan.loss_scale, undoing, restart=restart)


def changeable(layer: Any) -> bool:
    """Whether a plan may change the layer's policy: it computes on floats and is not quantized."""
    return computes_on_floats(layer) and layer.quantization_mode is None


def _has(layer: Any, policy: str) -> bool:
    if isinstance(layer.dtype_policy, keras.dtype_policies.DTypePolicyMap):
        asked = POLICIES[policy]
        now = (layer.compute_dtype, layer.variable_dtype)
        return now == (asked.compute_dtype, asked.variable_dtype)
    return bool(layer.dtype_policy.name == policy)


def _set_policy(
    model: Any, layer: Any, policy: str, undoing: contextlib.ExitStack
) -> list[VariableChange]:
    """Changes one layer; returns the variables that were cast."""
    before = layer.variable_dtype
    replace_policy(layer, keras.dtype_policies.get(policy), undoing)
    after = layer.variable_dtype
    if before == after:
        return []
    # Variables that the layer made in a dtype of its own choice stay in it.
    cast = [v for v in own_variables(layer) if str(v.dtype) == before]
    slots = slots_of(getattr(model, "optimizer", None), cast)
    cast += [slot for slot in slots if str(slot.dtype) == before]
    undoing.callback(optimizers.find_variables_anew, model)
    for variable in cast:
        undoing.callback(convert(variable, after))
    optimizers.find_variables_anew(model)
    return [VariableChange(v.path, before, after) for v in cast]


def replace_policy(layer: Any, policy: Any, undoing: contextlib.ExitStack) -> None:
    """Gives a layer a policy object, as its setter would, but leaves shared policy maps alone."""

    def put(value: Any) -> None:
        # The public setter would write into a `DTypePolicyMap` that other layers share.
        layer._dtype_policy = value  # noqa: SLF001
        _refresh(layer)

    before = layer.dtype_policy

    def back() -> None:
        if layer.dtype_policy is policy:  # Not quantized since, nor given another by the user.
            put(before)

    undoing.callback(back)
    put(policy)


def _refresh(layer: Any) -> None:
    """Computes anew what a layer has rounded to its compute dtype when it was built."""
    if not (isinstance(layer, keras.layers.Normalization) and layer.built):
        return
    if layer.input_mean is None:
        layer.finalize_state()
    else:
        layer.build_from_config(layer.get_build_config())
