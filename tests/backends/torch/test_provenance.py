"""Every operation stands in its layer, its phase and the line that the user wrote."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import keras
import pytest
import torch
from keras import layers, ops
from torch import nn

from floatline.backends.torch import TorchBackend
from floatline.findings.elsewhere import lost_elsewhere
from floatline.records import Site, SourceLine, Trace, Widened
from tests.backends.torch.models import ROWS, SEQUENCES, TARGETS, Square
from tests.backends.torch.traced import trace_of
from tests.contract.samples import policy


def line_with(function: Callable[..., Any], text: str) -> SourceLine:
    """The line of a function that contains the text."""
    lines, first = inspect.getsourcelines(inspect.unwrap(function))
    number = next(n for n, line in enumerate(lines) if text in line)
    file = inspect.getsourcefile(function)
    assert file is not None
    return SourceLine(file, first + number)


def of(trace: Trace, operation: str, phase: str = "forward") -> Site:
    """The first site of an operation in a phase."""
    return next(s for s in trace.sites if s.place.operation == operation and s.place.phase == phase)


class Scaled(layers.Layer):  # type: ignore[misc]  # Keras is not type-checked here
    def call(self, inputs: Any) -> Any:
        return ops.exp(inputs) * 0.5


def keras_trace(layer_source: Callable[[Any], Any] = lambda layer: None) -> Trace:
    with policy("mixed_float16"):
        inner = keras.Sequential([keras.Input((4,)), Scaled(name="scaled")], name="inner")
        model = keras.Sequential([keras.Input((6,)), layers.Dense(4), inner, layers.Dense(2)])
        model.compile("adam", "mse", auto_scale_loss=False)
    step = TorchBackend().keras_step(model, layer_source)
    return step.trace(step.snapshot(), (ROWS, TARGETS))


def test_keras_layers_have_paths_below_the_model() -> None:
    trace = keras_trace()
    exponential = of(trace, "exp").place
    assert (exponential.layer, exponential.layer_class) == ("inner/scaled", "Scaled")
    assert exponential.source == line_with(Scaled.call, "ops.exp")
    assert [g.layer for g in trace.gradients] == ["dense", "dense", "dense_1", "dense_1"]
    assert of(trace, "mean").place.layer is None


def test_what_a_library_wrote_has_the_line_that_made_its_layer() -> None:
    made = SourceLine("train.py", 3)
    trace = keras_trace(lambda layer: made if isinstance(layer, layers.Dense) else None)
    product = of(trace, "mm").place
    assert product.source == made
    assert product.library is not None
    assert product.library.file.endswith("dense.py")


def test_a_gradient_has_the_place_of_what_it_differentiates() -> None:
    trace = keras_trace()
    backward = [
        s.place for s in trace.sites if s.place.phase == "backward" and s.place.operation == "mul"
    ]
    scaled = [place for place in backward if place.layer == "inner/scaled"]
    assert scaled
    assert {place.source for place in scaled} == {line_with(Scaled.call, "ops.exp")}


def test_optimizers_update() -> None:
    trace = keras_trace()
    phases = [site.place.phase for site in trace.sites]
    assert {"forward", "backward", "update"} == set(phases)
    updated = [s.variable for s in trace.sites if s.place.phase == "update" and s.variable]
    assert "sequential/dense/kernel" in updated


class Net(nn.Module):  # type: ignore[misc]  # PyTorch is not type-checked here
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.ModuleList([nn.Linear(6, 4), nn.Linear(4, 2)])

    def forward(self, inputs: Any) -> Any:
        hidden = self.body[0](inputs)
        return self.body[1](hidden.relu())


def test_modules_have_the_names_that_their_parameters_have() -> None:
    net = Net()
    updates = torch.optim.SGD(net.parameters(), 0.1)

    def step(inputs: Any, targets: Any) -> None:
        updates.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = (net(inputs) - targets).square().mean()
        loss.backward()
        updates.step()

    trace = trace_of(step, (ROWS, TARGETS))
    products = [s.place for s in trace.sites if s.place.operation == "addmm"]
    assert [(p.layer, p.layer_class) for p in products] == [
        ("body.0", "Linear"),
        ("body.1", "Linear"),
    ]
    assert products[0].source == line_with(Net.forward, "self.body[0]")
    assert products[0].library is not None
    assert products[0].library.file.endswith("linear.py")
    assert of(trace, "relu").place.layer == "Net"
    assert of(trace, "relu").place.source == line_with(Net.forward, ".relu()")
    assert of(trace, "square").place.source == line_with(step, ".square()")
    assert [g.variable for g in trace.gradients] == [
        "body.0.weight", "body.0.bias", "body.1.weight", "body.1.bias",
    ]  # fmt: skip
    assert [g.layer for g in trace.gradients] == ["body.0", "body.0", "body.1", "body.1"]
    backward = of(trace, "threshold_backward", "backward").place
    assert backward.source == line_with(Net.forward, ".relu()")


def test_two_models_keep_their_names() -> None:
    first, second = nn.Linear(6, 2), nn.Linear(6, 2)

    def step(inputs: Any, targets: Any) -> None:
        (first(inputs.half().float()) - second(inputs) - targets).sum().backward()

    trace = trace_of(step, (ROWS, TARGETS))
    assert [g.layer for g in trace.gradients] == ["second", "second", "first", "first"]
    products = [s.place.layer for s in trace.sites if s.place.operation == "addmm"]
    assert products == ["first", "second"]


def test_a_gradient_that_the_user_wrote_has_its_own_line() -> None:
    weight = torch.ones(6, requires_grad=True)

    def step(inputs: Any) -> None:
        Square.apply(inputs.half() * weight.half()).float().sum().backward()

    trace = trace_of(step, ROWS)
    forward = [s for s in trace.sites if s.place.source == line_with(Square.forward, "values * v")]
    assert [s.place.phase for s in forward] == ["forward"]
    backward = [
        s for s in trace.sites if s.place.source == line_with(Square.backward, "upstream *")
    ]
    assert [s.place.phase for s in backward] == ["backward"] * 2


def test_an_update_by_hand_is_an_update() -> None:
    weight = torch.ones(6, requires_grad=True)

    def step(inputs: Any) -> None:
        (gradient,) = torch.autograd.grad((inputs.half() * weight.half()).float().sum(), [weight])
        with torch.no_grad():
            weight.sub_(0.1 * gradient)

    trace = trace_of(step, ROWS)
    last = trace.sites[-1]
    assert (last.place.phase, last.place.operation, last.variable) == ("update", "sub_", "weight")
    assert trace.gradients[0].variable == "weight"


def test_a_literal_is_a_site_with_its_unrounded_value() -> None:
    def step(inputs: Any) -> Any:
        epsilon = torch.tensor(1e-9, dtype=torch.float16)
        return (inputs.half() + 1e-8) / epsilon * 1e6

    trace = trace_of(step, ROWS)
    literals = {s.constant: s for s in trace.sites if s.role == "constant"}
    assert set(literals) == {1e-8, 1e-9, 1e6}
    assert literals[1e-8].statistics.flushed == 1
    assert literals[1e-9].statistics.flushed == 1
    # A factor is not rounded to the format of what it multiplies.
    assert literals[1e6].statistics.saturated == 0
    assert literals[1e-8].index in of(trace, "add").inputs


def test_lists_of_tensors_are_fed_element_by_element() -> None:
    def step(inputs: Any) -> None:
        half = inputs.half()
        torch._foreach_add([half * 2, half * 3], [half * 5, half * 7])

    trace = trace_of(step, ROWS)
    products = [s.index for s in trace.sites if s.place.operation == "mul"]
    sums = [s.inputs for s in trace.sites if s.place.operation == "_foreach_add"]
    assert sums == [(products[0], products[2]), (products[1], products[3])]


def test_what_keras_computes_in_float32_on_a_cpu_is_named_and_noted() -> None:
    trace = keras_trace()
    (note,) = trace.notes
    assert "matmul" in note
    assert "on a GPU they run in 16 bits" in note
    low = next(s for s in trace.sites if s.place.operation == "mm" and s.dtype == "float16")
    wide = next(s for s in trace.sites if s.place.operation == "mm" and s.dtype == "float32")
    assert low.inputs == wide.inputs


def test_what_only_a_cpu_holds_in_float32_is_told_apart() -> None:
    """The gradient of an arctangent squares its arguments: on a GPU in float16."""

    def step(inputs: Any) -> None:
        half = inputs.half().requires_grad_()
        ops.sum(ops.arctan2(half * 300, half)).backward()

    trace = trace_of(step, ROWS)
    assert trace.widened == (Widened("arctan2", "float16", 3),)
    held = [site for site in trace.sites if site.dtype_elsewhere == "float16"]
    assert {(site.dtype, site.place.phase) for site in held} == {("float32", "backward")}
    half = ROWS.half()
    squares = (half * 300).float() ** 2
    assert max(site.statistics.max_abs for site in held) == pytest.approx(
        float((squares + half.float() ** 2).max()), rel=2e-3
    )
    assert not bool(torch.isfinite((half * 300) ** 2).all())
    (first, *_) = lost_elsewhere(trace)
    assert first.overflows


def test_what_the_user_computes_in_float32_is_no_ones_fault() -> None:
    def step(inputs: Any) -> Any:
        return inputs.half().float().softmax(-1).half()

    trace = trace_of(step, SEQUENCES)
    assert (trace.notes, trace.widened) == ((), ())
    assert trace.sites[-1].place.operation == "_to_copy"
