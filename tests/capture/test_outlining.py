"""A program whose steps are made functions does what it did, and its steps can be watched."""

from __future__ import annotations

import ast
import textwrap
import traceback
from typing import Any

import pytest

from floatline.capture.edited import code_of
from floatline.capture.outlining import outlined
from floatline.capture.placing import PREFIX
from floatline.marks import FoundStep, handle_steps

WORLD = """
said = []
class Value:
    def __init__(self, value): self.value = value
    def backward(self): said.append(("backward", self.value))
class Optimizer:
    def step(self, closure=None): said.append(("step", closure and closure().value))
    def zero_grad(self): said.append("zero_grad")
sgd = Optimizer()
def model(x): return Value(3 * x)
"""

PROGRAMS = {
    "in the module": """
        for i, x in enumerate([1, 2, 3]):
            sgd.zero_grad()
            loss = model(x)
            loss.backward()
            sgd.step()
            said.append((i, loss.value))
        said.append((i, x, loss.value))
    """,
    "in a function that is called again": """
        def train(data, total=0.0):
            for x in data:
                loss = model(x)
                loss.backward()
                sgd.step()
                total += loss.value
            return total, x
        for epoch in range(3):
            said.append(train([epoch, 1]))
    """,
    "with a sum in the step": """
        def train(data):
            total, count = 0, 0
            for x in data:
                loss = model(x); total += loss.value
                loss.backward()
                count += 1
                sgd.step()
            return total / count
        said.append(train([1, 2]))
    """,
    "left early in every way": """
        def train(data):
            for x in data:
                loss = model(x)
                if x == 1:
                    continue
                if x == 3:
                    break
                for part in range(9):
                    if part == 1:
                        continue
                    if part == 3:
                        break
                    said.append(part)
                try:
                    loss.backward()
                    if x == 4:
                        return "four"
                finally:
                    said.append("tidy")
                sgd.step()
            else:
                return "no break"
            return "break"
        said.extend([train([0, 1, 2]), train([2, 3, 5]), train([4, 5])])
    """,
    "without a batch, from an iterator": """
        data, steps = iter([5, 6, 7]), 0
        while steps < 3:
            x = next(data)
            y = x + 1
            loss = model(y)
            loss.backward()
            sgd.step()
            steps += 1
        said.append((x, y, loss.value))
    """,
    "with parts of a batch, and names of the module": """
        rate, seen = 1, 0
        def train():
            global seen
            for epoch in range(2):
                rate_now = rate * epoch
                for part in range(2):
                    loss = model(part * rate_now)
                    loss.backward()
                    seen += 1
                sgd.step()
                said.append([rate_now for part in "ab"])
            return loss.value
        said.append((train(), seen))
    """,
    "with a closure and a function that keeps its variables": """
        def train():
            count = 0
            def note():
                nonlocal count
                count += 1
            for x in [1, 2]:
                def closure():
                    note()
                    loss = model(x)
                    loss.backward()
                    return loss
                sgd.step(closure)
            return count, closure().value
        said.append(train())
    """,
    "in a method of two steps": """
        class Trainer:
            def __init__(self): self.best = None
            def fit(self, data):
                for x in data:
                    with_real = model(x); with_real.backward(); sgd.step()
                    with_fake = model(-x); with_fake.backward(); sgd.step()
                    if self.best is None or (value := with_fake.value) < self.best:
                        self.best = with_fake.value
                return self.best, with_real.value
        said.append(Trainer().fit([1, 2]))
    """,
    "with a gradient that is differentiated elsewhere": """
        def optimize(loss):
            sgd.zero_grad(); loss.backward(); sgd.step()
        for x in [1, 2]:
            loss = model(x)
            optimize(loss)
        said.append(loss.value)
    """,
    "with a loss that is kept in an object until it is differentiated": """
        kept = []
        def act(x):
            kept.append(model(x))
        def learn(optimizer):
            optimizer.zero_grad()
            for loss in kept:
                total = loss
            total.backward()
            optimizer.step()
            del kept[:]
        for episode in range(3):
            for x in range(episode + 1):
                act(x)
            learn(sgd)
            said.append((episode, len(kept)))
    """,
    "with optimizers that step one after the other": """
        for x in [1, 2]:
            loss = model(x)
            loss.backward()
            for one in (sgd, sgd):
                one.step()
        said.append(loss.value)
    """,
    "with a name that is deleted and bound by everything else": """
        def train():
            for x in [1, 2]:
                import math as maths
                try:
                    raise KeyError
                except KeyError as error:
                    name = type(error).__name__
                match x:
                    case 1 as one: loss = model(one)
                    case {"a": 1, **others}: pass
                    case other: loss = model(other + 1)
                loss.backward()
                sgd.step()
                del loss
            return name, one, other, maths.pi
        said.append(train())
    """,
}
AS_THEY_STAND = {
    "no update": "for x in data:\n    model(x).backward()\n",
    "no gradient": "for x in data:\n    schedule.step()\n",
    "a generator": "def f():\n    for x in d:\n        x.backward(); yield x; sgd.step()\n",
    "a gradient that is differentiated elsewhere": (
        "def optimize(loss):\n    loss.backward(); sgd.step()\noptimize(f(x))\n"
    ),
    "an await": "async def f():\n    for x in d:\n        x.backward(); sgd.step()\n",
    "super": "def f(self):\n    for x in d:\n        super().f(x).backward(); sgd.step()\n",
    "a global statement": "for x in d:\n    x.backward()\n    global y\n    sgd.step()\n",
    "a mark": (
        "import floatline as fl\n@fl.training_step\ndef f(x):\n    loss(x).backward()\n"
        "for x in d:\n    f(x)\n    sgd.step()\n"
    ),
    "a mark by its own name": (
        "from floatline import training_step\nf = training_step(g)\n"
        "for x in d:\n    f(x).backward()\n    sgd.step()\n"
    ),
}


def ran(program: str, *, found: list[Any] | None = None) -> list[Any]:
    """What a program says, as it stands or with its steps handed to a list."""
    text = WORLD + textwrap.dedent(program)
    rewrite = (lambda tree: tree) if found is None else outlined
    space: dict[str, Any] = {"__name__": "program"}

    def handler(mark: Any, args: Any, kwargs: Any) -> Any:
        assert found is not None
        found.append((mark, args))
        return mark.function(*args, **kwargs)

    with handle_steps(handler):
        exec(code_of(text, "program.py", rewrite), space)
    said: list[Any] = space["said"]
    return said


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_does_what_it_did(name: str) -> None:
    found: list[Any] = []
    assert ran(PROGRAMS[name], found=found) == ran(PROGRAMS[name])
    assert found
    assert all(isinstance(mark, FoundStep) for mark, _ in found)
    assert len({mark.key for mark, _ in found}) == 1


@pytest.mark.parametrize("name", AS_THEY_STAND)
def test_what_is_no_step_or_cannot_move_stays(name: str) -> None:
    tree = ast.parse(AS_THEY_STAND[name])
    before = ast.unparse(tree)
    assert ast.unparse(outlined(tree)) == before


@pytest.mark.parametrize("use", ["floatline.LossScaleOptimizer", "self.training_step"])
def test_another_use_is_no_mark(use: str) -> None:
    text = f"import floatline\n{use}\nfor x in d:\n    f(x).backward()\n    sgd.step()\n"
    assert "found_step" in ast.unparse(outlined(ast.parse(text)))


MARK = "__import__('floatline.marks', fromlist=['found_step']).found_step"


def test_the_batch_is_what_the_loop_binds() -> None:
    found: list[Any] = []
    ran(PROGRAMS["without a batch, from an iterator"], found=found)
    assert [args for _, args in found] == [(5,), (6,), (7,)]


def test_a_step_begins_before_what_it_remembers_is_computed() -> None:
    found: list[Any] = []
    ran(PROGRAMS["with a loss that is kept in an object until it is differentiated"], found=found)
    assert [args for _, args in found] == [(0,), (1,), (2,)]


def test_lines_stay_where_they_are() -> None:
    text = textwrap.dedent(
        """\
        def train():
            for x in [1]:
                loss = x / 0
                loss.backward()
                sgd.step()
        train()
        """
    )
    lines = []
    for rewrite in (lambda tree: tree, outlined):
        with pytest.raises(ZeroDivisionError) as caught:
            exec(code_of(text, "program.py", rewrite), {})
        frames = traceback.extract_tb(caught.value.__traceback__)
        lines.append([f.lineno for f in frames if f.filename == "program.py"])
    assert lines[0] == [6, 3]
    assert lines[1] == [6, 3, 3]  # The step's function is called where the step begins.


def test_functions_that_are_one_step_are_marked_and_those_of_loops_are_not() -> None:
    text = """
def step(x):
    loss = model(x)
    loss.backward()
    sgd.step()
@tf.function
def compiled(x):
    with tf.GradientTape() as tape:
        loss = model(x)
    sgd.apply(tape.gradient(loss, model.variables))
def main():
    for x in data:
        step(x)
"""
    tree = outlined(ast.parse(text))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    marked = {f.name: [ast.unparse(d) for d in f.decorator_list] for f in functions}
    assert marked == {"step": [MARK], "compiled": ["tf.function"], "main": []}


def test_what_would_be_no_python_runs_as_it_stands() -> None:
    def broken(tree: ast.Module) -> ast.Module:
        return ast.parse("return 1")

    space: dict[str, Any] = {}
    exec(code_of("x = 1", "program.py", broken), space)
    assert space["x"] == 1


def test_names_that_are_added_are_known_by_their_beginning() -> None:
    space: dict[str, Any] = {}
    exec(code_of(WORLD + textwrap.dedent(PROGRAMS["in the module"]), "p.py", outlined), space)
    before: dict[str, Any] = {}
    exec(WORLD + textwrap.dedent(PROGRAMS["in the module"]), before)
    assert all(name.startswith(PREFIX) for name in space.keys() - before.keys())


TWO = """
LOW = torch.float16 if fast else torch.float32

def teach(data):
    for x in data:
        loss = {first}
        loss.backward()
        sgd.step()

def step(x):
    loss = {second}
    loss.backward()
    sgd.step()
"""


@pytest.mark.parametrize(
    ("first", "second", "aside"),
    [
        ("model(x)", "model(x.half())", ["teach"]),
        ("bfloat16(model(x))", "model(x)", ["step"]),
        ("model(x)", "model(x)", []),
        ("model(x)", "model(x.to(LOW))", ["teach"]),
        ("model(x).half()", "scaler.scale_loss(model(x))", []),
    ],
)
def test_steps_give_way_to_those_that_name_half_precision(
    first: str, second: str, aside: list[str]
) -> None:
    tree = outlined(ast.parse(TWO.format(first=first, second=second)))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert [f.name for f in functions if "aside_step" in ast.unparse(f)] == aside
    assert [f.name for f in functions if "_step'" in ast.unparse(f)] == ["teach", "step"]
