"""A step of a tape begins behind what picks its batch; what PyTorch differentiates is kept."""

from __future__ import annotations

import ast
import textwrap
from typing import Any

import pytest

from floatline.capture.edited import code_of
from floatline.capture.loops import places
from floatline.capture.outlining import outlined
from floatline.capture.picking import Pickers, pickers_of
from floatline.marks import handle_steps

TAPE = """
    with tf.GradientTape() as tape:
        loss = f(model(x), y)
    optimizer.apply_gradients(zip(tape.gradient(loss, w), w))
"""

PICKED = {
    "an index that is counted": "for i in range(9):\n    x, y = data[i * 32:i * 32 + 32], t[i]",
    "an index of a permutation": "for k in order:\n    x, y = data[k], t[k]",
    "a draw of NumPy's": (
        "rng = np.random.default_rng(0)\nfor _ in range(9):\n"
        "    y = f(0)\n    x = rng.normal(size=(4, 2))"
    ),
    "a function that draws": (
        "def sample(n):\n    return np.random.rand(n)\nfor _ in range(9):\n    x, y = sample(4)"
    ),
    "a generator that an object keeps": (
        "class Data:\n    def __init__(self):\n        self.rng = np.random.default_rng(0)\n"
        "    def batch(self):\n        return self.rng.normal(size=4)\n"
        "d = Data()\nwhile True:\n    x, y = d.batch()"
    ),
    "a number of Python's": "for x, y, rate in data:\n    x = x * min(1.0, float(rate))",
    "a count": "for i, (x, y) in enumerate(data):\n    y = f(y, i)",
    "what comes next": "it = iter(data)\nwhile True:\n    x, y = next(it)",
}
"""Loops whose last line before the tape picks the batch."""

COMPUTED = {
    "a cast": "for x, y in data:\n    x = tf.cast(x, tf.float16)",
    "a frozen model": "for z, y in data:\n    x = generator(z, training=False)",
    "a function of the file": "def f(x):\n    return tf.sqrt(x)\nfor x, y in data:\n    x = f(x)",
}
"""Loops whose last line before the tape computes, maybe in half precision."""


def begun(loop: str, step: str = TAPE) -> tuple[int, tuple[str, ...]]:
    """How many statements of a loop stay before its step, and what that is handed."""
    text = "import numpy as np\nimport tensorflow as tf\n" + loop + step
    (place,) = places(ast.parse(text))
    return place.begin, place.batch


@pytest.mark.parametrize("name", PICKED)
def test_a_batch_is_picked_before_the_step(name: str) -> None:
    begin, batch = begun(PICKED[name])
    assert begin == len(ast.parse(PICKED[name]).body[-1].body)  # type: ignore[attr-defined]  # (a loop)
    assert {"x", "y"} <= set(batch)
    assert not {"i", "k", "rate"} & set(batch)


@pytest.mark.parametrize("name", COMPUTED)
def test_what_computes_is_a_part_of_the_step(name: str) -> None:
    assert begun(COMPUTED[name])[0] == 0


def test_what_goes_on_with_a_picked_batch_in_numpy_picks_too() -> None:
    loop = (
        "for _ in range(9):\n    y = np.cumsum(t)\n    y = (y - y.mean()) / y.std()\n    x = g(y)"
    )
    assert begun(loop)[0] == 2


INDEXED = """
def train(i):
    x, y = data[i], t[i]
    with tf.GradientTape() as tape:
        loss = f(model(x), y)
    optimizer.apply_gradients(zip(tape.gradient(loss, w), w))
    {tail}
"""


@pytest.mark.parametrize(
    ("text", "moved"),
    [
        (
            INDEXED.format(tail="return float(loss)"),
            ["x, y = (data[i], t[i])", "return float(loss)"],
        ),
        (INDEXED.format(tail="return loss").replace("data[i], t[i]", "i"), None),
        (INDEXED.format(tail="return loss.numpy()").replace("def", "@keep\ndef"), None),
    ],
    ids=["picks and reports", "all of it is a step", "what a decorator may do is not known"],
)
def test_a_function_keeps_what_a_graph_cannot_hold(text: str, moved: list[str] | None) -> None:
    tree = outlined(ast.parse("import tensorflow as tf\n" + text))
    (function,) = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    if moved is None:
        assert not any(isinstance(node, ast.FunctionDef) for node in function.body)
        return
    assert not function.decorator_list
    written = [ast.unparse(s) for s in function.body if isinstance(s, ast.Assign | ast.Return)]
    assert written == moved


def test_weights_may_be_updated_one_after_the_other() -> None:
    step = """
    with tf.GradientTape() as tape:
        loss = f(model(x), y)
    for v, g in zip(w, tape.gradient(loss, w)):
        v.assign_sub(0.1 * g)
"""
    assert begun("for x, y in data:\n    x = tf.cast(x, tf.float16)", step) == (0, ("x", "y"))


def test_what_pytorch_differentiates_is_never_left_out() -> None:
    step = "\n    loss = f(model(x)[k], y)\n    loss.backward()\n    sgd.step()\n"
    assert begun(PICKED["an index of a permutation"], step)[0] == 0


def test_only_names_of_generators_are_known_as_such() -> None:
    text = "import numpy as np\nfrom random import choice\nrng = np.random.default_rng(0)\nx = f(0)"
    known = pickers_of(ast.parse(text))
    assert known == Pickers(frozenset({"np", "choice"}), frozenset({"rng", "choice"}))


def test_a_batch_is_drawn_once_however_often_its_step_runs() -> None:
    program = textwrap.dedent(
        """
        import random
        class GradientTape:
            def __enter__(self): return self
            def __exit__(self, *error): pass
            def gradient(self, loss): return loss
        def apply_gradients(gradient): seen.append(gradient)
        seen, generator = [], random.Random(0)
        for _ in range(3):
            x = generator.random()
            with GradientTape() as tape:
                loss = 2 * x
            apply_gradients(tape.gradient(loss))
        after = generator.random()
        """
    )

    def twice(mark: Any, args: Any, kwargs: Any) -> Any:
        mark.function(*args)
        return mark.function(*args)

    plain: dict[str, Any] = {}
    exec(program, plain)
    again: dict[str, Any] = {}
    with handle_steps(twice):
        exec(code_of(program, "program.py", outlined), again)
    assert again["after"] == plain["after"]
    assert again["seen"] == [value for value in plain["seen"] for _ in "12"]
