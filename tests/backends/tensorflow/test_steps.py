"""Ways to write and to compile a step: each is run, traced and replayed, and nothing is changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from floatline.backends.tensorflow import TensorFlowBackend
from floatline.backends.tensorflow.step import TensorFlowStep
from tests.backends.tensorflow.examined import as_numpy, everything
from tests.backends.tensorflow.steps import by_variable, step_of
from tests.contract.samples import policy

X = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
Y = 0.1 * X.sum(axis=1, keepdims=True)
BATCH = (X, Y)


def network(units: int = 1) -> keras.Model:
    inputs = keras.Input((3,))
    hidden = keras.layers.Dense(4, activation="tanh", name="hidden")(inputs)
    return keras.Model(inputs, keras.layers.Dense(units, name="out")(hidden))


def compiled(**options: Any) -> keras.Model:
    with policy("mixed_float16"):
        model = network()
        model.compile(keras.optimizers.Adam(1e-2), "mse", **options)
    return model


def step_for(model: keras.Model) -> TensorFlowStep:
    return TensorFlowBackend().keras_step(model, lambda layer: None)


def bits(variables: Sequence[Any]) -> bytes:
    return b"".join(as_numpy(variable).tobytes() for variable in variables)


@pytest.mark.parametrize(
    "options", [{}, {"run_eagerly": True}, {"jit_compile": True}], ids=["graph", "eager", "xla"]
)
def test_however_the_model_was_compiled(options: dict[str, bool]) -> None:
    model = compiled(**options)
    step = step_for(model)
    step.run(BATCH)
    state, before = step.snapshot(), everything(model)
    trace = step.trace(state, BATCH)
    assert everything(model) == before
    after = by_variable(step, state, BATCH)
    _, outcome = step.run(BATCH)
    assert everything(model) != before
    for variable in model.trainable_variables:
        np.testing.assert_allclose(after[variable.path], as_numpy(variable), atol=2e-4)
    shadow = trace.sites[trace.losses[0]].statistics.max_abs
    assert outcome.loss == pytest.approx(shadow, rel=2e-2)
    assert outcome.finite == (True,) * 4
    assert outcome.variables == tuple(v.path for v in model.trainable_variables)
    assert outcome.loss_scale == 2.0**15
    assert outcome.applied


def test_a_real_step_is_the_users_own() -> None:
    """`run` and `train_on_batch`, from the same weights, end in the same weights."""
    ours, theirs = compiled(), compiled()
    theirs.set_weights(ours.get_weights())
    step = step_for(ours)
    for _ in range(3):
        assert step.run(BATCH)[1].loss == pytest.approx(float(theirs.train_on_batch(*BATCH)))
    for own, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-5, atol=1e-7)


def test_a_snapshot_is_put_back_bit_for_bit() -> None:
    model = compiled(metrics=["mae"])
    step = step_for(model)
    step.run(BATCH)
    state, before = step.snapshot(), everything(model)
    step.run(BATCH)
    step.run(BATCH)
    assert everything(model) != before
    step.restore(state)
    assert everything(model) == before


def test_a_step_that_overflows_is_not_applied() -> None:
    model = compiled()
    step = step_for(model)
    huge = (X, Y * 1e6)
    step.prepare(huge)
    before = bits(model.trainable_variables)
    _, outcome = step.run(huge)
    assert not all(outcome.finite)
    assert not outcome.applied
    assert outcome.loss_scale == 2.0**15
    assert bits(model.trainable_variables) == before
    assert step.run(huge)[1].loss_scale == 2.0**14


def test_a_step_without_loss_scaling_is_taken_whatever_its_gradients_are() -> None:
    """One that only accumulates leaves Keras' `iterations` as they are."""
    model = compiled()
    model.compile(keras.optimizers.SGD(0.1, gradient_accumulation_steps=3), "mse")
    model.optimizer = model.optimizer.inner_optimizer
    step = step_for(model)
    _, outcome = step.run((X, Y * np.inf))
    assert not all(outcome.finite)
    assert outcome.applied


def test_an_optimizer_that_was_not_built_has_zero_moments_again() -> None:
    model = compiled()
    assert not model.optimizer.inner_optimizer.built
    step = step_for(model)
    step.prepare(BATCH)
    state = step.snapshot()
    weights = bits(model.variables)
    step.trace(state, BATCH)
    step.run(BATCH)
    step.restore(state)
    inner = model.optimizer.inner_optimizer
    moments = [v for v in inner.variables if "momentum" in v.path or "velocity" in v.path]
    assert len(moments) == 8
    assert all(not as_numpy(variable).any() for variable in moments)
    assert int(inner.iterations) == 0
    assert bits(model.variables) == weights


def test_preparing_runs_nothing_and_hides_what_cannot_be_built() -> None:
    model = compiled()
    before = bits(model.variables)
    step_for(model).prepare(BATCH)
    assert bits(model.variables) == before
    step_of(lambda x: x.numpy(), compiled=False).prepare((X,))


class Loop:
    """A training written by hand."""

    def __init__(self, optimizer: Any) -> None:
        with policy("mixed_float16"):
            self.model = network()
        self.optimizer = optimizer

    def step(self, x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(tf.cast(self.model(x, training=True), tf.float32) - y))
            scaled = self.optimizer.scale_loss(loss)
        variables = self.model.trainable_variables
        self.optimizer.apply(tape.gradient(scaled, variables), variables)
        return loss


@pytest.mark.parametrize("compile_it", [True, False], ids=["tf.function", "Python"])
def test_a_loop_with_a_loss_scale_optimizer(compile_it: bool) -> None:
    inner = keras.optimizers.SGD(0.1)
    loop = Loop(keras.optimizers.LossScaleOptimizer(inner, initial_scale=1024.0))
    step = step_of(loop.step, compiled=compile_it)
    step.run(BATCH)
    state, before = step.snapshot(), bits(loop.model.variables + loop.optimizer.variables)
    trace = step.trace(state, BATCH)
    assert bits(loop.model.variables + loop.optimizer.variables) == before
    returned, outcome = step.run(BATCH)
    assert outcome.loss_scale == 1024.0
    assert outcome.loss == pytest.approx(float(returned))
    assert outcome.applied
    losses = [trace.sites[i].statistics.max_abs for i in trace.losses]
    assert losses == [pytest.approx(outcome.loss, rel=1e-2)]
    paths = [variable.path for variable in loop.model.trainable_variables]
    assert [gradient.variable for gradient in trace.gradients] == paths == list(outcome.variables)
    assert int(inner.iterations) == 2


def test_a_step_without_an_optimizer() -> None:
    weight = tf.Variable([[2.0]], name="weight")

    def step(x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(
                tf.square(tf.cast(x[:, :1], tf.float16) @ tf.cast(weight, "float16"))
            )
        weight.assign_sub(0.5 * tape.gradient(loss, weight))
        return loss

    step_ = step_of(step)
    step_.prepare(BATCH)
    state = step_.snapshot()
    trace = step_.trace(state, BATCH)
    mean = float(np.mean(X[:, 0] ** 2))
    assert weight.numpy() == [[2.0]]
    assert [gradient.variable for gradient in trace.gradients] == ["weight"]
    assert trace.sites[trace.losses[0]].statistics.max_abs == pytest.approx(4 * mean, rel=1e-5)
    gradient = trace.sites[trace.gradients[0].site].statistics.max_abs
    assert gradient == pytest.approx(4 * mean, rel=1e-5)
    after = step_.float32(state)
    assert after.advance(BATCH).loss == pytest.approx(4 * mean, rel=1e-5)
    assert after.advance(BATCH).loss == pytest.approx((2 - 2 * mean) ** 2 * mean, rel=1e-4)
    outcome = step_.run(BATCH)[1]
    assert (outcome.variables, outcome.loss_scale, outcome.applied) == (("weight",), None, True)


class Rivals(keras.Model):  # type: ignore[misc]
    """Two networks, two losses, two optimizers, as a GAN has them."""

    def __init__(self) -> None:
        super().__init__(name="rivals")
        self.maker, self.judge = (
            keras.layers.Dense(3, name="maker"),
            keras.layers.Dense(1, name="judge"),
        )

    def compile(self) -> None:
        super().compile()
        self.makers = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1))
        self.judges = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01))

    def train_step(self, data: Any) -> Any:
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        losses = {}
        for name, layer, optimizer, sign in (
            ("judge", self.judge, self.judges, 1.0),
            ("maker", self.maker, self.makers, -1.0),
        ):
            with tf.GradientTape() as tape:
                gap = tf.reduce_mean(self.judge(self.maker(x))) - tf.reduce_mean(self.judge(x))
                losses[name] = sign * tf.cast(gap, tf.float32)
                scaled = optimizer.scale_loss(losses[name])
            variables = layer.trainable_variables
            optimizer.apply(tape.gradient(scaled, variables), variables)
        return losses


def test_two_optimizers_with_a_loss_each() -> None:
    with policy("mixed_float16"):
        model = Rivals()
        model.judge(model.maker(X))
        model.compile()
    step = step_for(model)
    step.prepare(BATCH)
    owners = [*model.variables, *model.makers.variables, *model.judges.variables]
    state, before = step.snapshot(), bits(owners)
    trace = step.trace(state, BATCH)
    assert bits(owners) == before
    assert [g.variable for g in trace.gradients] == [
        "judge/kernel", "judge/bias", "maker/kernel", "maker/bias",
    ]  # fmt: skip
    assert len(trace.losses) == 2
    logs, outcome = step.run(BATCH)
    shadows = [trace.sites[i].statistics.max_abs for i in trace.losses]
    real = [abs(float(logs[name])) for name in ("judge", "maker")]
    assert shadows == pytest.approx(real, rel=1e-2)
    assert outcome.loss == pytest.approx(float(logs["judge"]))
    assert len(outcome.finite) == 4
    assert bits(owners) != before
    step.restore(state)
    assert bits(owners) == before


@pytest.mark.parametrize("first", [2.0**15, 2.0**60])
def test_one_of_two_optimizers_skips_alone(first: float) -> None:
    with policy("mixed_float16"):
        model = Rivals()
        model.judge(model.maker(X))
        model.compile()
    adam = keras.optimizers.Adam(0.01)
    model.judges = keras.optimizers.LossScaleOptimizer(adam, initial_scale=first)
    _, outcome = step_for(model).run(BATCH)
    assert (int(adam.iterations), int(model.makers.inner_optimizer.iterations)) == (first < 2e9, 1)
    assert outcome.applied == (first < 2e9)


def one(x: Any) -> Any:
    return x


def two(x: Any, y: Any) -> Any:
    return x, y


def any_number(*batch: Any) -> Any:
    return batch


@pytest.mark.parametrize(
    ("function", "batch", "received"),
    [
        (one, 5, 5),
        (one, (5, 6), (5, 6)),
        (two, (5, 6), (5, 6)),
        (two, [5, 6], (5, 6)),
        (any_number, (5, 6, 7), (5, 6, 7)),
        (one, {"a": 5}, {"a": 5}),
    ],
)
def test_a_batch_fills_the_parameters_of_a_step_function(
    function: Callable[..., Any], batch: Any, received: Any
) -> None:
    returned = step_of(function, compiled=False).run(batch)[0]
    assert tf.nest.map_structure(int, returned) == received


def test_float32_from_rounded_weights() -> None:
    """A weight that float16 cannot hold starts as its nearest neighbour; the loss tells."""
    with policy("mixed_float16"):
        inputs = keras.Input((1,))
        model = keras.Model(inputs, keras.layers.Dense(1, use_bias=False)(inputs))
        model.compile("sgd", "mse")
    model.set_weights([np.array([[1.0004]], "float32")])
    batch = (np.ones((4, 1), "float32"), np.zeros((4, 1), "float32"))
    step = step_for(model)
    step.prepare(batch)
    state = step.snapshot()
    for rebuilt in (False, True):
        exact = step.float32(state, rebuilt=rebuilt).advance(batch).loss
        assert exact == pytest.approx(1.0004**2, rel=1e-6)
    assert step.float32(state, rounded=True).advance(batch).loss == 1.0
    assert model.get_weights()[0][0, 0] == np.float32(1.0004)
    assert model.layers[-1].compute_dtype == "float16"


def test_a_rebuilt_step_has_literals_that_were_never_rounded() -> None:
    """1e-8 is zero in float16, and stays so where the step is only raised to float32."""

    class Shifted(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x + tf.cast(np.float16(1e-8) if x.dtype == tf.float16 else 1e-8, x.dtype)

    with policy("mixed_float16"):
        inputs = keras.Input((3,))
        model = keras.Model(
            inputs, keras.layers.Dense(1, kernel_initializer="ones")(Shifted()(inputs))
        )
        model.compile("sgd", "mae")
    batch = (np.zeros((2, 3), "float32"), np.zeros((2, 1), "float32"))
    step = step_for(model)
    step.prepare(batch)
    state = step.snapshot()
    assert step.float32(state).advance(batch).loss == 0.0
    assert step.float32(state, rebuilt=True).advance(batch).loss == pytest.approx(3e-8, rel=1e-5)


def test_tensorflows_options_are_what_they_were() -> None:
    before = tf.config.optimizer.get_experimental_options()
    step = step_of(lambda x: x * 2)
    step.prepare((X,))
    step.trace(step.snapshot(), (X,))
    after = tf.config.optimizer.get_experimental_options()
    assert {**after, "disable_meta_optimizer": False} == {**before, "disable_meta_optimizer": False}
    assert after.get("disable_meta_optimizer", False) == before.get("disable_meta_optimizer", False)


def test_the_backend_names_itself() -> None:
    backend = TensorFlowBackend()
    assert backend.framework() == f"TensorFlow {tf.__version__}"
    assert backend.device().startswith(("CPU:", "GPU:"))
