"""Training steps as libraries of JAX's write them, each pattern without its library."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import floatline
from floatline.backends.interface import StepKind
from floatline.backends.jax.backend import JaxBackend
from floatline.backends.jax.discovery import find_steps
from floatline.records import Diagnosis
from tests.backends.jax.pure import HALF, rows, steps_made

# Code of a file whose name is in pointed brackets is nobody's; the user's is in this file.
LIBRARY = """
import functools, inspect, jax

class FilterJit:  # As Equinox: arrays in the order of a flat list, all else as a setting.
    def __init__(self, function):
        functools.update_wrapper(self, function)
        def run(arrays, settings):
            kept, structure = settings
            leaves = [a if k is None else k for a, k in zip(arrays, kept)]
            return function(*jax.tree.unflatten(structure, leaves))
        self.compiled = jax.jit(run, static_argnums=1)

    def __call__(self, *args):
        leaves, structure = jax.tree.flatten(args)
        data = [isinstance(leaf, jax.Array) for leaf in leaves]
        arrays = tuple(leaf if given else None for leaf, given in zip(leaves, data))
        kept = tuple(None if given else leaf for leaf, given in zip(leaves, data))
        return self.compiled(arrays, (kept, structure))

class Cell:  # As a variable of Flax NNX: written to in place, an object to all else.
    def __init__(self, value):
        self.value = value

class GraphJit:  # As Flax NNX: takes cells apart, compiles, and writes their new values back.
    def __init__(self, function):
        functools.update_wrapper(self, function)
        def run(*values):
            cells = [Cell(value) for value in values]
            returned = function(*cells)
            return [cell.value for cell in cells], returned
        self.compiled = jax.jit(run)

    def __call__(self, *cells):
        values, returned = self.compiled(*[cell.value for cell in cells])
        for cell, value in zip(cells, values):
            cell.value = value
        return returned

def imported():  # What a library compiles for itself while it is imported.
    return jax.jit(lambda w: jax.grad(lambda v: (v * v).sum())(w))
"""


@pytest.fixture
def library() -> SimpleNamespace:
    names: dict[str, Any] = {"__name__": "library"}
    exec(compile(LIBRARY, "<library>", "exec"), names)
    return SimpleNamespace(**names)


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Dense:
    """A module as Equinox has them: arrays, and a setting."""

    kernel: Any
    slope: float = dataclasses.field(metadata={"static": True})

    def __call__(self, x: Any) -> Any:
        return jnp.maximum(x @ self.kernel.astype(x.dtype), self.slope)


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Model:
    """Two modules, one of them in a list."""

    inner: list[Dense]
    outer: Dense


def model() -> Model:
    return Model([Dense(rows(3, 4), 0.0)], Dense(rows(4, 1), -100.0))


X = rows(8, 3)
Y = X.sum(1, keepdims=True)


def loss_of(module: Model, x: Any, y: Any) -> Any:
    hidden = module.inner[0](x.astype(HALF))
    return jnp.mean(jnp.square(module.outer(hidden).astype("float32") - y))


def sgd(module: Model, x: Any, y: Any) -> tuple[Model, Any]:
    differentiate = jax.value_and_grad(lambda weights: loss_of(weights, x, y))
    loss, gradients = differentiate(module)
    return jax.tree.map(lambda w, g: w - 0.01 * g, module, gradients), loss


class Handler:
    """Records the calls of steps with the backend, as a diagnosis does."""

    def __init__(self) -> None:
        self.step: Any = None
        self.calls: list[tuple[Any, ...]] = []
        self.losses: list[float | None] = []

    def __call__(
        self,
        function: Any,
        kind: Callable[[], StepKind],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> Any:
        if not kind():
            return function(*args, **kwargs)
        assert not kwargs
        if self.step is None:
            self.step = JaxBackend().function_step(function, lambda layer: None)
        self.calls.append(args)
        returned, outcome = self.step.run(args)
        self.losses.append(outcome.loss)
        return returned


@pytest.fixture
def handler() -> Iterator[Handler]:
    found = Handler()
    with find_steps(found):
        yield found


def test_what_a_library_compiles_is_called_by_the_users_names(
    library: Any, handler: Handler
) -> None:
    step = library.FilterJit(sgd)
    module, truth = model(), model()
    for _ in range(3):
        module, loss = step(module, X, Y)
        truth, expected = sgd(truth, X, Y)
        assert float(loss) == pytest.approx(float(expected), rel=1e-3)
    assert len(handler.calls) == len(handler.losses) == 3
    trace = handler.step.trace(handler.step.snapshot(), handler.calls[-1])
    assert [g.variable for g in trace.gradients] == [
        "module/inner/0/kernel",
        "module/outer/kernel",
    ]
    assert {s.variable for s in trace.sites if s.role == "parameter"} >= {"module/outer/kernel"}


def test_cells_that_are_written_in_place_go_on(library: Any, handler: Handler) -> None:
    def step(weight: Any, x: Any) -> Any:
        def loss_of_weight(w: Any) -> Any:
            return jnp.mean(jnp.square((x.value.astype(HALF) @ w.astype(HALF)).astype("float32")))

        loss, gradient = jax.value_and_grad(loss_of_weight)(weight.value)
        weight.value = weight.value - 0.01 * gradient
        return loss

    compiled = library.GraphJit(step)
    weight, x = library.Cell(rows(3, 1)), library.Cell(X)
    before = weight.value
    losses = [float(compiled(weight, x)) for _ in range(4)]
    assert losses == sorted(losses, reverse=True)
    assert not np.array_equal(before, weight.value)
    replay = handler.step.float32(handler.step.snapshot())
    repeated = [replay.advance(call).loss for call in handler.calls]
    assert repeated == pytest.approx(losses, rel=1e-2)
    assert repeated[-1] < repeated[0]


def test_what_a_library_compiles_for_itself_is_not_watched(library: Any, handler: Handler) -> None:
    # `exec` under the name of the import system stands for a library that is being imported.
    scope = {"library": library}
    exec(compile("made = library.imported()", "<frozen importlib._bootstrap>", "exec"), scope)
    scope["made"](jnp.ones(3))
    assert handler.calls == []
    library.imported()(jnp.ones(3))  # The user's own line has asked for this one.
    assert len(handler.calls) == 1


def diagnosed(step: Any, batches: Any, **options: Any) -> Diagnosis:
    return floatline.diagnose(step, batches, **options)


def test_a_step_that_writes_to_what_it_is_given_is_diagnosed_in_place() -> None:
    def step(weights: dict[str, Any], x: Any, y: Any) -> Any:
        def loss_of_weights(given: Any) -> Any:
            return jnp.mean(jnp.square((x @ given["w"].astype(HALF)).astype("float32") - y))

        loss, gradients = jax.value_and_grad(loss_of_weights)(dict(weights))
        weights["w"] = weights["w"] - 0.02 * gradients["w"]
        return loss

    weights = {"w": rows(3, 1)}
    before = np.asarray(weights["w"])
    diagnosis = diagnosed(step, [(weights, X.astype(HALF), Y)] * 6)
    losses = [record.loss or 0.0 for record in diagnosis.evidence.history.steps]
    np.testing.assert_array_equal(weights["w"], before)  # Nothing of the user's is changed.
    truth = {"w": weights["w"]}
    expected = [float(step(truth, X.astype(HALF), Y)) for _ in range(6)]
    assert losses == pytest.approx(expected, rel=1e-3)
    assert [g.variable for g in diagnosis.evidence.traces[-1].gradients] == ["weights/w"]
    last = diagnosis.evidence.traces[-1]
    shown = last.sites[last.losses[0]].statistics.computed_max_abs
    assert shown == pytest.approx(losses[-1], rel=1e-3)


def test_registered_classes_are_state_and_name_their_operations() -> None:
    trace = floatline.trace(jax.jit(sgd), model(), X, Y)
    products = {s.place.layer for s in trace.sites if s.place.operation == "dot_general"}
    assert products == {"module/inner/0", "module/outer"}
    updated = {s.variable for s in trace.sites if s.variable and s.role == "value"}
    assert updated >= {"module/inner/0/kernel", "module/outer/kernel"}
    assert {g.layer for g in trace.gradients} == products


def test_a_name_scope_of_the_librarys_stays_the_layer() -> None:
    def step(params: dict[str, Any], x: Any) -> Any:
        def loss_of_params(given: Any) -> Any:
            with jax.named_scope("Net"), jax.named_scope("Dense_0"):
                return jnp.mean(jnp.square(x @ given["Dense_0"]["kernel"].astype(HALF)))

        gradients = jax.grad(loss_of_params)(params)
        return jax.tree.map(lambda w, g: w - 0.1 * g, params, gradients)

    trace = floatline.trace(step, {"Dense_0": {"kernel": rows(3, 2)}}, X.astype(HALF))
    assert [g.layer for g in trace.gradients] == ["Net/Dense_0"]
    updates = [s.place for s in trace.sites if s.place.phase == "update" and s.role == "value"]
    assert {place.layer for place in updates} == {"Net/Dense_0"}


def test_what_jax_has_traced_before_is_traced_anew() -> None:
    @jax.jit  # type: ignore[untyped-decorator]
    def normalized(x: Any) -> Any:
        return x / (jnp.abs(x) + 1e-8)

    x = jnp.zeros(3, HALF)
    normalized(x)  # JAX remembers this one, with an epsilon that is 0.
    trace = floatline.trace(normalized, x)
    assert [s.constant for s in trace.sites if s.constant is not None] == [
        pytest.approx(1e-8, rel=1e-6)
    ]


def scaled_step(state: Any, x: Any) -> Any:
    """As with `flax.training.dynamic_scale` or `jmp`: steps that are not finite are left out."""
    weights, scale = state

    def loss_of_weights(given: Any) -> Any:
        value = jnp.mean(jnp.square((x.astype(HALF) @ given.astype(HALF)).astype("float32")))
        return value * scale

    loss, gradient = jax.value_and_grad(loss_of_weights)(weights)
    gradient = gradient.astype("float32") / scale
    finite = jnp.isfinite(gradient).all()
    weights = jnp.where(finite, weights - 0.01 * gradient, weights)
    return (weights, jnp.where(finite, scale, scale / 2)), loss / scale


def test_a_loss_scale_in_the_state_is_recognised() -> None:
    state = (rows(3, 1), jnp.float32(2.0**19))
    diagnosis = diagnosed(jax.jit(scaled_step), [X] * 12, state=state)
    steps = diagnosis.evidence.history.steps
    assert steps[0].loss_scale == 2.0**19
    assert [step.skipped for step in steps[:1]] == [True]
    assert steps[-1].loss_scale is not None
    assert steps[-1].loss_scale < 2.0**19
    assert not steps[-1].skipped
    assert diagnosis.evidence.configuration.loss_scaling
    assert diagnosis.verdict == "healthy"


def test_a_weight_of_the_loss_is_no_loss_scale() -> None:
    def step(state: Any, x: Any) -> Any:
        weights, importance = state
        loss, gradient = jax.value_and_grad(
            lambda given: importance * jnp.mean(jnp.square(x.astype(HALF) @ given.astype(HALF)))
        )(weights)
        return (weights - 0.01 * gradient, importance), loss

    diagnosis = diagnosed(jax.jit(step), [X] * 3, state=(rows(3, 1), jnp.float32(8.0)))
    assert [step.loss_scale for step in diagnosis.evidence.history.steps] == [None] * 3


def test_a_remembered_batch_holds_no_state_that_was_returned() -> None:
    step = JaxBackend().function_step(jax.jit(sgd), lambda layer: None)
    first = (model(), X, Y)
    state = step.snapshot()
    (module, loss), _ = step.run(first)
    batches = [step.remembered(first)]
    assert batches[0].nbytes == sum(leaf.nbytes for leaf in jax.tree.leaves(first))
    losses = [float(loss)]
    for _ in range(3):
        (module, loss), _ = step.run((module, X, Y))
        batches.append(step.remembered((module, X, Y)))
        losses.append(float(loss))
    assert batches[-1].nbytes == X.nbytes + Y.nbytes
    replay = step.float32(state)
    assert [replay.advance(b).loss for b in batches] == pytest.approx(losses, rel=1e-2)


def test_a_count_that_began_as_a_number_makes_one_step_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = steps_made(monkeypatch)

    def counting(state: dict[str, Any], x: Any) -> Any:
        gradient = jax.grad(lambda w: jnp.sum(w * x))(state["w"])
        return {"w": state["w"] - gradient / (state["step"] + 1), "step": state["step"] + 1}

    step = JaxBackend().function_step(jax.jit(counting), lambda layer: None)
    state: Any = {"w": jnp.ones(3), "step": 0}
    for _ in range(3):
        state, _ = step.run((state, jnp.ones(3)))
    assert int(state["step"]) == 3
    assert len(made) == 1


def test_what_is_passed_by_name_alone_is_named_so(handler: Handler) -> None:
    @functools.partial(jax.jit, static_argnames="rate")
    def step(w: Any, *, x: Any, rate: float) -> Any:
        if rate > 0:  # No array may stand here.
            return w - rate * jax.grad(lambda v: jnp.sum(jnp.square(x * v)))(w)
        return w

    after = step(jnp.ones(3), x=jnp.ones(3), rate=0.25)
    np.testing.assert_allclose(after, 0.5 * np.ones(3))
    trace = handler.step.trace(handler.step.snapshot(), handler.calls[0])
    assert [g.variable for g in trace.gradients] == ["w"]


def test_a_setting_may_be_a_number_with_a_point() -> None:
    @jax.jit  # type: ignore[untyped-decorator]
    def unset(w: Any) -> Any:
        return w

    def step(w: Any, rate: float) -> Any:
        return w - rate * jax.grad(lambda v: jnp.sum(v * v))(w) if rate > 0 else unset(w)

    compiled = jax.jit(step, static_argnums=1)
    returned, _ = JaxBackend().function_step(compiled, lambda layer: None).run((jnp.ones(2), 0.25))
    np.testing.assert_allclose(returned, 0.5 * np.ones(2))


def test_an_update_that_is_lost_is_seen_behind_a_choice() -> None:
    """`where(finite, after, before)` is no rounding; the addition before it is."""

    def step(state: Any, x: Any) -> Any:
        def loss_of_weights(weights: Any) -> Any:
            return jnp.mean(jnp.square((x * weights).astype("float32") - 0.4))

        loss, gradient = jax.value_and_grad(loss_of_weights)(state["w"])
        after = state["w"] - jnp.sign(gradient) * jnp.asarray(1e-4, HALF)
        return {"w": jnp.where(jnp.isfinite(loss), after, state["w"])}, loss

    state = {"w": jnp.full((3, 1), 0.5, HALF)}
    diagnosis = diagnosed(jax.jit(step), [jnp.ones((3, 1), HALF)] * 600, state=state)
    (found,) = [f for f in diagnosis.findings if f.rule == "FL304"]
    assert found.place is not None
    assert found.place.layer == "state"
    assert "'state/w' cannot move" in found.summary


def test_the_example_of_the_page_runs() -> None:
    page = (Path(__file__).parents[3] / "docs" / "jax.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python jax\n(.*?)```", page, re.DOTALL)
    exec(compile(example, "jax.md", "exec"), {"__name__": "example"})
