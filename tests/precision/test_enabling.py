"""`floatline.enable`: before and after building, with loss scaling where it is due, undoable."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

import floatline
from floatline import Plan
from floatline.errors import InputError
from floatline.precision.changes import Changes
from floatline.precision.enabled import enabled
from tests.precision.models import compute_dtypes, data, functional, nested

layers = keras.layers


def dense(**options: Any) -> Any:
    return keras.Sequential([keras.Input((4,)), layers.Dense(2, name="head", **options)])


def is_ours(model: Any) -> bool:
    return isinstance(model.optimizer, floatline.LossScaleOptimizer)


def test_before_the_model_is_built() -> None:
    methods = keras.Model.compile, keras.Model.make_train_function
    with floatline.enable("mixed_float16"):
        model = nested()
        model.compile("sgd", "mse")
    assert compute_dtypes(model) == {"float16"}
    assert is_ours(model)
    assert (keras.Model.compile, keras.Model.make_train_function) == methods
    assert np.isfinite(model.fit(*data(), verbose=0).history["loss"]).all()


def test_after_the_model_is_compiled() -> None:
    model = dense()
    model.compile("sgd", "mse")
    sgd = model.optimizer
    application = floatline.enable("mixed_float16", model)
    assert is_ours(model)
    assert model.optimizer.inner_optimizer is sgd
    application.undo()
    assert model.optimizer is sgd


def test_a_later_compile_keeps_the_scaling_and_ends_with_undo() -> None:
    model = dense()
    application = floatline.enable(
        Plan.of("mixed_float16").with_loss_scale("fixed", reason="r", value=8.0), model
    )
    for _ in range(2):
        model.compile("sgd", "mse")
        assert model.optimizer.scale == floatline.FixedScale(8.0)
    application.undo()
    assert not isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    model.compile("sgd", "mse")
    assert not isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)


def test_bfloat16_needs_no_scaling() -> None:
    with floatline.enable("mixed_bfloat16"):
        model = dense()
        model.compile("sgd", "mse")
    assert not isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)


def test_who_scales_the_loss_alone_is_left_alone() -> None:
    with floatline.enable("mixed_float16"):
        model = dense()
        model.compile("sgd", "mse", auto_scale_loss=False)
    assert not isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)


def test_an_explicit_wrapper_stays_where_no_layer_needs_it() -> None:
    with floatline.enable("float32"):
        model = dense()
        model.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD()), "mse")
    assert type(model.optimizer) is keras.optimizers.LossScaleOptimizer


def test_keras_wrapper_is_taken_over_with_its_scale() -> None:
    given = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(), initial_scale=64.0)
    with floatline.enable("mixed_float16"):
        model = dense()
        model.compile(given, "mse")
    assert is_ours(model)
    assert model.optimizer.inner_optimizer is given.inner_optimizer
    model.optimizer.build(model.trainable_variables)
    assert float(model.optimizer.dynamic_scale.value) == 64.0


def test_what_the_user_chose_stays_when_layers_change() -> None:
    model = dense()
    given = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(), initial_scale=64.0)
    model.compile(given, "mse")
    floatline.enable("mixed_float16", model)
    assert model.optimizer.scale.initial == 64.0


def test_the_scale_starts_again_when_layers_change_and_comes_back() -> None:
    model = dense(dtype="mixed_float16")
    plan = Plan().with_loss_scale("dynamic", reason="r", initial=256.0)
    first = plan.apply(model)
    model.compile("sgd", "mse")
    before = model.optimizer
    before.build(model.trainable_variables)
    before.dynamic_scale.assign(32.0)
    second = Plan.of("float16").apply(model)
    assert float(model.optimizer.dynamic_scale.value) == 256.0
    second.undo()
    assert model.optimizer is before
    assert float(before.dynamic_scale.value) == 32.0
    first.undo()


def test_float32_takes_the_scaling_away() -> None:
    model = dense(dtype="mixed_float16")
    floatline.enable("mixed_float16", model)
    model.compile("sgd", "mse")
    application = floatline.enable("float32", model)
    assert application.changes.loss_scaling == "taken away: no layer computes in float16"
    assert type(model.optimizer).__name__ == "SGD"


def test_no_scale_still_skips_and_counts() -> None:
    model = dense()
    plan = Plan.of("mixed_float16").with_loss_scale("none", reason="r")
    floatline.enable(plan, model)
    model.compile("sgd", "mse")
    assert model.optimizer.scale == floatline.NoScale()


class Late(keras.Model):  # type: ignore[misc]  # (Keras carries no types)
    """Has no layers before it is built."""

    def build(self, shape: Any) -> None:
        self.head = layers.Dense(2, dtype="mixed_float16", name="head")
        self.head.build(shape)

    def call(self, x: Any) -> Any:
        return self.head(x)


def test_layers_that_are_made_late_are_seen_when_training_begins() -> None:
    x, y = np.ones((8, 4), "float32"), np.zeros((8, 2), "float32")
    model = Late()
    with floatline.enable("float32"):
        model.compile("sgd", "mse")
        assert not is_ours(model)
        model.fit(x, y, verbose=0)
    assert is_ours(model)
    assert int(model.optimizer.iterations) == 1
    assert int(model.optimizer.report().skipped) == 0


def test_the_rules_of_a_plan_hold_against_what_layers_ask_for() -> None:
    plan = Plan.of("mixed_float16").with_rule("float32", path="head", reason="r")
    with floatline.enable(plan):
        model = functional()
        model.get_layer("head").dtype_policy = keras.DTypePolicy("bfloat16")
        model.compile("sgd", "mse")
    assert model.get_layer("head").compute_dtype == "float32"
    assert model.get_layer("norm").compute_dtype == "float16"


def test_a_plan_must_fit_the_first_model_that_trains() -> None:
    plan = Plan.of("mixed_float16").with_rule("float32", path="haed", reason="r")
    with floatline.enable(plan) as handle:
        model = dense()
        model.compile("sgd", "mse")
        with pytest.raises(InputError, match="Did you mean 'head'"):
            model.fit(np.ones((8, 4)), np.ones((8, 2)), verbose=0)
        assert isinstance(handle.failure, InputError)


def test_a_plan_need_not_fit_the_second_model() -> None:
    plan = Plan.of("mixed_float16").with_rule("float32", path="head", reason="r")
    x, y = np.ones((8, 4), "float32"), np.ones((8, 2), "float32")
    with floatline.enable(plan):
        first = dense()
        second = keras.Sequential([keras.Input((4,)), layers.Dense(2, name="other")])
        for model in (first, second):
            model.compile("sgd", "mse")
            model.fit(x, y, verbose=0)
    assert second.get_layer("other").compute_dtype == "float16"


def test_optimizer_settings_are_for_optimizers_that_have_them() -> None:
    """A second optimizer need not have them: a critic's, a teacher's. The first one must."""
    plan = Plan.of("mixed_float16").with_optimizer("epsilon", 1e-4, reason="r")
    x, y = np.ones((4, 3), "float32"), np.ones((4, 2), "float32")

    def trained(optimizer: Any) -> Any:
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        model.compile(optimizer, "mse")
        model.fit(x, y, verbose=0)
        return model.optimizer.inner_optimizer

    with floatline.enable(plan):
        assert trained(keras.optimizers.Adam()).epsilon == 1e-4
        assert not hasattr(trained(keras.optimizers.SGD()), "epsilon")
    with floatline.enable(plan), pytest.raises(InputError, match="SGD has none"):
        trained(keras.optimizers.SGD())


def test_handles_that_are_undone_in_another_order_do_nothing_more() -> None:
    first, second = floatline.enable("mixed_float16"), floatline.enable("mixed_bfloat16")
    first.undo()
    second.undo()
    keras.config.set_dtype_policy("float32")
    model = dense(dtype="mixed_float16")
    model.compile("sgd", "mse")
    assert not isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)


def test_a_compile_hook_is_idle_once_it_is_undone() -> None:
    model = dense()
    first = Plan().with_optimizer("clipnorm", 1.0, reason="r").apply(model)
    second = Plan().with_optimizer("weight_decay", 0.1, reason="r").apply(model)
    first.undo()
    model.compile("sgd", "mse")
    assert (model.optimizer.clipnorm, model.optimizer.weight_decay) == (None, 0.1)
    second.undo()
    model.compile("sgd", "mse")
    assert (model.optimizer.clipnorm, model.optimizer.weight_decay) == (None, None)


def test_what_changed_is_told() -> None:
    told: list[tuple[str, Changes]] = []
    with enabled("mixed_float16", lambda model, changes: told.append((model.name, changes))):
        model = dense()
        model.compile("sgd", "mse")
    ((name, changes),) = told
    assert name == model.name
    assert str(changes.loss_scaling).startswith("attached: CalibratedScale")


def test_what_the_user_should_know_at_the_end() -> None:
    with floatline.enable("mixed_float16") as handle:
        assert "compiled no Keras model" in handle.notes()[0]
        model = dense()
        model.compile("sgd", "mse")
        assert handle.notes() == ()
        keras.config.set_dtype_policy("mixed_bfloat16")
        assert "'mixed_bfloat16' itself" in handle.notes()[0]


def test_an_unknown_policy_changes_nothing() -> None:
    compile_ = keras.Model.compile
    with pytest.raises(InputError, match="Did you mean 'mixed_float16'"):
        floatline.enable("mixed_fp16")
    assert keras.Model.compile is compile_
