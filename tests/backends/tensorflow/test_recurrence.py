"""A recurrent layer that Keras runs in cuDNN is looked into as the operations of its time steps."""

from __future__ import annotations

from collections.abc import Iterator

import keras
import numpy as np
import pytest
import tensorflow as tf

from floatline.backends.tensorflow import TensorFlowBackend
from floatline.backends.tensorflow.recurrence import RNN, has_closed_recurrence, open_recurrence
from floatline.patches import replaced


@pytest.fixture
def as_on_a_gpu() -> Iterator[None]:
    """Keras builds for cuDNN, whose operations can be built anywhere and run on a GPU only."""
    with replaced(RNN, "_is_gpu_available", lambda _: lambda: True):
        yield


@pytest.mark.parametrize("layer", [keras.layers.LSTM, keras.layers.GRU])
def test_a_trace_sees_every_time_step(layer: type[keras.Layer], as_on_a_gpu: None) -> None:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((5, 3)), layer(4, dtype="mixed_float16")])
    model.compile("sgd", "mse")
    batch = (tf.ones((2, 5, 3)), tf.zeros((2, 4)), None)
    step = TensorFlowBackend().keras_step(model, lambda _: None)
    step.prepare(batch)
    state = step.snapshot()

    trace = step.trace(state, batch)
    losses = [trace.sites[site].statistics for site in trace.losses]
    with open_recurrence():
        expected = float(np.mean(np.square(model(batch[0]))))
    assert [loss.max_abs for loss in losses] == [pytest.approx(expected, rel=1e-2)]
    assert any(site.place.operation.lower() == "tanh" for site in trace.sites)
    assert step.float32(state).advance(batch).loss == pytest.approx(expected, rel=1e-2)


def test_cudnn_is_found_in_a_graph_and_left_out_of_another_one(as_on_a_gpu: None) -> None:
    layer = keras.layers.LSTM(4)
    x = tf.ones((2, 5, 3))
    layer.build(x.shape)
    closed = tf.function(layer.call).get_concrete_function(x).graph
    assert has_closed_recurrence(closed)
    with open_recurrence():
        opened = tf.function(layer.call).get_concrete_function(x).graph
    assert not has_closed_recurrence(opened)
