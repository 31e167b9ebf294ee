"""Descriptions of trainings, made from real Keras models."""

from __future__ import annotations

from typing import Any

import keras
import pytest
import tensorflow as tf

from floatline.capture import configuration
from floatline.records import Configuration, SourceLine


def described(model: Any, **compiling: Any) -> Configuration:
    model.compile(**{"optimizer": "adam", "loss": "mse", **compiling})
    return configuration.of_model(model, entry="fit")


def paths(found: Configuration) -> list[str]:
    return [layer.path for layer in found.layers]


def test_layers_with_their_precision() -> None:
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(3, dtype="mixed_float16", name="low"),
            keras.layers.Dense(1, dtype="float32", name="head"),
        ]
    )
    low, head = described(model).layers
    assert (low.path, low.layer_class) == ("low", "Dense")
    assert (low.compute_dtype, low.variable_dtype) == ("float16", "float32")
    assert (head.compute_dtype, head.variable_dtype) == ("float32", "float32")


def test_layers_inside_layers() -> None:
    inputs = keras.Input((6, 4))
    attention = keras.layers.MultiHeadAttention(2, 2, name="attention")
    x = attention(inputs, inputs)
    x = keras.layers.Bidirectional(keras.layers.LSTM(2, name="lstm"), name="both")(x)
    encoder = keras.Model(inputs, x, name="encoder")
    model = keras.Sequential([keras.Input((6, 4)), encoder, keras.layers.Dense(1, name="head")])
    found = paths(described(model))
    assert found[0] == "encoder"
    assert "encoder/attention/query" in found
    assert "encoder/both/forward_lstm/lstm_cell" in found
    assert "encoder/both/backward_lstm" in found
    assert found[-1] == "head"
    assert len(found) == len(set(found))


def test_a_shared_layer_stands_once() -> None:
    shared = keras.layers.Dense(4, name="shared")
    inputs = keras.Input((4,))
    assert paths(described(keras.Model(inputs, shared(shared(inputs))))) == ["shared"]


def test_layers_of_a_subclassed_model() -> None:
    class Model(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.blocks = [keras.layers.Dense(4, name="one"), keras.layers.Dense(4, name="two")]

        def call(self, inputs: Any) -> Any:
            return self.blocks[1](self.blocks[0](inputs))

    assert paths(described(Model())) == ["one", "two"]


def test_the_lines_of_the_layers() -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.compile("adam", "mse")
    line = SourceLine("train.py", 3)
    found = configuration.of_model(model, entry="fit", layer_source=lambda layer: line)
    assert found.layers[0].source == line


def small() -> Any:
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])


def test_an_optimizer_without_loss_scaling() -> None:
    found = described(small(), optimizer=keras.optimizers.SGD())
    assert (found.optimizer, found.loss_scaling, found.initial_scale) == ("SGD", False, None)


def test_an_optimizer_with_loss_scaling() -> None:
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(), initial_scale=8.0)
    found = described(small(), optimizer=optimizer)
    assert (found.optimizer, found.loss_scaling, found.initial_scale) == ("Adam", True, 8.0)


@pytest.mark.parametrize(
    ("compiling", "expected"),
    [
        ({"run_eagerly": True}, "eager"),
        ({"jit_compile": True}, "xla"),
        ({"jit_compile": False}, "graph"),
    ],
)
def test_how_the_step_is_compiled(compiling: dict[str, Any], expected: str) -> None:
    assert described(small(), **compiling).compiled == expected


def test_a_step_function_is_described_by_what_it_names() -> None:
    model, optimizer = small(), keras.optimizers.Adam()

    @tf.function  # type: ignore[untyped-decorator]
    def step(x: Any) -> Any:
        optimizer.apply([x], model.trainable_variables)

    known = configuration.known_objects(step)
    found = configuration.of_function(step, known)
    assert {id(thing) for thing in known} == {id(model), id(optimizer)}
    assert (found.entry, found.optimizer, found.compiled) == ("step function", "Adam", "graph")
    assert len(found.layers) == 1


def test_what_wraps_a_compiled_function_of_jax_is_compiled() -> None:
    class Compiled:
        """As `jax.jit` returns it."""

        __wrapped__ = staticmethod(abs)

        def lower(self) -> None: ...

    class Wrapper:
        __wrapped__ = Compiled()

    def plain() -> None: ...

    found = [configuration.of_function(f, ()).compiled for f in (Compiled(), Wrapper(), plain)]  # type: ignore[arg-type]
    assert found == ["xla", "xla", "eager"]


def test_a_method_is_described_by_its_object() -> None:
    class Trainer:
        def __init__(self) -> None:
            self.model = small()

        def step(self, x: Any) -> Any:
            return self.model(x)

    trainer = Trainer()
    assert configuration.known_objects(trainer.step) == (trainer.model,)
    assert configuration.of_function(trainer.step, ()).compiled == "eager"
