"""Numbers that a layer's format does not hold: epsilons that are 0, masks that are infinite."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

from floatline.findings.configured.note import ConfigurationNote, Grade, of
from floatline.findings.configured.rounding import half_unit
from floatline.findings.configured.setup import LayerSetup, NumberUse, Role, Setup
from floatline.findings.rule import Rule
from floatline.findings.rules.fl104_mask_constant_overflow import MaskConstantOverflow
from floatline.findings.rules.fl105_input_or_target_out_of_range import InputOrTargetOutOfRange
from floatline.findings.rules.fl203_epsilon_underflow import EpsilonUnderflow
from floatline.findings.rules.fl204_activation_underflow import ActivationUnderflow
from floatline.findings.rules.fl303_integer_in_half import IntegerInHalf
from floatline.findings.rules.fl305_one_minus_eps_rounding import OneMinusEpsRounding
from floatline.findings.words import number
from floatline.formats import Format

Said = tuple[type[Rule], Grade, str, str]
"""Rule, grade, reason, change."""

_FLOAT32 = 'give the layer dtype="float32"'


def constants(setup: Setup) -> Iterator[ConfigurationNote]:
    """What is wrong with the numbers of each layer that computes in half precision."""
    for layer in setup.low_layers:
        for use in layer.numbers:
            yield from _judged(setup, layer, use)


def _judged(setup: Setup, layer: LayerSetup, use: NumberUse) -> Iterator[ConfigurationNote]:
    ends = layer.low
    if ends is None or not math.isfinite(use.value):
        return
    held = ends.rounded(use.value)
    said = _said(setup, use, held, ends)
    if said is None:
        return
    rule, grade, reason, change = said
    yield of(
        rule,
        grade if use.certain else "risk",
        setting=_setting(use, ends),
        reason=reason if use.certain else f"{reason}, unless it is computed in float32 there",
        change=change,
        layer=layer.path,
        source=use.source or layer.source,
        value=use.value,
        held=held if math.isfinite(held) else str(held),
        format_max=ends.max_finite,
    )


def _setting(use: NumberUse, ends: Format) -> str:
    said = {"factor": ", a factor", "divisor": ", a divisor"}.get(use.role, "")
    written = number(use.value)
    name = use.name if any(sign.isdigit() for sign in use.name) else f"{use.name} = {written}"
    return f"{name} in {ends.name}{said}"


def _said(setup: Setup, use: NumberUse, held: float, ends: Format) -> Said | None:
    """What becomes of a number, by what it does."""
    if use.role in _OF_LAYERS:
        return _OF_LAYERS[use.role](setup, use, held, ends)
    if use.role == "upper bound":
        return _bound_at_one(held, ends) if 0 < use.value < 1 else None
    if held == 0 and use.value != 0:
        return _vanished(use, ends)
    return _infinite(use, ends) if math.isinf(held) else None


def _vanished(use: NumberUse, ends: Format) -> Said | None:
    is_zero = f"it is 0 in {ends.name}, whose smallest magnitude is {number(ends.min_subnormal)}"
    larger = f"use a larger epsilon: {_epsilon(ends)}, or compute the expression in float32"
    if use.role in ("added", "epsilon"):
        return EpsilonUnderflow, "wrong", f"{is_zero}, and protects nothing", larger
    if use.role == "root":
        steep = f"{is_zero}: the root has no finite derivative at 0, whatever is added to it"
        return EpsilonUnderflow, "risk", steep, larger
    if use.role == "lower bound":
        only = f"{is_zero}, and keeps only negative values away"
        return EpsilonUnderflow, "risk", only, larger
    if use.role == "divisor" and use.rounded:
        return EpsilonUnderflow, "wrong", f"{is_zero}, and divides by 0", _FLOAT32
    if use.role == "factor" and use.rounded:
        zero = f"{is_zero}, and so is all that it multiplies"
        return ActivationUnderflow, "wrong", zero, f"multiply in float32: {_FLOAT32}"
    return None


def _epsilon(ends: Format) -> str:
    return "1e-4 or more" if ends.name == "float16" else f"{number(ends.min_normal)} or more"


def _infinite(use: NumberUse, ends: Format) -> Said | None:
    infinite = f"it is infinite in {ends.name}, which ends at {number(ends.max_finite)}"
    select = (
        f"select with where and a constant that leaves room ({number(-ends.max_finite / 2)}), or "
        "apply mask and softmax in float32"
    )
    if use.role == "factor" and use.rounded:
        nan = f"{infinite}, and 0 times infinity is NaN"
        return MaskConstantOverflow, "wrong", nan, select
    if use.role in ("factor", "selected"):
        rows = f"{infinite}: a row in which all is masked has no softmax"
        return MaskConstantOverflow, "risk", rows, select
    if use.role in ("added", "root", "epsilon"):
        return MaskConstantOverflow, "wrong", f"{infinite}, and so is every sum with it", select
    if use.role == "divisor" and use.rounded:
        zero = f"{infinite}, and what is divided by it is 0"
        return ActivationUnderflow, "wrong", zero, "divide in float32, or in two steps"
    return None


def _bound_at_one(held: float, ends: Format) -> Said | None:
    if held != 1:
        return None
    reason = f"it is 1 in {ends.name}, and keeps nothing away from 1"
    change = "compute the expression in float32, or from logits (log_sigmoid)"
    return OneMinusEpsRounding, "risk", reason, change


def _mask_value(setup: Setup, use: NumberUse, held: float, ends: Format) -> Said | None:
    if held == use.value:
        return None
    change = "mask with a number that the format holds, such as -1, or in float32"
    becomes = f"the inputs that hold it become {number(held)} in {ends.name}"
    grade: Grade = "risk"
    reason = f"{becomes}, and with them every input that is rounded to the same"
    if setup.backend == "tensorflow":  # Keras compares there with the number as it is written.
        grade, reason = "wrong", f"{becomes}, which is not equal to it: nothing is masked"
    rule: type[Rule] = IntegerInHalf
    if held == 0:
        rule = EpsilonUnderflow
    elif math.isinf(held):
        rule = MaskConstantOverflow
    return rule, grade, reason, change


def _scale(_setup: Setup, use: NumberUse, held: float, ends: Format) -> Said | None:
    change = f"rescale before the model, or {_FLOAT32}"
    if held == 0 and use.value != 0:
        reason = f"it is 0 in {ends.name}, and so is every output"
        return ActivationUnderflow, "wrong", reason, change
    if math.isinf(held):
        reason = f"it is infinite in {ends.name}, and so is every output that is not NaN"
        return InputOrTargetOutOfRange, "wrong", reason, change
    return None


def _around(_setup: Setup, use: NumberUse, held: float, ends: Format) -> Said | None:
    """Offsets and means, around which the data lie."""
    change = f"normalise before the model, or {_FLOAT32} (in a model of your own: to that, too)"
    if math.isinf(held):
        reason = f"{ends.name} ends at {number(ends.max_finite)}: such values are infinite there"
        return InputOrTargetOutOfRange, "wrong", reason, change
    apart = 2 * half_unit(abs(use.value), ends)
    if use.spread is not None and 0 < use.spread < apart:
        reason = (
            f"values around it are {number(apart)} apart in {ends.name}, and their standard "
            f"deviation is {number(use.spread)}: what tells them apart is rounded away"
        )
        return InputOrTargetOutOfRange, "risk", reason, change
    return None


def _length(_setup: Setup, _use: NumberUse, held: float, ends: Format) -> Said | None:
    if held != 0:
        return None
    reason = f"it is 0 in {ends.name}: a row of zeros becomes NaN, which float32 leaves 0"
    return EpsilonUnderflow, "risk", reason, _FLOAT32


_OF_LAYERS: Mapping[Role, Callable[[Setup, NumberUse, float, Format], Said | None]] = {
    "mask value": _mask_value,
    "scale": _scale,
    "offset": _around,
    "mean": _around,
    "length": _length,
}
