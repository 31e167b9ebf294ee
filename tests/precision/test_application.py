"""Laws of applying a plan: weights keep their bits, undoing is exact, errors change nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from floatline.errors import InputError
from floatline.precision.changes import Changes
from floatline.precision.plan import Plan
from tests.precision.models import (
    KINDS,
    Subclassed,
    bits,
    compute_dtypes,
    data,
    functional,
    nested,
    policies,
    sequential,
    subclassed,
)

HALF = Plan.of("mixed_float16")
Make = Callable[[], Any]


def compiled(make: Make) -> Any:
    model = make()
    model.compile("adam", "mse")
    return model


def started(make: Make) -> Any:
    """A model whose optimizer has its state, as after the first step."""
    model = compiled(make)
    model.optimizer.build(model.trainable_variables)
    return model


@pytest.mark.parametrize("make", KINDS)
def test_every_sublayer_changes_and_no_weight_does(make: Make) -> None:
    model = started(make)
    before = bits(model.variables)
    HALF.apply(model)
    assert compute_dtypes(model) == {"float16"}
    assert bits(model.variables) == before
    assert {str(v.dtype) for v in model.trainable_variables} == {"float32"}


@pytest.mark.parametrize("make", KINDS)
def test_the_forward_pass_really_computes_in_the_new_dtype(make: Make) -> None:
    model, (x, _) = started(make), data()
    exact = model.predict(x, verbose=0)
    with HALF.apply(model):
        half = model.predict(x, verbose=0)
        assert str(keras.backend.standardize_dtype(model(x).dtype)) == "float16"
        assert half.dtype == np.float16
    assert not np.array_equal(exact, half)
    np.testing.assert_allclose(exact, half, atol=0.02)
    np.testing.assert_array_equal(model.predict(x, verbose=0), exact)


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16"])
def test_undoing_is_exact(make: Make, policy: str) -> None:
    model = started(make)
    optimizer, config = model.optimizer, model._compile_config
    before = bits(model.variables), bits(optimizer.variables), policies(model)
    Plan.of(policy).apply(model).undo()
    assert (bits(model.variables), bits(optimizer.variables), policies(model)) == before
    assert model.optimizer is optimizer
    assert model._compile_config is config
    assert "compile" not in vars(model)


@pytest.mark.parametrize("make", KINDS)
def test_applying_twice_is_applying_once(make: Make) -> None:
    model = started(make)
    first = HALF.apply(model)
    seen = policies(model), bits(model.variables), bits(model.optimizer.variables)
    optimizer = model.optimizer
    second = HALF.apply(model)
    assert first.changes.layers
    assert second.changes == Changes()
    assert (policies(model), bits(model.variables), bits(model.optimizer.variables)) == seen
    assert model.optimizer is optimizer


def test_training_goes_on_from_where_it_was() -> None:
    model, (x, y) = compiled(nested), data()
    model.fit(x, y, verbose=0)
    steps = int(model.optimizer.iterations)
    with HALF.apply(model):
        before = bits(model.trainable_variables)
        model.fit(x, y, verbose=0)
        assert bits(model.trainable_variables) != before
        trained = bits(model.trainable_variables)
    assert bits(model.trainable_variables) == trained
    assert int(model.optimizer.iterations) == steps + 1
    model.fit(x, y, verbose=0)
    assert compute_dtypes(model) == {"float32"}


def test_undoing_twice_does_nothing() -> None:
    model = compiled(sequential)
    application = HALF.apply(model)
    application.undo()
    Plan.of("mixed_bfloat16").apply(model)
    application.undo()
    assert compute_dtypes(model) == {"bfloat16"}


def test_an_unbuilt_model_takes_the_policies_when_it_is_built() -> None:
    model = Subclassed()
    HALF.apply(model)
    x, _ = data()
    assert model(x).dtype is not None
    assert compute_dtypes(model) == {"float16"}
    assert {str(v.dtype) for v in model.variables} == {"float32"}


def test_later_rules_win_and_reach_into_layers() -> None:
    model = functional()
    plan = HALF.with_rule("float32", path="both", reason="a").with_rule(
        "mixed_bfloat16", path="both/backward_lstm", reason="b"
    )
    changes = plan.apply(model).changes
    after = {change.path: change.after for change in changes.layers}
    assert after["head"] == after["attention/query"] == "mixed_float16"
    assert "both/forward_lstm/lstm_cell" not in after
    assert after["both/backward_lstm/lstm_cell"] == "mixed_bfloat16"
    assert {c.reason for c in changes.layers if c.path == "both/backward_lstm"} == {"b"}


def test_a_rule_without_sublayers_changes_the_layer_alone() -> None:
    model = subclassed()
    Plan().with_rule("mixed_float16", path="subclassed", sublayers=False, reason="r").apply(model)
    assert model.compute_dtype == "float16"
    assert compute_dtypes(model) == {"float32"}


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (HALF.with_rule("float32", path="haed", reason="r"), ["'haed'", "Did you mean 'head'?"]),
        (HALF.with_rule("float32", regex="layer_.*", reason="r"), ["'layer_.*'", "inspect"]),
        (HALF.with_rule("float32", layer_class="Dens", reason="r"), ["'Dense'"]),
        (HALF.with_optimizer("epsilon", 1e-4, reason="r"), ["SGD", "clipnorm"]),
        (
            HALF.with_loss_scale("dynamic", reason="r", initial=0.5),
            ["DynamicScale", "initial=0.5", "between floor=1"],
        ),
    ],
)
def test_an_error_leaves_the_model_as_it_was(plan: Plan, words: list[str]) -> None:
    model = functional()
    model.compile("sgd", "mse")
    before = policies(model), bits(model.variables), model.optimizer, model.optimizer.clipnorm
    with pytest.raises(InputError) as raised:
        plan.apply(model)
    assert all(word in str(raised.value) for word in words)
    assert before == (
        policies(model),
        bits(model.variables),
        model.optimizer,
        model.optimizer.clipnorm,
    )
    assert "compile" not in vars(model)


def test_an_error_halfway_leaves_the_model_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    model = started(functional)
    before = policies(model), bits(model.variables), bits(model.optimizer.variables)
    monkeypatch.setattr("floatline.precision.loss_scaling.LossScaleOptimizer", None)
    with pytest.raises(TypeError):
        Plan.of("float16").apply(model)
    assert (policies(model), bits(model.variables), bits(model.optimizer.variables)) == before


@pytest.mark.parametrize("thing", [None, "model", keras.layers.Dense(1)])
def test_only_models_take_plans(thing: Any) -> None:
    with pytest.raises(InputError, match="Pass a Keras 3 model"):
        HALF.apply(thing)


def test_optimizer_settings_are_set_and_undone() -> None:
    model = compiled(sequential)
    plan = HALF.with_optimizer("epsilon", 1e-4, reason="r").with_optimizer(
        "clipnorm", 1.0, reason="r"
    )
    inner = model.optimizer
    with plan.apply(model):
        assert (inner.epsilon, inner.clipnorm) == (1e-4, 1.0)
    assert (inner.epsilon, inner.clipnorm) == (1e-7, None)


def test_a_learning_rate_is_set_and_undone() -> None:
    model = compiled(sequential)
    before = float(model.optimizer.learning_rate)
    with HALF.with_optimizer("learning_rate", 0.25, reason="r").apply(model):
        assert float(model.optimizer.learning_rate) == 0.25
    assert float(model.optimizer.learning_rate) == before


def test_a_schedule_is_not_replaced() -> None:
    model = sequential()
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 10)
    model.compile(keras.optimizers.SGD(schedule), "mse")
    with pytest.raises(InputError, match="follows a schedule"):
        HALF.with_optimizer("learning_rate", 0.25, reason="r").apply(model)


def test_an_optimizer_that_clips_is_not_made_to_clip_twice() -> None:
    model = sequential()
    model.compile(keras.optimizers.SGD(clipvalue=1.0), "mse")
    with pytest.raises(InputError, match="clips by clipvalue already"):
        HALF.with_optimizer("clipnorm", 1.0, reason="r").apply(model)


def test_integers_and_quantized_layers_are_left_alone() -> None:
    inputs = keras.Input((4,), dtype="int32")
    x = keras.layers.CategoryEncoding(3, output_mode="count", dtype="int32", name="codes")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2, name="head")(x))
    model.get_layer("head").quantize("int8")
    before = bits(model.variables)
    assert [change.path for change in HALF.apply(model).changes.layers] == [model.name]
    assert bits(model.variables) == before


def test_undoing_leaves_what_was_quantized_meanwhile() -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2), keras.layers.Dense(2)])
    application = Plan.of("mixed_bfloat16").apply(model)
    model.layers[0].quantize("int8")
    application.undo()
    assert [layer.quantization_mode for layer in model.layers] == ["int8", None]
    assert [layer.compute_dtype for layer in model.layers] == ["bfloat16", "float32"]


def test_a_normalization_that_was_rounded_when_it_was_built_is_computed_anew() -> None:
    mean = 1.0 + 2.0**-12  # Between two neighbours in float16.
    layer = keras.layers.Normalization(mean=[mean], variance=[1.0], dtype="mixed_float16")
    model = keras.Sequential([keras.Input((1,)), layer])
    x = np.array([[mean]], "float32")
    assert float(model.predict(x, verbose=0)[0, 0]) == 0.0
    with Plan.of("float32").apply(model):
        assert float(keras.ops.convert_to_numpy(layer.mean)[0, 0]) == np.float32(mean)
    assert str(keras.backend.standardize_dtype(layer.mean.dtype)) == "float16"
