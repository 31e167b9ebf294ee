"""What `floatline.inspect` tells, against NumPy's counts and what really runs."""

from __future__ import annotations

import json
from typing import Any

import keras
import numpy as np
import pytest

import floatline
from floatline import Plan
from floatline.errors import InputError
from floatline.precision import specification
from floatline.precision.inspection import Dimension, Inspection, LayerInspection
from floatline.precision.tensor_cores import good_size, misfits
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
    value,
)

layers = keras.layers


def layer(found: Inspection, path: str) -> LayerInspection:
    (one,) = [one for one in found.layers if one.path == path]
    return one


def classifier(**options: Any) -> Any:
    inputs = keras.Input((6,), dtype="int32")
    x = layers.Embedding(11, 4, name="words", **options)(inputs)
    x = layers.GlobalAveragePooling1D(name="pool", **options)(x)
    x = layers.LayerNormalization(name="norm", **options)(x)
    x = layers.Dense(16, name="hidden", **options)(x)
    return keras.Model(inputs, layers.Dense(10, name="head", dtype="float32")(x))


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "float16"])
def test_weights_are_counted_as_numpy_counts_them(make: Any, policy: str) -> None:
    model = make()
    Plan.of(policy).apply(model)
    found = floatline.inspect(model)
    weights = [v for v in model.weights if "float" in str(v.dtype)]
    assert found.parameter_bytes == sum(value(v).nbytes for v in weights)
    assert sum(one.parameters for one in found.layers) == sum(value(v).size for v in weights)


def test_outputs_are_counted_as_numpy_counts_them() -> None:
    model, x = nested(), data(5)[0]
    Plan.of("mixed_float16").apply(model)
    found = floatline.inspect(model, batch_size=5)
    a = model.get_layer("inner").get_layer("a")
    first = keras.ops.convert_to_numpy(a(x))
    pooled = keras.ops.convert_to_numpy(model.get_layer("pool")(first))
    head = keras.ops.convert_to_numpy(model.get_layer("head")(pooled))
    counted = {one.path: one.activation_bytes for one in found.layers}
    assert counted == {"inner/a": first.nbytes, "pool": pooled.nbytes, "head": head.nbytes}
    assert found.activation_bytes == first.nbytes + pooled.nbytes + head.nbytes


def test_loops_are_counted_as_a_whole() -> None:
    model = sequential()
    found = floatline.inspect(model, batch_size=5)
    counted = {one.path: one.activation_bytes for one in found.layers if one.activation_bytes}
    assert counted == {
        "each": 5 * 6 * 3 * 4,
        "rnn": 5 * 2 * 4,
        "norm": 5 * 2 * 4,
        "head": 5 * 2 * 4,
    }


def test_what_a_policy_does_not_change_is_seen() -> None:
    """Keras runs the layer in `TimeDistributed` without its casts: the wrapper's policy counts."""
    for path, copies in (("each/inner", 0), ("each", 2)):
        model = sequential()
        Plan().with_rule("mixed_float16", path=path, reason="r").apply(model)
        inner = layer(floatline.inspect(model), "each/inner")
        assert (inner.compute_dtype, inner.weight_casts) == ("float16", copies)


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16", "float16"])
def test_the_figures_for_a_policy_are_those_of_a_model_that_has_it(policy: str) -> None:
    model = classifier()
    promised = {row.policy: row for row in floatline.inspect(model).policies}[policy]
    Plan.of(policy).apply(model)
    now = floatline.inspect(model)
    assert promised.parameter_bytes == now.parameter_bytes
    assert promised.copy_bytes == now.copy_bytes
    assert promised.activation_bytes == now.activation_bytes


def test_weights_do_not_become_float16() -> None:
    model = classifier(dtype="mixed_float16")
    found = floatline.inspect(model)
    hidden = layer(found, "hidden")
    assert (hidden.variable_dtype, hidden.compute_dtype) == ("float32", "float16")
    assert hidden.copy_bytes * 2 == hidden.parameter_bytes == (4 * 16 + 16) * 4
    assert {str(v.dtype) for v in model.weights} == {"float32"}


def test_dtypes_and_casts_as_they_really_are() -> None:
    found = floatline.inspect(classifier(dtype="mixed_float16"))
    words, norm, hidden, head = (layer(found, n) for n in ("words", "norm", "hidden", "head"))
    assert (words.input_dtypes, words.output_dtypes) == (("int32",), ("float16",))
    assert (hidden.input_casts, hidden.weight_casts) == (0, 2)
    assert (head.input_dtypes, head.output_dtypes) == (("float16",), ("float32",))
    assert (head.input_casts, head.weight_casts) == (1, 0)
    assert norm.weight_casts == 0
    assert found.casts == sum(one.input_casts + one.weight_casts for one in found.layers)


def test_why_something_stays_float32() -> None:
    found = floatline.inspect(classifier(dtype="mixed_float16"))
    assert layer(found, "head").keeps_float32 == "its policy is float32"
    assert "float32 inside" in str(layer(found, "norm").keeps_float32)
    assert "float32 table" in str(layer(found, "words").keeps_float32)
    assert layer(found, "hidden").keeps_float32 is None


def test_an_embedding_alone_under_a_mixed_policy_casts_its_whole_table() -> None:
    inner = classifier(dtype="mixed_float16")
    assert layer(floatline.inspect(inner), "words").weight_casts == 1  # The model is float32.
    Plan().with_rule("mixed_float16", path=inner.name, sublayers=False, reason="r").apply(inner)
    assert layer(floatline.inspect(inner), "words").weight_casts == 0


def test_dimensions_that_miss_the_tensor_cores() -> None:
    found = floatline.inspect(functional())
    assert layer(found, "head").misfits == (Dimension("inputs", 6, 8), Dimension("outputs", 2, 8))
    cell = layer(found, "both/forward_lstm/lstm_cell")
    assert cell.misfits == (Dimension("inputs", 4, 8), Dimension("units", 3, 8))


@pytest.mark.parametrize(
    ("made", "shape", "expected"),
    [
        (layers.Dense(16), (None, 8), ()),
        (layers.Dense(50257), (None, 8), (Dimension("outputs", 50257, 50264),)),
        (layers.Conv2D(12, 3), (None, 9, 9, 8), (Dimension("outputs", 12, 16),)),
        (
            layers.EinsumDense("abc,cde->abde", (None, 2, 3)),
            (None, 5, 7),
            (Dimension("inputs", 7, 8), Dimension("outputs", 6, 8)),
        ),
        (layers.BatchNormalization(), (None, 7), ()),
    ],
)
def test_sides_of_matrix_products(made: Any, shape: Any, expected: Any) -> None:
    made.build(shape)
    assert misfits(made) == expected


@pytest.mark.parametrize("size", range(1, 40))
def test_a_good_size_is_the_next_multiple(size: int) -> None:
    good = good_size(size)
    assert good % 8 == 0
    assert size <= good < size + 8


@pytest.mark.parametrize("make", KINDS)
def test_nothing_of_the_model_changes(make: Any) -> None:
    model = make()
    model.compile("adam", "mse")
    before = bits(model.variables), policies(model), sorted(vars(model))
    call, read = keras.Layer.__call__, keras.Variable._maybe_autocast
    floatline.inspect(model)
    assert (bits(model.variables), policies(model), sorted(vars(model))) == before
    assert (keras.Layer.__call__, keras.Variable._maybe_autocast) == (call, read)


def test_a_model_that_is_not_built_is_described_by_its_policies() -> None:
    model = Subclassed(dtype="mixed_float16", name="mine")
    found = floatline.inspect(model)
    assert specification.NOT_BUILT in found.notes
    assert layer(found, "mine").compute_dtype == "float16"
    assert layer(found, "main").output_dtypes == ()
    assert compute_dtypes(model) == {"float32"}
    assert not model.built


def test_a_subclassed_model_needs_its_inputs() -> None:
    model = Subclassed(name="mine")
    model(data()[0])
    found = floatline.inspect(model, data()[0], batch_size=3)
    assert layer(found, "main").output_dtypes == ("float32",)
    assert layer(found, "main").activation_bytes == 3 * 2 * 4


def test_open_dimensions_are_said() -> None:
    inputs = keras.Input((None, 4))
    model = keras.Model(inputs, layers.Dense(2, name="head")(inputs))
    found = floatline.inspect(model, batch_size=3)
    assert specification.OPEN in found.notes
    assert found.activation_bytes == 3 * 1 * 2 * 4
    assert any("batch size 3 misses" in note for note in found.notes)
    given = floatline.inspect(model, np.zeros((2, 7, 4), "float32"), batch_size=8)
    assert given.activation_bytes == 8 * 7 * 2 * 4


def test_the_loss_scaling_is_told_by_what_is_there() -> None:
    model = classifier(dtype="mixed_float16")
    model.compile("adam", "mse")
    assert (floatline.inspect(model).optimizer, floatline.inspect(model).loss_scaling) == (
        "Adam",
        None,
    )
    floatline.enable("mixed_float16", model)
    assert str(floatline.inspect(model).loss_scaling).startswith("floatline: CalibratedScale(")


def test_as_json_and_as_a_dataframe() -> None:
    pandas = pytest.importorskip("pandas")
    found = floatline.inspect(functional())
    document = json.loads(found.to_json())
    assert document["schema_version"] == 1
    assert document["parameter_bytes"] == found.parameter_bytes
    assert [one["path"] for one in document["layers"]] == [one.path for one in found.layers]
    frame = found.to_dataframe()
    assert isinstance(frame, pandas.DataFrame)
    assert int(frame["parameter_bytes"].sum()) == found.parameter_bytes


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("model",), "Pass a Keras 3 model"),
        ((None,), "Pass a Keras 3 model"),
    ],
)
def test_what_cannot_be_inspected(arguments: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        floatline.inspect(*arguments)


@pytest.mark.parametrize("size", [0, -1, 2.5, True, "8"])
def test_a_batch_size_is_a_positive_integer(size: Any) -> None:
    with pytest.raises(InputError, match="positive integer"):
        floatline.inspect(nested(), batch_size=size)
