"""What `floatline.inspect` tells of real models without a run, beside what a run then shows."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

import floatline
from floatline.findings.configured.note import ConfigurationNote
from tests.precision.models import KINDS

BACKEND = keras.backend.backend()
MIXED = "mixed_float16"


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():  # Casts of what the format does not hold speak for themselves.
        warnings.filterwarnings("ignore", "overflow encountered in cast", RuntimeWarning)
        yield


def notes(model: Any, *rules: str) -> list[ConfigurationNote]:
    found = floatline.inspect(model).configuration
    return [note for note in found if not rules or note.rule in rules]


def array(tensor: Any) -> Any:
    return ops.convert_to_numpy(ops.cast(tensor, "float32"))


class Standardized(layers.Layer):  # type: ignore[misc]  # (Keras carries no types)
    """Rows of unit variance."""

    def __init__(self, eps: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.eps = eps

    def call(self, t: Any) -> Any:
        mean = ops.mean(t, axis=-1, keepdims=True)
        variance = ops.mean(ops.square(t - mean), axis=-1, keepdims=True)
        return (t - mean) / ops.sqrt(variance + self.eps)


class Masked(layers.Layer):  # type: ignore[misc]
    """Adds a constant where a mask is 0."""

    def call(self, inputs: Any) -> Any:
        scores, mask = inputs
        return scores + (1 - mask) * ops.cast(-1e9, scores.dtype)


def around(layer: Any, **options: Any) -> Any:
    inputs = keras.Input((8,))
    return keras.Model(inputs, layers.Dense(1, dtype="float32", **options)(layer(inputs)))


def test_an_epsilon_of_a_layer_of_the_users() -> None:
    layer = Standardized(1e-8, name="norm", dtype=MIXED)
    (note,) = notes(around(layer))
    assert (note.rule, note.grade, note.layer) == ("FL203", "wrong", "norm")
    assert note.source is not None
    assert note.source.file == __file__
    assert np.isnan(array(layer(np.ones((2, 8), "float32")))).all()
    assert notes(around(Standardized(1e-3, dtype=MIXED))) == []
    assert notes(around(Standardized(1e-8, dtype="float32"))) == []
    assert notes(around(Standardized(1e-8, dtype="mixed_bfloat16"))) == []


def test_a_mask_of_a_layer_of_the_users() -> None:
    layer = Masked(name="masked", dtype=MIXED)
    scores, mask = keras.Input((4,)), keras.Input((4,))
    (note,) = notes(keras.Model([scores, mask], layer([scores, mask])))
    assert (note.rule, note.grade) == ("FL104", "wrong")
    x = np.ones((1, 4), "float32")
    assert np.isnan(array(layer([x, x]))).all()


def test_a_number_between_layers() -> None:
    inputs = keras.Input((8,))
    x = layers.Dense(4, dtype=MIXED)(inputs)
    model = keras.Model(inputs, x / (ops.sum(x, axis=-1, keepdims=True) + 1e-9))
    (note,) = notes(model)
    assert (note.rule, note.grade) == ("FL203", "wrong")
    assert np.isnan(array(model(np.zeros((1, 8), "float32")))).all()


@pytest.mark.parametrize(
    ("layer", "rule"),
    [
        (layers.Rescaling(1e-10, dtype=MIXED), "FL204"),
        (layers.Rescaling(1e6, dtype=MIXED), "FL105"),
        (layers.Rescaling(1.0, offset=-1e6, dtype=MIXED), "FL105"),
        (layers.Normalization(mean=3e5, variance=1e8, dtype=MIXED), "FL105"),
    ],
)
def test_a_layer_of_keras_whose_numbers_do_not_fit(layer: Any, rule: str) -> None:
    (note,) = notes(around(layer))
    assert (note.rule, note.grade) == (rule, "wrong")
    x = np.full((2, 8), 3e5 if rule == "FL105" else 1.0, "float32")
    out = array(layer(x))
    assert not np.isfinite(out).any() or not out.any()


def test_statistics_that_were_adapted() -> None:
    x = 20000 + np.random.default_rng(0).normal(size=(256, 8)).astype("float32")
    layer = layers.Normalization(dtype=MIXED)
    layer.adapt(x)
    (note,) = notes(around(layer))
    assert (note.rule, note.grade) == ("FL105", "risk")
    wide = layers.Normalization(dtype=MIXED)
    wide.adapt(x - 20000)
    assert notes(around(wide)) == []


def test_a_mask_value_that_the_format_does_not_hold() -> None:
    inputs = keras.Input((3, 1))
    model = keras.Model(inputs, layers.Masking(-9999.0, dtype=MIXED)(inputs))
    (note,) = notes(model)
    assert note.rule == "FL303"
    masked = array(model(np.array([[[-9999.0], [-10000.0], [1.0]]], "float32"))).ravel()
    if BACKEND == "tensorflow":
        assert note.grade == "wrong"
        assert masked[0] == -10000  # It is not masked at all.
    else:
        assert note.grade == "risk"
        assert list(masked) == [0, 0, 1]  # So is its neighbour.


def test_rows_of_zeros_in_a_unit_normalization() -> None:
    layer = layers.UnitNormalization(dtype=MIXED)
    (note,) = notes(around(layer))
    assert (note.rule, note.grade) == ("FL203", "risk")
    assert np.isnan(array(layer(np.zeros((1, 8), "float32")))).all()


class Table(keras.Model):  # type: ignore[misc]
    """Looks float ids up after the model has cast them."""

    def __init__(self, rows: int) -> None:
        super().__init__(dtype=MIXED)
        self.rows = layers.Embedding(rows, 2, name="rows")

    def call(self, ids: Any) -> Any:
        return self.rows(ids)


@pytest.mark.parametrize(("rows", "found"), [(5000, True), (2000, False)])
def test_float_ids_that_a_model_has_cast(rows: int, *, found: bool) -> None:
    model = Table(rows)
    model(np.zeros((2, 3), "float32"))
    ids = floatline.inspect(model, np.zeros((2, 3), "float32")).configuration
    assert [note.rule for note in ids if note.rule == "FL303"] == (["FL303"] if found else [])
    if found:
        same = array(model(np.array([[2048.0, 2049.0]], "float32")))[0]
        assert (same[0] == same[1]).all()


def test_ids_that_are_read_as_they_come_are_clear() -> None:
    inputs = keras.Input((3,), dtype="float32")
    model = keras.Model(inputs, layers.Embedding(5000, 2, dtype=MIXED)(inputs))
    assert notes(model) == []


@pytest.mark.parametrize(
    ("optimizer", "dtype", "rule"),
    [
        (keras.optimizers.Adam(1e-2, epsilon=1e-8), "float16", "FL206"),
        (keras.optimizers.RMSprop(1e-2, epsilon=1e-8), "float16", "FL206"),
        (keras.optimizers.Adam(1e-2), "bfloat16", "FL305"),
        (keras.optimizers.Adam(1e-2, beta_2=0.9999), "float16", "FL305"),
        (keras.optimizers.AdamW(1e-2), "bfloat16", "FL305"),
    ],
)
def test_an_optimizer_over_weights_in_half_precision(optimizer: Any, dtype: str, rule: str) -> None:
    model = keras.Sequential([keras.Input((2,)), layers.Dense(1, use_bias=False, dtype=dtype)])
    model.compile(optimizer, "mse")
    (note,) = [note for note in notes(model) if note.grade == "wrong"]
    assert note.rule == rule
    (kernel,) = model.trainable_variables
    before = array(kernel.value)
    gradient = ops.cast(np.array([[1.0], [0.0]]), dtype)
    optimizer.build([kernel])
    for _ in range(2):
        optimizer.apply([gradient], [kernel])
    after = array(kernel.value)
    assert np.isnan(after).any() if rule == "FL206" else (after == before).all()


@pytest.mark.parametrize("name", ["Adam", "AdamW", "SGD", "RMSprop", "Nadam", "Adamax", "Lion"])
def test_optimizers_by_default_are_not_wrong(name: str) -> None:
    for dtype in ("float16", MIXED):
        model = keras.Sequential([keras.Input((2,)), layers.Dense(1, dtype=dtype)])
        model.compile(getattr(keras.optimizers, name)(), "mse")
        assert [note for note in notes(model) if note.grade == "wrong"] == []


def test_half_precision_without_loss_scaling() -> None:
    inputs = keras.Input((8,))
    model = keras.Model(inputs, layers.Dense(1, name="head", dtype=MIXED)(inputs))
    model.compile("sgd", "mse")
    (note,) = notes(model)
    assert (note.rule, note.grade, note.layer) == ("FL201", "risk", "head")
    model.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD()), "mse")
    assert notes(model) == []


def test_a_policy_map_gets_no_loss_scaling_from_keras() -> None:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(keras.dtype_policies.DTypePolicyMap(default_policy=MIXED))
    try:
        model = keras.Sequential([keras.Input((8,)), layers.Dense(1)])
        model.compile("sgd", "mse")
        (note,) = notes(model, "FL201")
    finally:
        keras.config.set_dtype_policy(before)
    assert "this is map_mixed_float16" in note.setting


@pytest.mark.parametrize(
    ("loss", "activation", "rules"),
    [
        ("sparse_categorical_crossentropy", "softmax", ["FL205"]),
        (keras.losses.SparseCategoricalCrossentropy(), "softmax", ["FL205"]),
        (keras.losses.SparseCategoricalCrossentropy(from_logits=True), None, []),
        (keras.losses.BinaryCrossentropy(), "sigmoid", ["FL205"]),
        (keras.losses.MeanSquaredError(), "sigmoid", []),
        (keras.losses.MeanSquaredError(dtype="float16"), None, ["FL205"]),
    ],
)
def test_outputs_and_losses_in_half_precision(loss: Any, activation: Any, rules: list[str]) -> None:
    for dtype, expected in ((MIXED, rules), ("float32", [])):
        head = layers.Dense(3, activation=activation, dtype=dtype)
        model = keras.Sequential([keras.Input((8,)), head])
        model.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD()), loss)
        own_dtype = rules if getattr(loss, "dtype", "float32") == "float16" else expected
        assert [note.rule for note in notes(model, "FL205")] == own_dtype


def test_keras_computes_a_compiled_loss_in_float32() -> None:
    """Why an output in half precision is a risk only where a logarithm follows."""
    y_pred = ops.cast(np.array([[300.0]]), "float16")
    loss = keras.losses.MeanSquaredError()(np.array([[0.0]]), y_pred)
    assert keras.backend.standardize_dtype(loss.dtype) == "float32"
    assert float(loss) == 90000
    half = keras.losses.MeanSquaredError(dtype="float16")(np.array([[0.0]]), y_pred)
    assert not np.isfinite(float(ops.cast(half, "float32")))


class OwnLoss(keras.Model):  # type: ignore[misc]
    """A loss of its own, of what the model returns."""

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, **_rest: Any) -> Any:
        p = ops.clip(y_pred, 1e-7, 1 - 1e-7)
        return -ops.mean(ops.log(p) + ops.log(1 - p + 1e-9))


def test_a_loss_that_a_model_computes_itself() -> None:
    inputs = keras.Input((8,))
    model = OwnLoss(inputs, layers.Dense(1, activation="sigmoid", dtype=MIXED)(inputs))
    assert [(note.rule, note.grade) for note in notes(model)] == [
        ("FL203", "wrong"),
        ("FL305", "risk"),
    ]
    wide = OwnLoss(inputs, layers.Dense(1, activation="sigmoid", dtype="float32")(inputs))
    assert notes(wide) == []


class Labelled(keras.Model):  # type: ignore[misc]
    """Brings labels to the dtype of the predictions first."""

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, **_rest: Any) -> Any:
        labels = ops.cast(ops.cast(y, y_pred.dtype)[:, 0], "int32")
        return ops.mean(keras.losses.sparse_categorical_crossentropy(labels, y_pred))


@pytest.mark.parametrize(("classes", "rules"), [(4096, ["FL303"]), (1000, [])])
def test_labels_that_a_loss_casts(classes: int, rules: list[str]) -> None:
    inputs = keras.Input((8,))
    found = notes(Labelled(inputs, layers.Dense(classes, dtype=MIXED)(inputs)))
    assert [note.rule for note in found] == rules
    assert [note.grade for note in found] == ["risk" for _ in rules]


def test_an_island_in_float32() -> None:
    def model(dtype: str, last: str = MIXED) -> Any:
        inputs = keras.Input((8,))
        x = layers.Dense(8, dtype=MIXED)(inputs)
        x = layers.ReLU(name="relu", dtype=dtype)(x)
        return keras.Model(inputs, layers.Dense(8, dtype=last)(x))

    (note,) = notes(model("float32"))
    assert (note.rule, note.grade, note.layer) == ("FL701", "advice", "relu")
    assert notes(model(MIXED)) == []
    assert notes(model("float32", "float32")) == []


def test_a_large_product_with_an_odd_side() -> None:
    inputs = keras.Input((256, 64))
    model = keras.Model(inputs, layers.Dense(4099, dtype=MIXED)(inputs))
    (note,) = notes(model)
    assert (note.rule, note.grade) == ("FL701", "advice")
    assert "4099 up to 4104" in note.change


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("policy", [MIXED, "mixed_bfloat16", "float16"])
def test_ordinary_models_are_not_wrong(make: Any, policy: str) -> None:
    model = make()
    floatline.Plan.of(policy).apply(model)
    assert [note for note in notes(model) if note.grade == "wrong"] == []


def test_a_model_that_is_not_built_is_not_certain() -> None:
    class Unbuilt(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.norm = Standardized(1e-8, dtype=MIXED)

        def call(self, t: Any) -> Any:
            return self.norm(t)

    (note,) = notes(Unbuilt())
    assert note.grade == "risk"


def test_as_plain_values_and_as_dataframes() -> None:
    pytest.importorskip("pandas")
    found = floatline.inspect(around(Standardized(1e-8, name="norm", dtype=MIXED)))
    (note,) = json.loads(found.to_json())["configuration"]
    assert (note["rule"], note["cause"], note["grade"]) == ("FL203", "epsilon-underflow", "wrong")
    assert note["source"]["file"] == __file__
    frame = found.to_dataframe()
    assert list(frame[frame["path"] == "norm"]["notes"]) == ["wrong FL203"]
    assert list(found.notes_to_dataframe()["rule"]) == ["FL203"]
    assert "FL203 epsilon-underflow" in found._repr_html_()
    empty = floatline.inspect(around(Standardized(1e-3, dtype=MIXED))).notes_to_dataframe()
    assert list(empty.columns)[:3] == ["rule", "cause", "grade"]
