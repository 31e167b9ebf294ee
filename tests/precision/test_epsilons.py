"""Laws of a plan's epsilons: they are set, read by the next step, saved, undone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from floatline.errors import InputError
from floatline.layers import epsilon_of
from floatline.precision.changes import Changes, EpsilonChange
from floatline.precision.enabled import enabled
from floatline.precision.plan import Plan
from tests.precision.models import bits

LARGER = Plan().with_epsilon("*norm", 1e-2, reason="r")
layers = keras.layers


@keras.saving.register_keras_serializable(package="floatline_tests")
class Unit(keras.layers.Layer):  # type: ignore[misc]  # (Keras carries no types)
    """Rows of length 1, with an epsilon under another name."""

    def __init__(self, eps: float = 1e-8, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.eps = eps

    def call(self, inputs: Any) -> Any:
        return inputs / (keras.ops.norm(inputs, axis=-1, keepdims=True) + self.eps)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "eps": self.eps}


KINDS = (
    layers.BatchNormalization,
    layers.LayerNormalization,
    layers.RMSNormalization,
    lambda name: layers.GroupNormalization(2, name=name),
    Unit,
)


def model_with(*made: Any) -> Any:
    model = keras.Sequential([keras.Input((4,)), *made, layers.Dense(2, name="head")], name="whole")
    model.compile("sgd", "mse")
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_an_epsilon_is_set_saved_and_undone(kind: Any, tmp_path: Path) -> None:
    layer = kind(name="norm")
    model, before = model_with(layer), epsilon_of(layer)
    weights = bits(model.variables)
    application = LARGER.apply(model)
    assert application.changes.epsilons == (EpsilonChange("norm", before or 0.0, 1e-2),)
    assert epsilon_of(layer) == 1e-2
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert epsilon_of(loaded.get_layer("norm")) == 1e-2
    application.undo()
    assert (epsilon_of(layer), bits(model.variables)) == (before, weights)


def test_a_compiled_function_computes_with_the_new_epsilon() -> None:
    x = np.full((2, 4), 1e-2, "float32")
    model = model_with(Unit(name="norm"))
    inner = keras.Model(model.inputs, model.layers[0].output)
    assert np.allclose(inner.predict(x, verbose=0), 0.5)
    with Plan().with_epsilon("norm", 2e-2, reason="r").apply(inner):
        assert np.allclose(inner.predict(x, verbose=0), 0.25)
    assert np.allclose(inner.predict(x, verbose=0), 0.5)


def test_the_last_that_matches_holds_and_twice_is_once() -> None:
    model = model_with(Unit(name="a_norm"), Unit(name="b_norm"))
    plan = LARGER.with_epsilon("whole/b_norm", 1e-3, reason="r")
    first, second = plan.apply(model), plan.apply(model)
    assert [epsilon_of(layer) for layer in model.layers] == [1e-2, 1e-3, None]
    assert second.changes == Changes()
    second.undo()
    first.undo()
    assert [epsilon_of(layer) for layer in model.layers] == [1e-8, 1e-8, None]


@pytest.mark.parametrize(
    ("path", "words"), [("nrom", ["'nrom'", "Did you mean 'norm'?"]), ("head", ["one: norm."])]
)
def test_a_layer_without_an_epsilon_is_refused(path: str, words: list[str]) -> None:
    model = model_with(Unit(name="norm"))
    with pytest.raises(InputError) as raised:
        Plan.of("mixed_float16").with_epsilon(path, 1e-4, reason="r").apply(model)
    assert all(word in str(raised.value) for word in words), str(raised.value)
    assert model.get_layer("head").compute_dtype == "float32"


def test_an_error_afterwards_puts_the_epsilon_back() -> None:
    model = model_with(Unit(name="norm"))
    with pytest.raises(InputError, match="SGD"):
        LARGER.with_optimizer("epsilon", 1e-4, reason="r").apply(model)
    assert epsilon_of(model.get_layer("norm")) == 1e-8


def test_a_plan_in_force_reaches_models_to_come() -> None:
    heard: list[Changes] = []
    with enabled(LARGER, lambda _model, changes: heard.append(changes)):
        model = model_with(Unit(name="norm"))
        model.fit(np.ones((8, 4)), np.ones((8, 2)), verbose=0)
    assert epsilon_of(model.get_layer("norm")) == 1e-2
    assert [changes.epsilons for changes in heard] == [(EpsilonChange("norm", 1e-8, 1e-2),)]


@pytest.mark.parametrize("value", [0.0, -1e-8, "1e-8", None, True])
def test_what_is_no_positive_number_is_no_epsilon(value: Any) -> None:
    layer = Unit(name="norm")
    layer.eps = value
    assert epsilon_of(layer) is None
