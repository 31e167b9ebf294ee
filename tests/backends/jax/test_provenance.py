"""Where an operation stands: the user's line, the library's, the layer, the phase."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import pytest
from keras import ops

from floatline.backends.jax.backend import JaxBackend
from floatline.records import SourceLine, Trace
from tests.contract.samples import noise, policy

HERE = Path(__file__)
X = noise(8, 6)
Y = X[:, :1]


class Squares(keras.layers.Layer):  # type: ignore[misc]
    def call(self, x: Any) -> Any:
        x = ops.square(x)  # the square
        return x / ops.sum(x, axis=-1, keepdims=True)  # the division


class Block(keras.layers.Layer):  # type: ignore[misc]
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.inner = keras.layers.Dense(4, name="inner")

    def call(self, x: Any) -> Any:
        return self.inner(x)


MADE = SourceLine("train.py", 7)


@pytest.fixture(scope="module")
def trace() -> Trace:
    with policy("mixed_float16"):
        inputs = keras.Input((6,))
        hidden = Squares(name="squares")(keras.layers.Dense(6, name="in")(inputs))
        hidden = Block(name="block")(hidden)
        model = keras.Model(inputs, keras.layers.Dense(1, name="out")(hidden))
        model.compile("adam", "mse")
    step = JaxBackend().keras_step(model, lambda layer: MADE if layer.name == "out" else None)
    step.prepare((X, Y))
    return step.trace(step.snapshot(), (X, Y))


def line_of(text: str) -> int:
    lines = HERE.read_text().splitlines()
    return next(n for n, line in enumerate(lines, 1) if line.endswith(f"# {text}"))


def lines(trace: Trace, layer: str, operation: str, phase: str) -> set[tuple[str, int]]:
    places = [
        site.place
        for site in trace.sites
        if (site.place.layer, site.place.operation, site.place.phase) == (layer, operation, phase)
    ]
    return {(Path(p.source.file).name, p.source.line) for p in places if p.source is not None}


@pytest.mark.parametrize("phase", ["forward", "backward"])
def test_a_raw_operation_has_its_own_line(trace: Trace, phase: str) -> None:
    assert lines(trace, "squares", "div", phase) == {(HERE.name, line_of("the division"))}


def test_the_gradient_of_a_square_has_the_line_of_the_square(trace: Trace) -> None:
    assert (HERE.name, line_of("the square")) in lines(trace, "squares", "mul", "backward")


def test_a_built_in_layer_is_shown_where_it_was_made(trace: Trace) -> None:
    assert lines(trace, "out", "dot_general", "forward") == {(MADE.file, MADE.line)}
    assert lines(trace, "out", "dot_general", "backward") == {(MADE.file, MADE.line)}


def test_a_layer_inside_another_has_a_path(trace: Trace) -> None:
    inner = [s.place for s in trace.sites if s.place.layer == "block/inner" and s.role == "value"]
    assert {"forward", "backward"} <= {place.phase for place in inner}
    assert {place.layer_class for place in inner} == {"Dense"}


def test_the_library_has_a_line_of_its_own(trace: Trace) -> None:
    places = [s.place for s in trace.sites if s.place.layer == "out" and s.role == "value"]
    files = {Path(p.library.file).as_posix() for p in places if p.library is not None}
    assert any(file.endswith("keras/src/layers/core/dense.py") for file in files)


def test_the_optimizer_is_the_update(trace: Trace) -> None:
    updates = [s for s in trace.sites if s.place.phase == "update" and s.variable]
    weights = {s.variable for s in updates if "kernel" in str(s.variable)}
    assert any(str(path).endswith("out/kernel") for path in weights)
    parameters = [s.place for s in trace.sites if str(s.variable).endswith("out/kernel")]
    assert parameters[0].layer == "out"
    assert parameters[0].source == MADE


def test_names_are_unique(trace: Trace) -> None:
    names = [site.place.name for site in trace.sites]
    assert len(names) == len(set(names))
