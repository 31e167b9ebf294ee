"""Ways to write and to compile a step: each is run, traced and replayed, and nothing is changed."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

import floatline
from floatline.backends.jax.backend import JaxBackend
from floatline.capture.function import batch_of_call
from floatline.errors import InputError, TraceError, TrainingError
from tests.backends.jax.pure import HALF, rows, steps_made
from tests.contract.samples import noise, policy

X = noise(8, 3)
Y = 0.1 * X.sum(axis=1, keepdims=True)

Parameters = dict[str, jax.Array]
State = dict[str, Parameters]


def compiled(**options: Any) -> keras.Model:
    with policy("mixed_float16"):
        model = keras.Sequential(
            [keras.Input((3,)), keras.layers.Dense(4, activation="tanh"), keras.layers.Dense(1)]
        )
        model.compile(keras.optimizers.Adam(1e-2), "mse", **options)
    return model


@pytest.mark.parametrize("options", [{"run_eagerly": True}, {"jit_compile": False}, {}])
def test_a_real_step_is_the_users_own(options: dict[str, bool]) -> None:
    """`run` and `train_on_batch`, from the same weights, end in the same weights."""
    ours, theirs = compiled(**options), compiled(**options)
    for own, other in zip(ours.variables, theirs.variables, strict=True):
        other.assign(np.array(own.value))
    step = JaxBackend().keras_step(ours, lambda layer: None)
    for _ in range(2):
        loss = step.run((X, Y))[1].loss
        assert loss == pytest.approx(float(theirs.train_on_batch(X, Y)), rel=1e-6)
    for own, other in zip(ours.variables, theirs.variables, strict=True):
        np.testing.assert_allclose(np.array(own.value), np.array(other.value), 1e-5, 1e-7)


def test_a_step_of_the_users_own_is_traced() -> None:
    class Model(keras.Model):  # type: ignore[misc]
        def train_step(self, state: Any, data: Any) -> Any:
            logs, state = super().train_step(state, data)
            return {**logs, "twice": logs["loss"] * 2}, state

    with policy("mixed_float16"):
        inputs = keras.Input((3,))
        model = Model(inputs, keras.layers.Dense(1)(inputs))
        model.compile("sgd", "mse")
    step = JaxBackend().keras_step(model, lambda layer: None)
    step.prepare((X, Y))
    trace = step.trace(step.snapshot(), (X, Y))
    assert [g.variable.split("/")[-1] for g in trace.gradients] == ["kernel", "bias"]
    logs, _ = step.run((X, Y))
    assert float(logs["twice"]) == pytest.approx(2 * float(logs["loss"]))


def test_a_step_that_jax_cannot_trace_still_runs() -> None:
    class Model(keras.Model):  # type: ignore[misc]
        def train_step(self, state: Any, data: Any) -> Any:
            logs, state = super().train_step(state, data)
            return {name: float(value) for name, value in logs.items()}, state

    with policy("mixed_float16"):
        inputs = keras.Input((3,))
        model = Model(inputs, keras.layers.Dense(1)(inputs))
        model.compile("sgd", "mse", run_eagerly=True)
    step = JaxBackend().keras_step(model, lambda layer: None)
    logs, outcome = step.run((X, Y))
    assert isinstance(logs["loss"], float)
    assert outcome.variables == ()
    with pytest.raises(TraceError, match="JAX cannot trace the training step"):
        step.trace(step.snapshot(), (X, Y))


# Pure functions ---------------------------------------------------------------------------


def loss_of(parameters: Parameters, x: jax.Array, y: jax.Array) -> jax.Array:
    hidden = jnp.tanh(x.astype(HALF) @ parameters["inner"].astype(HALF))
    output = hidden @ parameters["outer"].astype(HALF)
    return jnp.mean(jnp.square(output.astype(jnp.float32) - y))


def momentum_step(state: State, x: jax.Array, y: jax.Array) -> tuple[State, jax.Array]:
    """As Flax and Optax users write it; the momentum stands before the weights by name."""
    loss, gradients = jax.value_and_grad(loss_of)(state["weights"], x, y)
    momentum = jax.tree.map(lambda m, g: 0.9 * m + g, state["momentum"], gradients)
    weights = jax.tree.map(lambda w, m: w - 0.1 * m, state["weights"], momentum)
    return {"momentum": momentum, "weights": weights}, loss


def initial() -> State:
    rng = np.random.default_rng(0)
    weights = {
        "inner": jnp.asarray(rng.normal(size=(3, 3)), jnp.float32),
        "outer": jnp.asarray(rng.normal(size=(3, 1)), jnp.float32),
    }
    return {"momentum": jax.tree.map(jnp.zeros_like, weights), "weights": weights}


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["plain", "jit"])
def test_a_pure_step_names_its_gradients_and_updates(wrap: Any) -> None:
    state = initial()
    trace = floatline.trace(wrap(momentum_step), state, X, Y)
    truth = jax.grad(loss_of)(state["weights"], X, Y)
    assert [g.variable for g in trace.gradients] == ["state/weights/inner", "state/weights/outer"]
    for gradient, value in zip(trace.gradients, jax.tree.leaves(truth), strict=True):
        found = trace.sites[gradient.site].statistics
        assert found.computed_max_abs == pytest.approx(float(jnp.abs(value).max()), rel=1e-2)
    (loss,) = trace.losses
    shown = trace.sites[loss].statistics.computed_max_abs
    assert shown == pytest.approx(float(loss_of(state["weights"], X, Y)), rel=1e-3)
    updated = {s.variable: s.place.phase for s in trace.sites if s.variable and s.role == "value"}
    assert updated == dict.fromkeys(
        [f"state/{kind}/{name}" for kind in state for name in state[kind]], "update"
    )


def test_an_entry_of_a_dictionary_keeps_its_name() -> None:
    def loss(heads: Parameters, x: jax.Array) -> jax.Array:
        return jnp.mean(jnp.square(x @ heads["policy"])) + jnp.mean(x @ heads["value"])

    trace = floatline.trace(jax.grad(loss), {"policy": rows(3, 2), "value": rows(3)}, X)
    assert {g.variable for g in trace.gradients} == {"heads/policy", "heads/value"}


@pytest.mark.parametrize("differentiate", [jax.grad, jax.value_and_grad])
def test_a_gradient_taken_around_the_function_is_found(differentiate: Any) -> None:
    weights = initial()["weights"]
    trace = floatline.trace(differentiate(loss_of), weights, X, Y)
    assert {g.variable.split("/")[-1] for g in trace.gradients} == {"inner", "outer"}
    assert len(trace.losses) == 1


def test_gradients_of_single_examples_are_found_and_the_loss_that_is_made_of_theirs() -> None:
    """As for differential privacy: each is bounded before they are added up."""

    def bounded(weights: Parameters, x: jax.Array, y: jax.Array) -> tuple[Parameters, jax.Array]:
        loss, gradient = jax.value_and_grad(loss_of)(weights, x[None], y[None])
        return jax.tree.map(lambda g: jnp.clip(g, -1.0, 1.0), gradient), loss

    def step(weights: Parameters, x: jax.Array, y: jax.Array) -> tuple[Parameters, jax.Array]:
        gradients, losses = jax.vmap(bounded, in_axes=(None, 0, 0))(weights, x, y)
        return jax.tree.map(
            lambda w, g: w - 0.1 * g.mean(axis=0), weights, gradients
        ), losses.mean()

    weights = initial()["weights"]
    trace = floatline.trace(jax.jit(step), weights, X, Y)
    assert [g.variable for g in trace.gradients] == ["weights/inner", "weights/outer"]
    counts = [trace.sites[gradient.site].statistics.count for gradient in trace.gradients]
    assert counts == [len(X) * w.size for w in weights.values()]
    (loss,) = trace.losses
    shown = trace.sites[loss].statistics.computed_max_abs
    assert shown == pytest.approx(float(step(weights, X, Y)[1]), rel=1e-3)


def test_the_losses_of_a_loop_of_steps_are_those_of_its_steps() -> None:
    def epoch(weights: Parameters, x: jax.Array, y: jax.Array) -> Any:
        def step(weights: Parameters, _: None) -> tuple[Parameters, jax.Array]:
            loss, gradient = jax.value_and_grad(loss_of)(weights, x, y)
            return jax.tree.map(lambda w, g: w - 0.1 * g, weights, gradient), loss

        return jax.lax.scan(step, weights, None, length=4)

    weights = initial()["weights"]
    diagnosis = floatline.diagnose(jax.jit(epoch), [(X, Y)] * 3, state=weights)
    _, losses = epoch(weights, X, Y)
    record = diagnosis.evidence.history.steps[0]
    assert record.loss == pytest.approx(float(losses.mean()), rel=1e-3)


def test_the_loss_scale_of_a_keras_optimizer_is_known_in_a_loop_of_pure_functions() -> None:
    with policy("mixed_float16"):
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    inner = keras.optimizers.SGD(0.1)
    optimizer = keras.optimizers.LossScaleOptimizer(inner, initial_scale=512.0)
    optimizer.build(model.trainable_variables)

    def step(state: Any, x: jax.Array, y: jax.Array) -> Any:
        weights, slots = state
        bound = list(zip(optimizer.variables, slots, strict=True))

        def scaled(weights: Any) -> tuple[jax.Array, jax.Array]:
            outputs, _ = model.stateless_call(weights, [], x)
            loss = jnp.mean((outputs - y) ** 2)
            with keras.StatelessScope(state_mapping=bound):
                return optimizer.scale_loss(loss), loss

        (_, loss), gradients = jax.value_and_grad(scaled, has_aux=True)(weights)
        return optimizer.stateless_apply(slots, gradients, weights), loss

    state = (
        [variable.value for variable in model.trainable_variables],
        [variable.value for variable in optimizer.variables],
    )
    batches = [(X, Y)] * 3 + [(X * 1e6, Y)] + [(X, Y)] * 3
    steps = floatline.diagnose(jax.jit(step), batches, state=state).evidence.history.steps
    assert [record.loss_scale for record in steps] == [512.0] * 4 + [256.0] * 3
    assert [record.skipped for record in steps] == [False] * 3 + [True] + [False] * 3


def test_a_loss_alone_has_no_gradients() -> None:
    trace = floatline.trace(loss_of, initial()["weights"], X, Y)
    assert trace.gradients == ()
    assert {site.place.phase for site in trace.sites} == {"forward"}


def test_name_scopes_are_the_layers_of_a_library_other_than_keras() -> None:
    def loss(w: jax.Array, x: jax.Array) -> jax.Array:
        with jax.named_scope("encoder"), jax.named_scope("dense"):
            h = x.astype(HALF) @ w.astype(HALF)
        return jnp.sum(h.astype(jnp.float32))

    trace = floatline.trace(jax.grad(loss), jnp.ones((3, 2)), X)
    layers = {s.place.layer for s in trace.sites if s.place.operation == "dot_general"}
    assert layers == {"encoder/dense"}


def test_a_pure_training_is_diagnosed_and_repeated_in_float32() -> None:
    """Gradients of a tiny loss are flushed: the weights never move, and float32 moves them."""

    def tiny(state: State, x: jax.Array, y: jax.Array) -> tuple[State, jax.Array]:
        def loss(weights: Parameters) -> jax.Array:
            half = jax.tree.map(lambda w: w.astype(HALF), weights)
            hidden = jnp.tanh(x.astype(HALF) @ half["inner"])
            return jnp.mean(jnp.square((hidden @ half["outer"]).astype(jnp.float32) - y)) * 1e-9

        value, gradients = jax.value_and_grad(loss)(state["weights"])
        weights = jax.tree.map(lambda w, g: w - 1e8 * g, state["weights"], gradients)
        return {"momentum": state["momentum"], "weights": weights}, value * 1e9

    state = initial()
    kept = jax.tree.map(np.array, state)
    diagnosis = floatline.diagnose(jax.jit(tiny), [(X, Y)] * 30, state=state)
    history, reference = diagnosis.evidence.history, diagnosis.evidence.reference
    assert diagnosis.verdict == "precision"
    assert diagnosis.findings[0].rule == "FL201"
    assert len(history.steps) == 30
    assert reference is not None
    assert history.steps[-1].loss == history.steps[0].loss
    assert reference.steps[-1].loss is not None
    assert reference.steps[-1].loss < 0.5 * reference.steps[0].loss  # type: ignore[operator]
    jax.tree.map(np.testing.assert_array_equal, kept, state)


def test_a_batch_that_is_one_argument_stays_one() -> None:
    def step(state: State, batch: Any) -> tuple[jax.Array, State]:
        after, loss = momentum_step(state, *batch)
        return loss, after

    diagnosis = floatline.diagnose(step, [(X, Y)] * 3, state=initial())
    assert len(diagnosis.evidence.history.steps) == 3
    assert diagnosis.evidence.configuration.compiled == "eager"


def test_a_step_that_returns_no_state_is_refused() -> None:
    with pytest.raises(InputError, match="nothing built like it: it returned a tuple of 2"):
        floatline.diagnose(
            lambda state, x, y: (1.0, momentum_step(state, x, y)[1]), [(X, Y)], state=initial()
        )


def test_a_model_keeps_its_own_state() -> None:
    with pytest.raises(InputError, match="a model keeps its own"):
        floatline.diagnose(compiled(), X, Y, state={})


@pytest.mark.parametrize("unscale", ["divides", "auxiliary"])
def test_the_loss_that_is_shown_is_the_one_before_a_scale_of_ones_own(unscale: str) -> None:
    x = rows(16, 4)

    def loss(weights: jax.Array, scale: jax.Array) -> tuple[jax.Array, jax.Array]:
        value = jnp.mean((x.astype(HALF) @ weights.astype(HALF)).astype("float32") ** 2)
        return value * scale, value

    def step(state: Any, batch: jax.Array) -> Any:
        weights, scale = state
        (scaled, value), gradient = jax.value_and_grad(loss, has_aux=True)(weights, scale)
        shown = scaled / scale if unscale == "divides" else value
        return (weights - 0.01 * gradient / scale, 2.0 * scale), shown

    state = (jnp.ones((4, 1)), jnp.float32(2.0))
    first = float(step(state, x)[1])
    diagnosis = floatline.diagnose(step, [x] * 12, state=state)
    steps = diagnosis.evidence.history.steps
    losses = [record.loss for record in steps if record.loss is not None]
    assert len(losses) == 12
    assert losses[0] == pytest.approx(first, rel=1e-3)
    assert losses[-1] < losses[0]
    assert diagnosis.verdict == "healthy"


def test_a_count_of_steps_is_data_to_a_compiled_step(monkeypatch: pytest.MonkeyPatch) -> None:
    made = steps_made(monkeypatch)

    def counting(weight: jax.Array, i: int) -> jax.Array:
        return weight - jax.grad(lambda w: jnp.sum(w * w))(weight) / (i + 1)

    step = JaxBackend().function_step(jax.jit(counting), lambda layer: None)
    for i in (1, 2, 3):
        returned, _ = step.run((jnp.ones(3), i))
        np.testing.assert_allclose(returned, np.ones(3) - 2 / (i + 1), rtol=1e-6)
    assert len(made) == 1


def test_a_number_that_is_a_setting_of_the_compiled_step_stays_one() -> None:
    @functools.partial(jax.jit, static_argnums=1)
    def powers(weight: jax.Array, count: int) -> jax.Array:
        return jnp.stack([weight**n for n in range(count)])

    step = JaxBackend().function_step(powers, lambda layer: None)
    for count in (2, 4):
        returned, _ = step.run((jnp.full(3, 2.0), count))
        np.testing.assert_array_equal(returned[:, 0], 2.0 ** np.arange(count))


def test_a_key_of_random_numbers_is_a_value_and_a_traced_one_is_none() -> None:
    def noisy(key: jax.Array, x: jax.Array) -> jax.Array:
        return x + jax.random.normal(key, x.shape)

    batch = (jax.random.key(3), jnp.ones(2))
    assert batch_of_call(noisy, batch, {}) == batch
    returned, _ = JaxBackend().function_step(jax.jit(noisy), lambda layer: None).run(batch)
    np.testing.assert_allclose(returned, noisy(*batch), rtol=1e-6)
    with pytest.raises(TrainingError, match="no values yet"):
        jax.jit(lambda *traced: batch_of_call(noisy, traced, {}))(*batch)
