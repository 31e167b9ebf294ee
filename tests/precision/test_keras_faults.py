"""What Keras 3.15.1 alone gets wrong with dtype policies, and what becomes of it here.

Each test shows the fault first; should Keras mend it, that half fails and the test can go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import floatline
from floatline import Plan
from tests.precision.models import compute_dtypes, data, functional, value

layers = keras.layers
LossScaleOptimizer = keras.optimizers.LossScaleOptimizer
Make = Callable[[], Any]


@pytest.fixture
def policy() -> Iterator[Callable[[Any], None]]:
    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)


def scaled(model: Any) -> bool:
    return isinstance(model.optimizer, LossScaleOptimizer)


def compiled(make: Make) -> Any:
    model = make()
    model.compile("adam", "mse")
    return model


def under(name: Any, make: Make) -> Any:
    """A model whose layers are made under a global policy that is gone when it is."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        made = make()
    finally:
        keras.config.set_dtype_policy(before)
    return made


def mixed_layers_only() -> Any:
    return keras.Sequential([keras.Input((4,)), layers.Dense(2, dtype="mixed_float16")])


def model_made_later() -> Any:
    inputs = keras.Input((4,))
    return keras.Model(inputs, under("mixed_float16", lambda: layers.Dense(2))(inputs))


def pure_float16() -> Any:
    return under("float16", lambda: keras.Sequential([keras.Input((4,)), layers.Dense(2)]))


def mapped() -> Any:
    policies = keras.dtype_policies.DTypePolicyMap(keras.DTypePolicy("mixed_float16"))
    return under(policies, lambda: keras.Sequential([keras.Input((4,)), layers.Dense(2)]))


HALF = (mixed_layers_only, model_made_later, pure_float16, mapped)


@pytest.mark.parametrize("make", HALF)
def test_loss_scaling_goes_by_what_layers_compute_in(make: Make) -> None:
    assert not scaled(compiled(make))
    with floatline.enable("float32"):
        model = compiled(make)
    assert compute_dtypes(model) == {"float16"}
    assert isinstance(model.optimizer, floatline.LossScaleOptimizer)


def all_float32() -> Any:
    inputs = keras.Input((4,))
    outputs = layers.Dense(2, dtype="float32")(inputs)
    return under("mixed_float16", lambda: keras.Model(inputs, outputs))


def test_no_loss_scaling_where_no_layer_computes_in_float16() -> None:
    assert scaled(compiled(all_float32))
    with floatline.enable("float32"):
        assert not scaled(compiled(all_float32))


@pytest.mark.parametrize("at_load", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_a_saved_model_comes_back_with_policies_scaling_and_state(
    tmp_path: Path, policy: Callable[[Any], None], at_load: str
) -> None:
    file = tmp_path / "model.keras"
    model = functional()
    plan = Plan.of("mixed_float16").with_rule("float32", path="*/attention_output", reason="r")
    plan = plan.with_rule("float32", path="both/*/lstm_cell", reason="r")
    plan.with_rule("float32", path="head", reason="r").apply(model)
    model.compile("adam", "mse")
    model.fit(*data(), verbose=0)
    model.save(file)
    policy(at_load)
    loaded = keras.models.load_model(file)
    assert _computing(loaded) == _computing(model)
    assert isinstance(loaded.optimizer, floatline.LossScaleOptimizer)
    assert int(loaded.optimizer.iterations) == 1
    pairs = zip(loaded.optimizer.variables, model.optimizer.variables, strict=True)
    assert all(np.array_equal(value(one), value(other)) for one, other in pairs)
    x = data()[0]
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))


@pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer")
def test_keras_alone_drops_scaling_and_state_on_loading(tmp_path: Path) -> None:
    file = tmp_path / "model.keras"
    make = lambda: keras.Sequential([keras.Input((4,)), layers.Dense(2, name="head")])  # noqa: E731
    model = under("mixed_float16", lambda: compiled(make))
    model.fit(np.ones((4, 4)), np.ones((4, 2)), verbose=0)
    model.save(file)
    loaded = keras.models.load_model(file)
    assert compute_dtypes(loaded) == {"float16"}
    assert not scaled(loaded)
    assert int(loaded.optimizer.iterations) == 0


def _computing(model: Any) -> dict[str, str]:
    from floatline.layers import walk

    # Numbers at the end of automatic names differ from one model to the next.
    return {
        path.rstrip("_0123456789"): layer.compute_dtype
        for path, layer in walk(model)
        if not isinstance(layer, layers.InputLayer)
    }


def overflowing() -> Any:
    """Passes through 1e5, which float16 does not hold."""
    return keras.Sequential(
        [
            keras.Input((2,)),
            layers.Rescaling(1e5, name="up", dtype="mixed_float16"),
            layers.Rescaling(1e-5, name="down", dtype="mixed_float16"),
            layers.Dense(1, name="head", dtype="float32"),
        ]
    )


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_a_new_policy_takes_effect_in_compiled_functions() -> None:
    x = np.ones((4, 2), "float32")
    model = overflowing()
    assert not np.isfinite(model.predict(x, verbose=0)).any()
    for name in ("up", "down"):
        model.get_layer(name).dtype_policy = keras.DTypePolicy("float32")
    finite = bool(np.isfinite(model.predict(x, verbose=0)).all())
    assert finite == (keras.backend.backend() == "torch")  # Others run what they compiled before.
    model = overflowing()
    assert not np.isfinite(model.predict(x, verbose=0)).any()
    Plan.of("float32").apply(model)
    assert np.isfinite(model.predict(x, verbose=0)).all()


@pytest.mark.parametrize("name", ["attention", "both"])
def test_a_new_policy_reaches_sublayers(name: str) -> None:
    model = functional()
    model.get_layer(name).dtype_policy = keras.DTypePolicy("mixed_float16")
    assert "float32" in compute_dtypes(model.get_layer(name))
    model = functional()
    Plan().with_rule("mixed_float16", path=name, reason="r").apply(model)
    assert compute_dtypes(model.get_layer(name)) == {"float16"}


def test_a_new_policy_brings_its_variable_dtype() -> None:
    x = np.ones((2, 4), "float32")
    layer = layers.Dense(2)
    model = keras.Sequential([keras.Input((4,)), layer])
    layer.dtype_policy = keras.DTypePolicy("float16")
    assert (layer.variable_dtype, str(layer.kernel.dtype)) == ("float16", "float32")
    layer.dtype_policy = keras.DTypePolicy("float32")
    Plan.of("float16").apply(model)
    assert (layer.variable_dtype, str(layer.kernel.dtype)) == ("float16", "float16")
    assert model.predict(x, verbose=0).dtype == np.float16


def test_a_sequential_model_stops_rounding_its_inputs() -> None:
    x = np.array([[1 + 2.0**-12]], "float32")  # Between two neighbours in float16.

    def made() -> Any:
        model = keras.Sequential([layers.Rescaling(1.0, dtype="mixed_float16", name="same")])
        model(x)
        return model

    model = made()
    model.get_layer("same").dtype_policy = keras.DTypePolicy("float32")
    assert float(model.predict(x, verbose=0)[0, 0]) == 1.0
    model = made()
    with Plan.of("float32").apply(model):
        assert float(model.predict(x, verbose=0)[0, 0]) == x[0, 0]
    assert float(model.predict(x, verbose=0)[0, 0]) == 1.0


def test_a_policy_map_of_the_users_is_not_written_to() -> None:
    def made(policies: Any) -> Any:
        dense = layers.Dense(2, dtype=policies, name="dense")
        return keras.Sequential([keras.Input((4,)), dense])

    policies = keras.dtype_policies.DTypePolicyMap(keras.DTypePolicy("float32"))
    made(policies).get_layer("dense").dtype_policy = keras.DTypePolicy("mixed_float16")
    assert len(policies) == 1
    policies = keras.dtype_policies.DTypePolicyMap(keras.DTypePolicy("float32"))
    model = made(policies)
    Plan.of("mixed_float16").apply(model)
    assert len(policies) == 0
    assert compute_dtypes(model) == {"float16"}
