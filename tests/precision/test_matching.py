"""Which rule holds for which layer."""

from __future__ import annotations

from typing import Any

import keras
import pytest

from floatline import Plan
from floatline.errors import InputError
from floatline.precision.matching import assigned, places
from tests.precision.models import functional, nested, subclassed

layers = keras.layers


def holding(plan: Plan, model: Any) -> dict[str, str]:
    """Policy by path, of the places for which a rule holds."""
    found = places(model)
    rules = assigned(plan, found)
    pairs = zip(found, rules, strict=True)
    return {place.path: rule.policy for place, rule in pairs if rule is not None}


@pytest.mark.parametrize(
    ("conditions", "paths"),
    [
        ({"path": "head"}, {"head"}),
        ({"path": "*norm*"}, {"norm"}),
        ({"path": "attention/qu?ry"}, {"attention/query"}),
        ({"path": "both/*lstm", "sublayers": False}, {"both/forward_lstm", "both/backward_lstm"}),
        ({"regex": "both/(for|back)ward_lstm", "layer_class": "Dense"}, set()),
        ({"layer_class": "LSTMCell", "path": "*forward*"}, {"both/forward_lstm/lstm_cell"}),
        ({"layer_class": "EinsumDense", "path": "*/key"}, {"attention/key"}),
        ({"path": "functional", "sublayers": False}, {""}),
    ],
)  # fmt: skip
def test_conditions_must_all_match(conditions: dict[str, Any], paths: set[str]) -> None:
    plan = Plan().with_rule("float32", reason="r", **conditions)
    assert set(holding(plan, functional())) == paths


def test_a_rule_reaches_everything_inside() -> None:
    plan = Plan().with_rule("float32", path="inner", reason="r")
    assert set(holding(plan, nested())) == {"inner", "inner/a"}


def test_the_last_rule_holds() -> None:
    plan = (
        Plan.of("mixed_float16")
        .with_rule("float32", layer_class="Dense", reason="r")
        .with_rule("mixed_bfloat16", regex="ma.*", reason="r")
    )
    held = holding(plan, subclassed())
    assert held[""] == held["pool"] == "mixed_float16"
    assert held["first"] == held["second"] == "float32"
    assert held["main"] == "mixed_bfloat16"


def test_a_path_may_begin_with_the_name_of_the_model() -> None:
    model = subclassed()
    plan = Plan().with_rule("float32", path=f"{model.name}/first", reason="r")
    assert set(holding(plan, model)) == {"first"}
    plan = Plan().with_rule("float32", path="other/first", reason="r")
    with pytest.raises(InputError):
        plan.apply(model)


def test_an_alike_name_is_not_inside() -> None:
    inputs = keras.Input((2,))
    x = layers.Dense(2, name="block")(inputs)
    model = keras.Model(inputs, layers.Dense(2, name="block_1")(x))
    assert set(holding(Plan().with_rule("float32", path="block", reason="r"), model)) == {"block"}


def test_a_shared_layer_takes_one_policy() -> None:
    shared = layers.Dense(4, name="shared")
    inputs = keras.Input((4,))
    model = keras.Model(inputs, shared(shared(inputs)))
    application = Plan.of("mixed_float16").apply(model)
    assert [change.path for change in application.changes.layers] == [model.name, "shared"]


@pytest.mark.parametrize(
    ("conditions", "guess"),
    [
        ({"path": "atention/query"}, "'attention/query'"),
        ({"regex": "both/forward_lstn"}, "'both/forward_lstm'"),
        ({"layer_class": "LayerNormalisation"}, "'LayerNormalization'"),
    ],
)
def test_unknown_layers_are_guessed_at(conditions: dict[str, Any], guess: str) -> None:
    with pytest.raises(InputError, match=f"Did you mean .*{guess}"):
        Plan().with_rule("float32", reason="r", **conditions).apply(functional())
