"""Steps that stand in a loop and that nobody compiles: watched as they are, or not at all."""

from __future__ import annotations

import contextlib
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from floatline.backends.jax.backend import JaxBackend
from floatline.backends.jax.jaxprs import compiles_gradients
from floatline.backends.jax.purity import ImpureError, leaves_objects_alone, same_program
from floatline.capture.capture import Budget, Capture
from floatline.capture.script import capture_script
from floatline.errors import FloatlineError, ScriptError, TraceError
from floatline.progress import silent
from floatline.tracing.agreement import compare
from tests.backends.jax.pure import rows
from tests.examples.test_diagnoses import diagnosed, line_of

HEAD = """
import jax
import jax.numpy as jnp
import numpy as np

random = np.random.default_rng(0)
X = random.normal(size=(64, 8)).astype("float32")
Y = X.sum(axis=1, keepdims=True)
told = []

def loss_of(w, x, y):
    half = x.astype("float16") @ w["w"].astype("float16")
    return jnp.mean(jnp.square(half.astype("float32") - y + w["b"])) SCALE

def start():
    return {"w": jnp.zeros((8, 1)), "b": jnp.zeros(1)}

def batches():
    for epoch in range(3):
        for i in range(0, 64, 16):
            yield X[i : i + 16], Y[i : i + 16]
"""
PROGRAMS = {
    "in the module": """
        w = start()
        for x, y in batches():
            loss, g = jax.value_and_grad(loss_of)(w, x, y)
            told.append(float(loss))
            w = jax.tree.map(lambda a, b: a - 0.1 * b, w, g)
    """,
    "with compiled gradients and a count": """
        gradients = jax.jit(jax.value_and_grad(loss_of))
        w, n = start(), 0
        for x, y in batches():
            loss, g = gradients(w, x, y)
            n += 1
            w = {name: w[name] - 0.1 / n * g[name] for name in w}
            told.append(float(loss))
    """,
    "in containers": """
        w = start()
        for x, y in batches():
            def here(v):
                return loss_of(v, x, y)
            loss, g = jax.value_and_grad(here)(w)
            for name in w:
                w[name] -= 0.1 * g[name]
            told.append(float(loss))
    """,
    "in a method": """
        class Trainer:
            def __init__(self): self.w, self.rate, self.n = start(), 0.1, 0
            def train(self, x, y):
                loss, g = jax.value_and_grad(loss_of)(self.w, x, y)
                self.w = jax.tree.map(lambda a, b: a - self.rate * b, self.w, g)
                self.n += 1
                return float(loss)
        trainer = Trainer()
        for x, y in batches():
            told.append(trainer.train(x, y))
    """,
    "in a function of its own": """
        def update(w, x, y):
            loss, g = jax.value_and_grad(loss_of)(w, x, y)
            return jax.tree.map(lambda a, b: a - 0.1 * b, w, g), loss
        w = start()
        for x, y in batches():
            w, loss = update(w, x, y)
            told.append(float(loss))
    """,
    "with a dropout of its own key": """
        def dropped(w, x, y, key):
            return loss_of(w, x * jax.random.bernoulli(key, 0.8, x.shape), y)
        w, key = start(), jax.random.key(0)
        for x, y in batches():
            key, sub = jax.random.split(key)
            loss, g = jax.value_and_grad(dropped)(w, x, y, sub)
            w = jax.tree.map(lambda a, b: a - 0.1 * b, w, g)
            told.append(float(loss))
    """,
}


def written(folder: Path, program: str, scale: str = "") -> Path:
    script = folder / "train.py"
    script.write_text(HEAD.replace(" SCALE", scale) + textwrap.dedent(program))
    return script


def captured(script: Path, load: Any = JaxBackend) -> Capture:
    return capture_script(
        str(script),
        [],
        load_backend=load,
        precision=None,
        budget=Budget(),
        progress=silent,
        examine=lambda capture: capture,
    )


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_is_watched_is_what_the_program_does(name: str, tmp_path: Path) -> None:
    script = written(tmp_path, PROGRAMS[name])
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(script.read_text(), str(script), "exec"), space)
    capture = captured(script)
    losses = [record.loss for record in capture.history.steps]
    np.testing.assert_allclose(np.asarray(losses, float), space["told"], rtol=1e-3)
    assert len(losses) == 12
    for kept in capture.moments:
        trace = capture.step.trace(kept.state, kept.batch)
        assert len(trace.gradients) == 2
        assert compare(trace, capture.history.steps[kept.step]) is None
    # Float32 goes on with its own state: it is not handed the weights of the half precision.
    replay = capture.step.float32(capture.moments[0].state)
    theirs = [replay.advance(batch).loss for batch in capture.batches]
    np.testing.assert_allclose(np.asarray(theirs, float), space["told"], rtol=1e-2)


def test_a_loop_that_starves_in_float16_is_found_with_its_line(tmp_path: Path) -> None:
    program = PROGRAMS["in the module"].replace("0.1 * b", "1e8 * b")
    code, result = diagnosed(written(tmp_path, program, " * 1e-9"), tmp_path)
    assert (code, result["verdict"]) == (1, "precision")
    assert result["findings"][0]["rule"] == "FL201"
    assert result["configuration"]["line"] == line_of(tmp_path / "train.py", "loss, g =")


def test_a_step_that_draws_numbers_aside_is_refused(tmp_path: Path) -> None:
    program = """
    def noisy(w, x, y):
        return loss_of(w, x + np.random.normal(size=x.shape).astype("float32"), y)
    w = start()
    for x, y in batches():
        g = jax.grad(noisy)(w, x, y)
        w = jax.tree.map(lambda a, b: a - 0.1 * b, w, g)
    """
    capture = captured(written(tmp_path, program))
    kept = capture.moments[-1]
    with pytest.raises(TraceError, match="numbers that it is not given"):
        capture.step.trace(kept.state, kept.batch)


def test_an_object_that_a_step_writes_to_is_put_back(tmp_path: Path) -> None:
    program = """
    class Trainer:
        def __init__(self): self.w, self.losses = start(), []
        def loss(self, w, x, y):
            self.last = loss_of(w, x, y)
            return self.last
        def fit(self):
            for x, y in batches():
                g = jax.grad(self.loss)(self.w, x, y)
                self.w = jax.tree.map(lambda a, b: a - 0.1 * b, self.w, g)
    Trainer().fit()
    """
    capture = captured(written(tmp_path, program))
    kept = capture.moments[-1]
    with pytest.raises(TraceError, match=r"it writes to Trainer\.last"):
        capture.step.trace(kept.state, kept.batch)


def test_what_cannot_be_followed_is_told_with_what_to_write(tmp_path: Path) -> None:
    program = """
    w = start()
    for x, y in batches():
        loss, g = jax.value_and_grad(loss_of)(w, x, y)
        if not jnp.isfinite(loss):
            continue
        w = jax.tree.map(lambda a, b: a - 0.1 * b, w, g)
    """
    with pytest.raises(ScriptError) as caught:
        captured(written(tmp_path, program))
    assert "left before its end" in str(caught.value)
    assert "`w, g, loss = step(w, x, y)`" in str(caught.value)


class OnTorch:
    """A backend that finds no step."""

    name = "torch"

    def find_steps(self, handler: Any) -> Any:
        return contextlib.nullcontext()


def test_another_framework_under_keras_is_pointed_at(tmp_path: Path) -> None:
    script = written(tmp_path, PROGRAMS["in the module"])
    with pytest.raises(FloatlineError, match="trains with jax, but Keras was loaded on torch"):
        captured(script, OnTorch)


def test_a_found_step_within_a_compiled_one_is_a_part_of_it(tmp_path: Path) -> None:
    program = """
    def update(w, x, y):
        g = jax.grad(loss_of)(w, x, y)
        return jax.tree.map(lambda a, b: a - 0.1 * b, w, g)
    @jax.jit
    def twice(w, x, y):
        return update(update(w, x, y), x, y)
    w = start()
    for x, y in batches():
        w = twice(w, x, y)
    """
    capture = captured(written(tmp_path, program))
    assert len(capture.history.steps) == 12
    assert capture.configuration.compiled == "xla"


@pytest.fixture
def holder() -> SimpleNamespace:
    return SimpleNamespace(kept=1, values=[2])


def test_what_is_written_while_tracing_is_put_back(holder: SimpleNamespace) -> None:
    def writes(x: jax.Array) -> jax.Array:
        holder.kept = x
        holder.more = x + 1
        holder.values.append(x)
        return x

    with pytest.raises(ImpureError), leaves_objects_alone([holder]):
        jax.make_jaxpr(writes)(1.0)
    assert vars(holder) == {"kept": 1, "values": [2]}


def test_what_holds_no_traced_value_is_no_fault(holder: SimpleNamespace) -> None:
    with leaves_objects_alone([holder]):
        holder.values.append(3)
        holder.kept = 4
    assert vars(holder) == {"kept": 1, "values": [2]}  # Tracing is no step that the user takes.


def test_programs_differ_by_any_number() -> None:
    x, key = rows(3), jax.random.key(1)

    def program(factor: Any, table: Any) -> Any:
        return jax.make_jaxpr(
            lambda v: jax.lax.cond(v.sum() > 0, lambda a: a * factor + table, jnp.sin, v)
        )(x)

    first = program(2.0, np.ones(3))
    assert same_program(first, program(2.0, np.ones(3)))
    assert not same_program(first, program(3.0, np.ones(3)))
    assert not same_program(first, program(2.0, np.zeros(3)))
    draws = [jax.make_jaxpr(lambda v, k=k: v * jax.random.normal(k))(x) for k in (key, key)]
    assert same_program(*draws)


def test_gradients_that_are_compiled_within_are_seen() -> None:
    gradient = jax.grad(lambda w: jnp.where(w > 0, w, 0.0).sum())
    assert compiles_gradients(jax.make_jaxpr(lambda w: w - jax.jit(gradient)(w))(rows(3)))
    assert not compiles_gradients(jax.make_jaxpr(lambda w: w - gradient(w))(rows(3)))
