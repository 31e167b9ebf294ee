"""Repairs of real models: what is proposed is tried, proven, and leaves the model as it was."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import floatline
from floatline.capture.capture import Budget
from floatline.capture.model import capture_fit
from floatline.pipeline import load_backend
from floatline.precision.plan import Plan
from floatline.progress import silent
from floatline.records import Verdict
from floatline.repairs import TrialBudget
from floatline.trials.bench import Bench
from floatline.trials.repair import repair
from tests.scaling.samples import only_jax, only_tensorflow, only_torch

STEPS = 40
QUICK = TrialBudget(trials=8, seconds=120.0)


@pytest.fixture
def overflowing() -> Callable[[], tuple[keras.Model, np.ndarray, np.ndarray]]:
    """A model whose first layer squares its inputs beyond 65504."""

    def make() -> tuple[keras.Model, np.ndarray, np.ndarray]:
        keras.utils.set_random_seed(0)
        keras.config.set_dtype_policy("mixed_float16")
        try:
            inputs = keras.Input((8,))
            squared = Squared(name="squared")(inputs)
            outputs = keras.layers.Dense(1, dtype="float32", name="head")(squared)
            model = keras.Model(inputs, outputs)
        finally:
            keras.config.set_dtype_policy("float32")
        model.compile(keras.optimizers.SGD(0.1), "mse")
        x = np.random.default_rng(0).uniform(200, 400, (16 * STEPS, 8)).astype("float32")
        return model, x, x[:, :1] / 400

    return make


class Checked(keras.layers.Layer):  # type: ignore[misc]  # (Keras carries no types)
    """Ends the training with an error where something is not finite."""

    def call(self, inputs: Any) -> Any:
        import tensorflow as tf

        return tf.debugging.check_numerics(inputs, "not finite")


@only_tensorflow
def test_a_training_that_raises_is_repaired_by_what_lets_it_go_on(
    overflowing: Callable[[], tuple[keras.Model, np.ndarray, np.ndarray]],
) -> None:
    plain, x, y = overflowing()
    inputs = plain.inputs[0]
    squared = Checked(dtype="float32")(plain.get_layer("squared").output)
    model = keras.Model(inputs, plain.get_layer("head")(squared))
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
    diagnosis = floatline.diagnose(model, x, y, batch_size=16, trials=QUICK)
    assert diagnosis.evidence.history.stopped == "error"
    repair = diagnosis.repair
    assert repair is not None
    assert repair.verdict == "fixed"
    assert repair.plan is not None
    assert [rule.path for rule in repair.plan.rules] == ["squared"]
    raising = repair.trials[0]
    assert (raising.verdict, raising.steps) == ("not fixed", 1)


class Squared(keras.layers.Layer):  # type: ignore[misc]  # (Keras carries no types)
    def call(self, inputs: Any) -> Any:
        return keras.ops.square(inputs) / 400 / 400


def test_a_layer_that_overflows_is_kept_in_float32_and_nothing_else(
    overflowing: Callable[[], tuple[keras.Model, np.ndarray, np.ndarray]],
) -> None:
    model, x, y = overflowing()
    weights = [np.array(weight) for weight in model.get_weights()]
    optimizer, policy = model.optimizer, model.get_layer("squared").dtype_policy
    diagnosis = floatline.diagnose(model, x, y, batch_size=16, trials=QUICK)
    repair = diagnosis.repair
    assert diagnosis.verdict == "precision"
    assert repair is not None
    assert (repair.verdict, repair.minimal, repair.lasting) == ("fixed", True, True)
    assert [remedy.summary for remedy in repair.remedies] == ["Keep layer 'squared' in float32."]
    assert [trial.verdict for trial in repair.trials] == ["not fixed", "fixed", "fixed"]
    assert repair.trials[-1].steps == 3 * repair.trials[0].steps
    (change,) = repair.changes
    assert change.now == "return keras.ops.square(inputs) / 400 / 400"
    assert change.then.startswith('inputs = keras.ops.cast(inputs, "float32")\n')
    assert model.optimizer is optimizer
    assert model.get_layer("squared").dtype_policy is policy
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_the_plan_trains(
    overflowing: Callable[[], tuple[keras.Model, np.ndarray, np.ndarray]],
) -> None:
    model, x, y = overflowing()
    diagnosis = floatline.diagnose(model, x, y, batch_size=16, trials=QUICK)
    assert diagnosis.repair is not None
    plan = Plan.from_json((diagnosis.repair.plan or Plan()).to_json())
    assert plan == diagnosis.repair.plan
    plan.apply(model)
    history = model.fit(x, y, batch_size=16, verbose=0)
    assert np.isfinite(history.history["loss"]).all()


def test_nothing_is_repaired_where_the_precision_is_not_at_fault() -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.linspace(0, 1, 256, dtype="float32").reshape(64, 4)
    repair = floatline.diagnose(model, x, x[:, :1], trials=QUICK).repair
    assert repair is not None
    assert (repair.verdict, repair.plan, repair.trials) == ("undecided", None, ())


@pytest.mark.parametrize(
    ("verdict", "said"),
    [("healthy", "not at fault"), ("precision", "no rule names"), ("undecided", "is decided")],
)
def test_a_repair_without_remedies_says_why(verdict: Verdict, said: str) -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    diagnosis = floatline.diagnose(model, np.ones((16, 4)), np.ones((16, 1)))
    capture: Any = None  # Nothing is tried.
    judged = dataclasses.replace(diagnosis, verdict=verdict, findings=())
    assert said in repair(capture, judged, QUICK, silent).explanation


class Standardized(keras.layers.Layer):  # type: ignore[misc]  # (Keras carries no types)
    """Zero mean and unit variance over the batch; the epsilon is the layer's own."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.epsilon = 1e-8

    def call(self, inputs: Any) -> Any:
        mean = keras.ops.mean(inputs, axis=0, keepdims=True)
        variance = keras.ops.mean(keras.ops.square(inputs - mean), axis=0, keepdims=True)
        return (inputs - mean) / keras.ops.sqrt(variance + self.epsilon)


def test_an_epsilon_that_is_0_is_raised_instead_of_the_layer() -> None:
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("mixed_float16")
    try:
        hidden, norm = keras.layers.Dense(16, "relu"), Standardized(name="norm")
        head = keras.layers.Dense(1, dtype="float32")
        model = keras.Sequential([keras.Input((8,)), hidden, norm, head])
    finally:
        keras.config.set_dtype_policy("float32")
    kernel, bias = hidden.get_weights()
    bias[:2] = -50.0  # Two units that are always 0.
    hidden.set_weights([kernel, bias])
    model.compile(keras.optimizers.Adam(1e-2), "mse")
    x = np.random.default_rng(0).normal(size=(16 * STEPS, 8)).astype("float32")
    diagnosis = floatline.diagnose(model, x, x[:, :1], batch_size=16, trials=QUICK)
    repair = diagnosis.repair
    assert repair is not None
    assert diagnosis.findings[0].cause == "epsilon-underflow"
    assert (repair.verdict, repair.minimal, repair.lasting) == ("fixed", True, True)
    assert [remedy.name for remedy in repair.remedies] == ["larger-epsilon"]
    assert norm.epsilon == 1e-8
    plan = Plan.from_json((repair.plan or Plan()).to_json())
    assert (plan.rules, [e.path for e in plan.epsilons]) == ((), ["norm"])
    assert plan.epsilons[0].evidence["steps"] == repair.trials[1].steps
    with plan.apply(model):
        history = model.fit(x, x[:, :1], batch_size=16, verbose=0)
    assert np.isfinite(history.history["loss"]).all()


class RoundedLabels(keras.Model):  # type: ignore[misc]  # (Keras carries no types)
    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, *_: Any, **__: Any
    ) -> Any:
        labels = keras.ops.cast(keras.ops.cast(y, "float16")[:, 0], "int32")
        logits = keras.ops.cast(y_pred, "float32")
        return keras.ops.mean(
            keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
        )


def test_what_the_loss_does_not_show_is_not_proven_by_the_loss() -> None:
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).integers(0, 8, (16 * STEPS, 1))
    inputs = keras.Input((1,), dtype="int32")
    hidden = keras.layers.Flatten()(keras.layers.Embedding(8, 8)(inputs))
    model = RoundedLabels(inputs, keras.layers.Dense(2100)(hidden))
    model.compile(keras.optimizers.Adam(0.1))
    diagnosis = floatline.diagnose(model, x, 2049 + 2 * x, batch_size=16, trials=QUICK)
    repair = diagnosis.repair
    assert repair is not None
    assert diagnosis.findings[0].cause == "integer-in-half"
    assert repair.trials[0].verdict == "fixed"
    assert (repair.verdict, repair.lasting) == ("undecided", None)
    assert "does not show" in repair.explanation


def test_without_trials_a_plan_is_proposed_and_not_called_proven(
    overflowing: Callable[[], tuple[keras.Model, np.ndarray, np.ndarray]],
) -> None:
    model, x, y = overflowing()
    repair = floatline.diagnose(model, x, y, batch_size=16, trials=TrialBudget(trials=0)).repair
    assert repair is not None
    assert (repair.verdict, repair.trials) == ("undecided", ())
    assert repair.plan is not None
    assert repair.plan.rules[0].path == "squared"


def test_a_spent_budget_gives_the_best_proposal_and_says_so(
    overflowing: Callable[[], tuple[keras.Model, np.ndarray, np.ndarray]],
) -> None:
    model, x, y = overflowing()
    repair = floatline.diagnose(model, x, y, batch_size=16, trials=TrialBudget(trials=1)).repair
    assert repair is not None
    assert (repair.verdict, len(repair.trials)) == ("undecided", 1)
    assert "budget" in repair.explanation


def test_where_float32_fails_too_a_lower_learning_rate_is_proven_and_said() -> None:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(5.0), "mse")
    x = np.random.default_rng(0).normal(size=(640, 4)).astype("float32")
    repair = floatline.diagnose(model, x, x[:, :1], batch_size=16, trials=QUICK).repair
    assert repair is not None
    assert (repair.verdict, repair.minimal, repair.lasting) == ("fixed", True, True)
    assert repair.explanation.startswith("Float32 fails too. Lower the learning rate to 0.")
    assert repair.plan is not None
    assert [setting.name for setting in repair.plan.optimizer] == ["learning_rate"]
    assert "the loss falls from" in repair.trials[-1].reason.lower()
    assert float(model.optimizer.learning_rate) == 5.0


def test_an_interrupted_repair_goes_on(
    overflowing: Callable[[], tuple[keras.Model, np.ndarray, np.ndarray]], tmp_path: Path
) -> None:
    file = tmp_path / "plan.json.trials"
    begun = TrialBudget(trials=1, journal=file)
    finished = TrialBudget(trials=8, journal=file)
    model, x, y = overflowing()
    keras.utils.set_random_seed(1)  # The order of the rows is the same in both.
    floatline.diagnose(model, x, y, batch_size=16, shuffle=False, trials=begun)
    assert file.exists()
    model, x, y = overflowing()
    keras.utils.set_random_seed(1)
    repair = floatline.diagnose(model, x, y, batch_size=16, shuffle=False, trials=finished).repair
    assert repair is not None
    assert repair.verdict == "fixed"
    assert "Trials kept from a run that was interrupted: 1." in repair.explanation
    assert not file.exists()


def test_a_plan_that_gives_weights_another_dtype_trains_them_in_it() -> None:
    """Steps of 1e-5 move weights near 1 in float32, and none in float16."""
    keras.utils.set_random_seed(0)
    dense = keras.layers.Dense(1, kernel_initializer="ones", dtype="float16")
    model = keras.Sequential([keras.Input((4,), dtype="float16"), dense])
    model.compile(keras.optimizers.SGD(1e-5, momentum=0.5), "mse")
    x = np.random.default_rng(0).normal(size=(16 * STEPS, 4)).astype("float32")
    data = {"x": x, "y": x[:, :1], "batch_size": 16, "shuffle": False}
    capture = capture_fit(load_backend(), model, data, Budget())
    assert capture.trainee is not None
    bench = Bench(capture, capture.trainee)
    float32 = [step.loss or np.nan for step in bench.train_in_float32(STEPS, 60.0).steps]
    planned = [step.loss or np.nan for step in bench.train(Plan.of("float32"), STEPS, 60.0).steps]
    np.testing.assert_allclose(planned, float32, rtol=1e-6)
    assert str(dense.kernel.dtype) == "float16"


@only_tensorflow
def test_the_model_of_a_step_function_is_repaired_too(
    overflowing: Callable[[], tuple[keras.Model, np.ndarray, np.ndarray]],
) -> None:
    import tensorflow as tf

    model, x, y = overflowing()
    weights = [np.array(weight) for weight in model.get_weights()]
    optimizer = keras.optimizers.SGD(0.1)

    @tf.function  # type: ignore[untyped-decorator]  # (TensorFlow carries no types)
    def step(images: Any, targets: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(images, training=True) - targets))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return loss

    batches = [(x[i : i + 16], y[i : i + 16]) for i in range(0, len(x), 16)]
    repair = floatline.diagnose(step, batches, trials=QUICK).repair
    assert repair is not None
    assert (repair.verdict, repair.lasting) == ("fixed", True)
    assert repair.plan is not None
    assert [rule.policy for rule in repair.plan.rules] == ["float32"]
    assert model.get_layer("squared").compute_dtype == "float16"
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    with repair.plan.apply(model):
        assert model.get_layer("squared").compute_dtype == "float32"


@only_torch
def test_the_model_of_a_torch_loop_is_repaired_too(
    overflowing: Callable[[], tuple[keras.Model, np.ndarray, np.ndarray]],
) -> None:
    import torch

    model, x, y = overflowing()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def step(images: Any, targets: Any) -> Any:
        optimizer.zero_grad()
        loss = torch.mean(torch.square(model(images, training=True) - targets))
        loss.backward()
        optimizer.step()
        return loss

    batches = [
        (torch.from_numpy(x[i : i + 16]), torch.from_numpy(y[i : i + 16]))
        for i in range(0, len(x), 16)
    ]
    repair = floatline.diagnose(step, batches, trials=QUICK).repair
    assert repair is not None
    assert (repair.verdict, repair.lasting) == ("fixed", True)
    assert model.get_layer("squared").compute_dtype == "float16"


@only_jax
def test_a_pure_step_gets_changes_without_proof(
    overflowing: Callable[[], tuple[keras.Model, np.ndarray, np.ndarray]],
) -> None:
    import jax

    model, x, y = overflowing()

    def loss_of(weights: Any, others: Any, images: Any, targets: Any) -> Any:
        outputs, _ = model.stateless_call(weights, others, images, training=True)
        return keras.ops.mean(keras.ops.square(outputs - targets))

    def step(state: Any, batch: Any) -> Any:
        weights, others = state
        loss, gradients = jax.value_and_grad(loss_of)(weights, others, *batch)
        pairs = zip(weights, gradients, strict=True)
        return ([weight - 0.1 * gradient for weight, gradient in pairs], others), loss

    state = (
        [variable.value for variable in model.trainable_variables],
        [variable.value for variable in model.non_trainable_variables],
    )
    batches = [(x[i : i + 16], y[i : i + 16]) for i in range(0, len(x), 16)]
    repair = floatline.diagnose(step, batches, state=state, trials=QUICK).repair
    assert repair is not None
    assert (repair.verdict, repair.trials) == ("undecided", ())
    assert "step function" in repair.explanation
    assert repair.plan is None  # It would have no layer to match.
    assert repair.changes
