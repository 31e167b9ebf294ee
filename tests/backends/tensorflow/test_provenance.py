"""Where an operation stands: in the user's text, in the library's, in the model, in the step."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import numpy as np
import pytest

from floatline.backends.tensorflow import TensorFlowBackend
from floatline.records import Phase, Site, SourceLine, Trace
from floatline.sources import is_users
from tests.contract.samples import policy

SOURCE = """
import keras
import tensorflow as tf


class Ratio(keras.layers.Layer):
    def build(self, shape):
        self.w = self.add_weight(shape=(shape[-1], 2), name="w")

    def call(self, x):
        h = tf.matmul(x, tf.cast(self.w, x.dtype))  # matmul
        h = helper(h)
        return h / tf.reduce_sum(h, axis=-1, keepdims=True)  # division


def helper(h):
    _, h = tf.while_loop(lambda k, _: k < 2, body, [0, h])
    h = tf.cond(tf.size(h) > 0, lambda: tf.exp(h), lambda: h)  # in a branch
    return own_gradient(h)


def body(k, h):
    return k + 1, tf.tanh(h) + 1.0  # in a loop


@tf.custom_gradient
def own_gradient(h):
    def gradient(upstream):
        return tf.sin(upstream)  # own gradient
    return tf.identity(h), gradient


class Model(keras.Model):
    def __init__(self):
        super().__init__(name="tower")
        self.block = keras.Sequential([
            keras.layers.Dense(3, name="inner"),
            Ratio(name="ratio"),
        ], name="block")
        self.shared = keras.layers.Dense(2, name="shared")

    def call(self, x):
        h = self.block(x)
        h = self.shared(self.shared(h))
        return tf.nn.softplus(h)  # raw in the model

    def train_step(self, data):
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            error = self(x, training=True) - tf.cast(y, tf.float16)
            loss = tf.reduce_mean(tf.square(error))  # loss
        gradients = tape.gradient(loss, self.trainable_variables)  # tape
        self.optimizer.apply(gradients, self.trainable_variables)  # update
        return {"loss": loss}
"""


def line(mark: str) -> int:
    (number,) = [n for n, text in enumerate(SOURCE.splitlines(), 1) if text.endswith(f"# {mark}")]
    return number


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """A module of the user's."""
    file = tmp_path_factory.mktemp("user") / "users_model.py"
    file.write_text(SOURCE)
    spec = importlib.util.spec_from_file_location("users_model", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["users_model"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["users_model"]


MADE = SourceLine("/home/ada/train.py", 7)
"""The line that made every built-in layer."""


@pytest.fixture(scope="module")
def traced(user: ModuleType) -> Trace:
    with policy("mixed_float16"):
        model = user.Model()
        model(np.ones((2, 3), "float32"))
        model.compile(keras.optimizers.SGD(0.1))
    step = TensorFlowBackend().keras_step(
        model, lambda layer: MADE if isinstance(layer, keras.layers.Dense) else None
    )
    batch = (np.ones((2, 3), "float32"), np.ones((2, 2), "float32"))
    step.prepare(batch)
    return step.trace(step.snapshot(), batch)


def at(traced: Trace, user: ModuleType, mark: str) -> list[Site]:
    """What comes from a line of the user's."""
    wanted = SourceLine(str(user.__file__), line(mark))
    return [site for site in traced.sites if site.place.source == wanted]


def operations(found: list[Site], phase: Phase) -> set[str]:
    return {s.place.operation for s in found if s.place.phase == phase and s.role == "value"}


@pytest.mark.parametrize(
    ("mark", "forward", "backward"),
    [
        ("matmul", {"Cast", "MatMul"}, {"MatMul"}),
        ("division", {"Sum", "RealDiv"}, {"RealDiv", "Mul", "Neg", "Sum"}),
        ("in a loop", {"Tanh", "AddV2"}, {"TanhGrad"}),
        ("in a branch", {"Exp"}, {"Mul"}),
        ("raw in the model", {"Softplus"}, {"Mul", "Sigmoid"}),
        ("loss", {"Square", "Mean"}, {"Mul"}),
    ],
)
def test_a_raw_operation_and_its_gradient_point_to_the_line_that_wrote_it(
    traced: Trace, user: ModuleType, mark: str, forward: set[str], backward: set[str]
) -> None:
    found = at(traced, user, mark)
    assert operations(found, "forward") == forward
    assert backward <= operations(found, "backward")


def test_the_gradient_that_the_user_wrote_has_a_line_of_its_own(
    traced: Trace, user: ModuleType
) -> None:
    (site,) = at(traced, user, "own gradient")
    assert (site.place.operation, site.place.phase) == ("Sin", "backward")
    assert site.place.layer == "block/ratio"


def test_a_users_operation_has_no_line_of_a_library_beside_it(
    traced: Trace, user: ModuleType
) -> None:
    for site in at(traced, user, "division"):
        if site.place.phase == "forward":
            assert site.place.library is None


def test_a_layer_of_the_library_points_to_the_line_that_made_it(traced: Trace) -> None:
    inner = [s for s in traced.sites if s.place.layer == "block/inner"]
    products = [s for s in inner if s.place.operation == "MatMul"]
    assert {s.place.phase for s in products} == {"forward", "backward"}
    for site in products:
        assert site.place.source == MADE
        assert site.place.layer_class == "Dense"
        assert site.place.library is not None
        assert site.place.library.file.endswith("keras/src/layers/core/dense.py")
        text = Path(site.place.library.file).read_text(encoding="utf-8").splitlines()
        assert "matmul" in text[site.place.library.line - 1]


def test_layer_paths_leave_out_the_model_but_for_its_own_operations(traced: Trace) -> None:
    layers = {site.place.layer for site in traced.sites if site.place.phase == "forward"}
    assert layers == {None, "tower", "block/inner", "block/ratio", "shared"}
    (softplus,) = [s for s in traced.sites if s.place.operation == "Softplus"]
    assert (softplus.place.layer, softplus.place.layer_class) == ("tower", "Model")


def test_the_loss_is_in_no_layer(traced: Trace, user: ModuleType) -> None:
    (loss,) = traced.losses
    place = traced.sites[loss].place
    assert (place.layer, place.layer_class, place.operation) == (None, None, "Mean")
    assert place.source == SourceLine(str(user.__file__), line("loss"))


def test_a_layer_that_is_called_twice_has_both_calls(traced: Trace) -> None:
    products = [
        s.place for s in traced.sites if s.place.layer == "shared" and s.place.operation == "MatMul"
    ]
    forward = [place.name for place in products if place.phase == "forward"]
    assert len(set(forward)) == 2
    assert len([place for place in products if place.phase == "backward"]) == 4


def test_the_sum_of_the_gradients_of_two_calls_is_the_layers(traced: Trace) -> None:
    sums = [s.place for s in traced.sites if s.place.operation == "AddN"]
    shared = [place for place in sums if place.layer == "shared"]
    assert {place.phase for place in shared} == {"backward"}
    assert len(shared) >= 2


def test_phases_follow_one_another(traced: Trace) -> None:
    phases = [s.place.phase for s in traced.sites if s.role == "value"]
    first = {phase: phases.index(phase) for phase in ("forward", "backward", "update")}
    assert first["forward"] < first["backward"] < first["update"]
    updated = [s for s in traced.sites if s.place.phase == "update" and s.variable]
    assert {s.variable for s in updated} >= {g.variable for g in traced.gradients}
    assert all(s.place.layer is None for s in updated)


def test_gradients_name_the_layer_of_their_variable(traced: Trace) -> None:
    found = {
        (gradient.variable.rpartition("/")[2], gradient.layer) for gradient in traced.gradients
    }
    assert found == {
        ("kernel", "block/inner"),
        ("bias", "block/inner"),
        ("w", "block/ratio"),
        ("kernel", "shared"),
        ("bias", "shared"),
    }


def test_no_line_is_floatlines_or_lies_outside_of_the_step(traced: Trace, user: ModuleType) -> None:
    files = {s.place.source.file for s in traced.sites if s.place.source is not None}
    assert files <= {str(user.__file__), MADE.file}
    libraries = {s.place.library.file for s in traced.sites if s.place.library is not None}
    assert not any("floatline" in Path(file).parts for file in libraries)
    assert not any(is_users(file) for file in libraries)


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("/home/ada/train.py", True),
        ("train.py", True),
        (keras.__file__, False),
        (np.__file__, False),
        (importlib.util.__file__, False),
        (str(Path(sys.modules["floatline"].__file__ or "") / "x.py"), False),
        ("<string>", False),
        ("<frozen importlib._bootstrap>", False),
        (__file__, True),
    ],
)
def test_which_files_are_the_users(file: str, expected: bool) -> None:
    assert is_users(file) is expected


def test_a_step_function_has_lines_too(user: ModuleType) -> None:
    import tensorflow as tf

    def step(x: Any) -> None:
        kept.assign(tf.reduce_sum(user.helper(x)))

    kept = tf.Variable(0.0)
    written = TensorFlowBackend().function_step(tf.function(step), lambda layer: None)
    batch = (np.ones(2, "float32"),)
    written.prepare(batch)
    found = at(written.trace(written.snapshot(), batch), user, "in a loop")
    assert operations(found, "forward") == {"Tanh", "AddV2"}
    assert {site.place.layer for site in found} == {None}
