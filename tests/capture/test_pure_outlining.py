"""A program whose steps nobody compiles does what it did, and each of its steps is a function."""

from __future__ import annotations

import ast
import copy
import textwrap
from pathlib import Path
from typing import Any

import pytest

from floatline.capture.edited import code_of
from floatline.capture.outlining import outlined
from floatline.capture.pure_advice import pure_loop_error
from floatline.capture.pure_loops import pure_places
from floatline.marks import PureStep, handle_steps

# Differentiation by differences: all that the programs need of JAX.
WORLD = """
if False: import jax
said = []
def value_and_grad(f):
    def both(w, *rest):
        return f(w, *rest), {k: 4 * (f({**w, k: w[k] + .25}, *rest) - f(w, *rest)) for k in w}
    return both
def grad(f): return lambda w, *rest: value_and_grad(f)(w, *rest)[1]
def jit(f): return f
def moved(w, g, rate=0.5): return {k: w[k] - rate * g[k] for k in w}
def loss_of(w, x): return (w["a"] * x - w["b"]) ** 2
def start(): return {"a": 1.0, "b": 0.5}
"""

PROGRAMS = {
    "in the module": """
        w = start()
        for i, x in enumerate([1.0, 2.0, 3.0]):
            loss, g = value_and_grad(loss_of)(w, x)
            w = moved(w, g)
            said.append((i, loss))
        said.append((w, x, g, loss))
    """,
    "in a function, with a report in its middle": """
        def train(data, rate):
            w, losses, total = start(), [], 0.0
            for x in data:
                loss, g = value_and_grad(loss_of)(w, x)
                losses.append(float(loss))
                total += float(loss)
                if x > 1:
                    print(loss)
                w = moved(w, g, rate)
            return w, losses, total
        said.append((train([1.0, 2.0], 0.5), train([3.0], 0.25)))
    """,
    "with gradients made once, and momentum": """
        gradient = jit(grad(loss_of))
        w, velocity, n = start(), {"a": 0.0, "b": 0.0}, 0
        while n < 4:
            g = gradient(w, n)
            n += 1
            velocity = {k: velocity[k] / 2 + g[k] / n for k in velocity}
            w = moved(w, velocity)
        said.append((w, velocity, n))
    """,
    "in containers": """
        w = start()
        for x in [1.0, 2.0]:
            def here(v):
                return loss_of(v, x)
            g = grad(here)(w)
            g["a"] = g["a"] / 2
            for k in w:
                w[k] -= 0.1 * g[k]
            said.append(dict(w))
    """,
    "with parts of a batch, a scale and an average": """
        w, scale, average = start(), 4.0, start()
        for i in range(3):
            total = {"a": 0.0, "b": 0.0}
            for j in range(2):
                scaled = {k: w[k] * 1.0 for k in w}
                g = grad(lambda v: scale * loss_of(v, i + j))(scaled)
                total = {k: total[k] + g[k] / scale for k in g}
            scale = scale * 2 if total["a"] else scale / 2
            w = moved(w, total)
            average = {k: average[k] / 2 + w[k] / 2 for k in w}
            said.append((i, scale, total))
        said.append((w, average))
    """,
    "in an object's loop": """
        class Trainer:
            def __init__(self): self.w, self.rate, self.steps = start(), 0.5, 0
            def fit(self, data):
                for x in data:
                    loss, g = value_and_grad(loss_of)(self.w, x)
                    self.w = moved(self.w, g, self.rate)
                    self.steps += 1
                return loss, self.w, self.steps
        said.append(Trainer().fit([1.0, 2.0]))
    """,
    "in an object's method": """
        class Trainer:
            def __init__(self): self.w = start()
            def loss(self, w, x): return loss_of(w, x)
            def train_step(self, x):
                loss, g = value_and_grad(self.loss)(self.w, x)
                self.w = moved(self.w, g)
                return loss
        trainer = Trainer()
        said.append([trainer.train_step(x) for x in (1.0, 2.0)] + [trainer.w])
    """,
    "in a function that is given its state": """
        def update(w, x, rate=0.25):
            g = grad(loss_of)(w, x)
            return moved(w, g, rate)
        w = start()
        for x in [1.0, 2.0]:
            w = update(w, x)
        said.append(w)
    """,
}


def ran(program: str, *, found: list[Any] | None = None) -> list[Any]:
    """What a program says, as it stands or with its steps handed to a list, each run twice."""
    space: dict[str, Any] = {"__name__": "program"}

    def handler(mark: Any, args: Any, kwargs: Any) -> Any:
        assert found is not None
        first, args_again = mark.function(*copy.deepcopy(args), **kwargs), copy.deepcopy(args)
        returned = mark.function(*args_again, **kwargs)
        assert first == returned
        found.append(mark)
        return returned

    rewrite = (lambda tree: tree) if found is None else outlined
    with handle_steps(handler):
        exec(code_of(WORLD + textwrap.dedent(program), "program.py", rewrite), space)
    said: list[Any] = space["said"]
    return said


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_does_what_it_did_and_its_step_does_nothing_else(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found: list[Any] = []
    before, printed = ran(PROGRAMS[name]), capsys.readouterr()
    assert ran(PROGRAMS[name], found=found) == before
    assert capsys.readouterr() == printed
    assert found
    assert all(isinstance(mark, PureStep) for mark in found)
    assert len({mark.key for mark in found}) == 1


LOOP = """
import jax
import numpy as np
def loss_of(w): return w * x
def note(g):
    global seen
    seen = g
for x in data:
    value, g = jax.value_and_grad({loss})(w, x)
    {middle}
    w = w - g
print(w, value)
"""
OBSTACLES = {
    "continue": ("f", "if not ok(g): continue", "it may be left before its end"),
    "a value": ("f", "g = g * float(value)", "by `float`"),
    "NumPy": ("f", "g = np.clip(g, -1, 1)", "by `np.clip`"),
    "an iterator": ("f", "g = g + next(noise)", "it calls `next`"),
    "a call for its effect": ("f", "opt.update(w, g)", "it calls `opt.update(w, g)`"),
    "a part of something": ("f", "for layer in w: layer.weight = g", "writes to `layer.weight`"),
    "a name of the loop": ("loss_of", "pass", "`loss_of` reads `x`"),
    "a name that is written": ("f", "g = note(g)", "`note` writes to names outside of it"),
    "no value": (
        "f",
        "if ok(g): value = 0; last = g\n    g = g + last; del last",
        "it declares or",
    ),
}


@pytest.mark.parametrize("name", OBSTACLES)
def test_what_is_no_function_stays_and_the_error_says_what_to_write(
    name: str, tmp_path: Path
) -> None:
    loss, middle, reason = OBSTACLES[name]
    text = LOOP.format(loss=loss, middle=middle)
    before = ast.unparse(ast.parse(text))
    assert ast.unparse(outlined(ast.parse(text))) == before
    script = tmp_path / "train.py"
    script.write_text(text)
    error = pure_loop_error(script)
    assert error is not None
    assert f"The loop at {script}:9 " in str(error)
    assert reason in str(error)
    assert "= step(" in str(error)


AS_THEY_STAND = {
    "no JAX": "for x in data:\n    g = jax.grad(f)(w, x)\n    w = w - g\n",
    "a compiled step": (
        "import jax\n@jax.jit\ndef step(w, x):\n    g = jax.grad(f)(w, x)\n    return w - g\n"
        "for x in data:\n    w = step(w, x)\n"
    ),
    "a step that is compiled later": (
        "import jax\ndef step(w, x):\n    g = jax.grad(f)(w, x)\n    return w - g\n"
        "fast = jax.jit(step)\nfor x in data:\n    w = fast(w, x)\n"
    ),
    "no update": "import jax\nfor x in data:\n    g = jax.grad(f)(w, x)\n    print(g)\n",
    "an epoch": (
        "import jax\ndef epoch(w):\n    def step(w, x):\n        g = jax.grad(f)(w, x)\n"
        "        return w - g\n    return jax.lax.scan(step, w, data)\n"
        "for e in range(3):\n    w = epoch(w)\n"
    ),
}


@pytest.mark.parametrize("name", AS_THEY_STAND)
def test_what_is_no_step_of_its_own_stays(name: str, tmp_path: Path) -> None:
    text = AS_THEY_STAND[name]
    before = ast.unparse(ast.parse(text))
    assert ast.unparse(outlined(ast.parse(text))) == before
    script = tmp_path / "train.py"
    script.write_text(text)
    assert pure_loop_error(script) is None


def test_a_step_begins_as_late_as_it_can() -> None:
    text = """
import jax
for batch in data:
    x, y = prepared(batch)
    key, sub = jax.random.split(key)
    half = cast(w)
    small = x.astype("float16")
    loss, g = jax.value_and_grad(f)(half, small, y, sub)
    w = w - g
"""
    (place,) = pure_places(ast.parse(text))
    assert (place.given, place.returned) == (
        ("w", "sub", "x", "y"),
        ("w", "g", "half", "loss", "small"),
    )


def test_lines_stay_where_they_are() -> None:
    text = WORLD + textwrap.dedent(PROGRAMS["in the module"])
    wanted = {n.lineno for n in ast.walk(ast.parse(text)) if isinstance(n, ast.stmt)}
    assert {
        n.lineno for n in ast.walk(outlined(ast.parse(text))) if isinstance(n, ast.stmt)
    } == wanted


def test_a_script_that_cannot_be_read_has_no_loop(tmp_path: Path) -> None:
    assert pure_loop_error(tmp_path / "missing.py") is None
