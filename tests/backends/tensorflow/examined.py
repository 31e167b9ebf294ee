"""Runs a sample in every way there is, so that the tests can compare what came out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from floatline.backends.interface import Outcome
from floatline.backends.tensorflow import TensorFlowBackend
from floatline.backends.tensorflow.program import StepGraph
from floatline.backends.tensorflow.step import TensorFlowStep
from floatline.records import Trace
from tests.backends.tensorflow.models import SAMPLES, Sample
from tests.contract.samples import policy

Values = dict[str, np.ndarray]


@dataclass(frozen=True)
class Examined:
    """One step of a sample, taken from the same state in every way.

    Attributes:
        sample: The model under the low policy.
        graph: Its step's graph.
        trace: Its traced step.
        scale: The loss scale of the step; 1 where there is none.
        before: Every variable before the step, by path.
        real: Every variable after the untraced step.
        traced: Every variable after the traced step.
        left: Every variable before and after `trace`, as bytes.
        replayed: Every variable after a step of the float32 replay, and two outcomes.
        float32: Every variable after a step of the independent float32 model, and two losses.
        gradients: The independent float32 gradients, in the order of the trainable variables.
    """

    sample: Sample
    graph: StepGraph
    trace: Trace
    scale: float
    before: Values
    real: Values
    traced: Values
    left: tuple[bytes, bytes]
    replayed: Values
    outcomes: tuple[Outcome, Outcome]
    float32: Values
    losses: tuple[float, float]
    gradients: list[np.ndarray]


def examine(name: str, policy_name: str) -> Examined:
    """Runs a sample's second step, whose state is no longer the initial one."""
    with policy(policy_name):
        sample = SAMPLES[name]()
    step = TensorFlowBackend().keras_step(sample.model, lambda layer: None)
    step.run(sample.batch)
    state, graph = step.snapshot(), step._builder.graph_for(sample.batch)[0]
    reference = independent(name, sample, policy_name)
    gradients = tape_gradients(reference)
    copy_state(sample.model, reference.model)
    before = values(graph)
    _, outcome = step.run(sample.batch)
    real, kept = values(graph), everything(sample.model)
    trace = step.trace(state, sample.batch)
    left = kept, everything(sample.model)
    traced = {path: as_numpy(v) for path, v in step.traced_state(state, sample.batch).items()}
    replayed, outcomes = replay(step, graph, state, sample.batch)
    float32, losses = train(reference)
    return Examined(
        sample, graph, trace, outcome.loss_scale or 1.0, before, real, traced, left,
        replayed, outcomes, float32, losses, gradients,
    )  # fmt: skip


def replay(
    step: TensorFlowStep, graph: StepGraph, start: Any, batch: Any
) -> tuple[Values, tuple[Outcome, Outcome]]:
    """Two steps of Floatline's float32 training; the variables after the first."""
    training = step.float32(start)
    first = training.advance(batch)
    pairs = zip(graph.paths, graph.variables, strict=True)
    state = training._state
    # The loss scale itself is not part of a float32 training, and stays as it is.
    after = {path: as_numpy(state[id(v)]) for path, v in pairs if id(v) in state}
    return after, (first, training.advance(batch))


def independent(name: str, sample: Sample, policy_name: str) -> Sample:
    """The same model built in float32, in the same state; random layers draw as the sample's do."""
    with policy("float32"):
        reference = SAMPLES[name]()
        for layer in reference.model.layers:
            if isinstance(layer, (keras.layers.Dropout, keras.layers.GaussianNoise)):
                layer.dtype_policy = keras.DTypePolicy(policy_name)
    reference.model.optimizer.build(reference.model.trainable_variables)
    copy_state(sample.model, reference.model)
    return reference


def copy_state(source: keras.Model, target: keras.Model) -> None:
    """Gives a float32 model the weights, seeds and optimizer state of another one."""
    pairs = list(zip(source.variables, target.variables, strict=True))
    inner = getattr(source.optimizer, "inner_optimizer", source.optimizer)
    pairs += zip(inner.variables, target.optimizer.variables, strict=True)
    for low, high in pairs:
        high.assign(keras.ops.cast(low.value, high.dtype))


def tape_gradients(reference: Sample) -> list[np.ndarray]:
    """Gradients of the loss of a float32 model, by TensorFlow alone."""
    model = reference.model
    x, y, weight = keras.utils.unpack_x_y_sample_weight(
        tf.nest.map_structure(tf.convert_to_tensor, reference.batch)
    )
    with tf.GradientTape() as tape:
        loss = model.compute_loss(x, y, model(x, training=True), weight)
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
    return [as_numpy(getattr(gradient, "values", gradient)) for gradient in gradients]


def train(reference: Sample) -> tuple[Values, tuple[float, float]]:
    """Two steps of a float32 model by Keras alone; the variables after the first."""
    model = reference.model
    first = model.train_on_batch(*reference.batch, return_dict=True)["loss"]
    owners = [*model.variables, *model.optimizer.variables]
    after = {variable.path: as_numpy(variable) for variable in owners}
    model.reset_metrics()
    second = model.train_on_batch(*reference.batch, return_dict=True)["loss"]
    return after, (float(first), float(second))


def values(graph: StepGraph) -> Values:
    """What the variables of a step hold now."""
    return {p: as_numpy(v) for p, v in zip(graph.paths, graph.variables, strict=True)}


def everything(model: keras.Model) -> bytes:
    """Every bit of a model, its seeds and metrics, and its optimizer."""
    owners = [*model.variables, *model.metrics_variables, *model.optimizer.variables]
    return b"".join(as_numpy(variable).tobytes() for variable in owners)


def as_numpy(value: Any) -> np.ndarray:
    """A tensor or variable as an array of its own."""
    tensor = value.value if isinstance(value, keras.Variable) else value
    return np.array(tensor.numpy())
