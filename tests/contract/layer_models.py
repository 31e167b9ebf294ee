"""A group of layers side by side in one model, whose outputs are told apart in one loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers, ops

from tests.contract.layer_cases import Case

BATCH = 2
RATE = 1.0
"""Learning rate: what a weight loses in one step is its gradient."""

SHARE = 2.0**-3
"""What the loss makes of an output; a power of two rounds nothing."""


class Built(NamedTuple):
    """Layers side by side.

    Attributes:
        model: The compiled model that trains them all.
        outputs: The model that gives the output of each.
        batch: One batch for `model`.
    """

    model: keras.Model
    outputs: keras.Model
    batch: tuple[list[np.ndarray], np.ndarray]


class Gain(layers.Layer):  # type: ignore[misc]  # (Keras carries no types)
    """Multiplies by weights that are 1, so that every layer behind it has a gradient to pass on."""

    def build(self, shape: Any) -> None:
        self.gain = self.add_weight(shape=shape[1:], initializer="ones", name="gain")

    def call(self, inputs: Any) -> Any:
        return inputs * self.gain


class Weighed(layers.Layer):  # type: ignore[misc]  # (Keras carries no types)
    """An output in float32, its elements weighed differently, as one number for each sample."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.supports_masking = True

    def call(self, output: Any, mask: Any = None) -> Any:
        del mask  # Keras warns of layers that lose one.
        rows = ops.reshape(output, (BATCH, -1))
        return ops.sum(rows * ops.convert_to_tensor(SHARE * wave(*rows.shape)), axis=1)

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
        return None


class Total(layers.Layer):  # type: ignore[misc]  # (Keras carries no types)
    """The sum of everything."""

    def call(self, parts: Sequence[Any]) -> Any:
        return ops.sum(ops.stack(parts), axis=0)


def wave(*shape: int, start: float = 0.0) -> np.ndarray:
    """Numbers between -1 and 1 without pattern, the same on every machine."""
    places = np.arange(np.prod(shape, dtype=int))
    return np.cos(start + 1.7 * places**1.1).reshape(shape).astype("float32")


def build(cases: Sequence[Case], *, reference: bool = False) -> Built:
    """The layers of `cases` side by side, all with the same weights on every backend.

    Args:
        cases: The layers.
        reference: Whether layers that draw are to keep their 16 bits, so that they draw alike.
    """
    entries: dict[tuple[Any, ...], tuple[Any, Any, np.ndarray]] = {}
    outputs = []
    for case in cases:
        fed = [_entry(entries, case, number) for number in range(len(case.shapes))]
        layer = case.make(case.name)
        if reference and case.draws:
            layer.dtype_policy = keras.DTypePolicy("mixed_float16")
        outputs.append(case.call(layer, fed))
    inputs = [entry[0] for entry in entries.values()]
    parts = [
        Weighed(name=f"weighed_{case.name}", dtype="float32")(output)
        for case, output in zip(cases, outputs, strict=True)
    ]
    model = keras.Model(inputs, Total(name="total", dtype="float32")(parts))
    model.compile(keras.optimizers.SGD(RATE), loss=_prediction, auto_scale_loss=False)
    _set_weights(model)
    batch = [entry[2] for entry in entries.values()]
    return Built(model, keras.Model(inputs, outputs), (batch, np.zeros((BATCH,), "float32")))


def _entry(entries: dict[tuple[Any, ...], Any], case: Case, number: int) -> Any:
    """What enters a layer: layers with inputs of one shape share it."""
    shape = case.shapes[number]
    key = (shape, number, case.classes)
    if key not in entries:
        name = f"{len(entries)}"
        dtype = "int32" if case.classes else "float32"
        entry = keras.Input(batch_shape=(BATCH, *shape), dtype=dtype, name=f"input_{name}")
        fed = entry if case.classes else Gain(name=f"before_{name}")(entry)
        entries[key] = entry, fed, _data(case, shape, number)
    return entries[key][1]


def _data(case: Case, shape: Sequence[int], number: int) -> np.ndarray:
    values = wave(BATCH, *shape, start=number + 0.5)
    return (np.abs(values) * case.classes).astype("int32") if case.classes else values


def _prediction(target: Any, predicted: Any) -> Any:
    return predicted + 0.0 * target


def _set_weights(model: keras.Model) -> None:
    """Gives every weight that is drawn at random values that are the same on every backend."""
    for number, weight in enumerate(model.weights):
        drawn = weight.trainable or weight.name == "vector_u"
        if drawn and weight.name != "gain":
            weight.assign(0.3 + 0.6 * wave(*weight.shape, start=float(number)))
