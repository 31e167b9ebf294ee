"""The user's lines as they could read: they parse, and change what they say they change."""

from __future__ import annotations

import ast
import linecache
from pathlib import Path

import pytest

from floatline.records import Finding, Place, SourceLine
from floatline.remedies.source import changes
from floatline.repairs import SourceChange
from floatline.trials.editing import with_change

IMPORTS = "import keras\nimport tensorflow as tf\nfrom keras import layers, ops\n"


def changed(
    folder: Path, statement: str, rule: str = "FL101", made: str | None = None
) -> SourceChange | None:
    """What is said of a statement of a script; it stands in its fourth line."""
    file = folder / "train.py"
    file.write_text(f"{IMPORTS}{statement}\n", encoding="utf-8")
    line = 4 if "\n" not in statement else 5
    place = Place("a", "Mul", "m", "forward", SourceLine(str(file), line), layer_class=made)
    finding = Finding(rule, "cause", "forward", "", {}, (), place)
    made_changes = changes([finding])
    for change in made_changes:
        ast.parse(change.then)
    return made_changes[0] if made_changes else None


@pytest.mark.parametrize(
    ("statement", "then"),
    [
        ("y = x / (norm + 1e-8)", "y = x / (norm + 1e-4)"),
        ("y = x * mask - 1e9 * mask", "y = x * mask - 3e4 * mask"),
        ("été = é + 1e-12", "été = é + 1e-4"),
    ],
)
def test_a_number_that_float16_cannot_hold_is_replaced(
    tmp_path: Path, statement: str, then: str
) -> None:
    change = changed(tmp_path, statement, "FL203")
    assert change is not None
    assert change.then.endswith(then)


def test_a_factor_beyond_the_range_is_not_changed_to_another_factor(tmp_path: Path) -> None:
    change = changed(tmp_path, "y = x * 1e6")
    assert change is not None
    assert change.then == 'x = ops.cast(x, "float32")\ny = x * 1e6'


@pytest.mark.parametrize(
    ("statement", "then"),
    [
        ("h = layers.Dense(8)(h)", 'h = layers.Dense(8, dtype="float32")(h)'),
        ("h = layers.Dense(8,)(h)", 'h = layers.Dense(8, dtype="float32")(h)'),
        ("h = layers.Dense()(h)", 'h = layers.Dense(dtype="float32")(h)'),
        ("h = [\n    layers.Dense(8),\n]", 'h = [\n    layers.Dense(8, dtype="float32"),\n]'),
    ],
)
def test_a_layer_that_is_made_there_gets_a_dtype(tmp_path: Path, statement: str, then: str) -> None:
    change = changed(tmp_path, statement, made="Dense")
    assert change is not None
    assert (change.line, change.then) == (4, then)


def test_operands_are_cast_and_functions_and_options_are_not(tmp_path: Path) -> None:
    body = "def call(self, x, axis):\n    return x / tf.reduce_sum(x * self.gain, axis=axis)"
    change = changed(tmp_path, body)
    assert change is not None
    assert change.line == 5
    assert change.now == "return x / tf.reduce_sum(x * self.gain, axis=axis)"
    assert change.then == (
        'x = ops.cast(x, "float32")\n'
        'return x / tf.reduce_sum(x * ops.cast(self.gain, "float32"), axis=axis)'
    )


def test_a_name_that_its_function_does_not_own_is_cast_where_it_is_read(tmp_path: Path) -> None:
    body = (
        "def loss(z):\n    s = tf.exp(z @ TABLE / TAU)\n    return s\nTAU, TABLE = 0.07, tf.eye(3)"
    )
    change = changed(tmp_path, body.replace("TAU, TABLE = 0.07,", "TAU = 0.07\nTABLE ="))
    assert change is not None
    assert change.then == (
        'z = ops.cast(z, "float32")\ns = tf.exp(z @ ops.cast(TABLE, "float32") / TAU)'
    )


def test_what_holds_arrays_is_not_cast_but_what_is_read_of_it(tmp_path: Path) -> None:
    body = "def apply(p, x):\n    return x @ p['w'] / LENGTH\nLENGTH, WIDTH = 4, 6"
    change = changed(tmp_path, body)
    assert change is not None
    assert change.then == (
        'x = ops.cast(x, "float32")\nreturn x @ ops.cast(p[\'w\'], "float32") / LENGTH'
    )


@pytest.mark.parametrize(
    ("statement", "then"),
    [
        (
            "return tf.sqrt(sum(tf.reduce_sum(g * g) for g in gs))",
            'tf.reduce_sum(ops.cast(g, "float32") * ops.cast(g, "float32")) for g in gs',
        ),
        (
            "return sum(map(lambda g: tf.norm(g), gs))",
            'lambda g: tf.norm(ops.cast(g, "float32"))',
        ),
    ],
)
def test_a_name_of_a_part_of_a_line_is_cast_in_it(
    tmp_path: Path, statement: str, then: str
) -> None:
    change = changed(tmp_path, f"def norm(gs):\n    {statement}")
    assert change is not None
    assert then in change.then
    assert "g =" not in change.then


def test_a_format_under_a_name_of_its_own_is_one(tmp_path: Path) -> None:
    body = "def apply(x, w):\n    return x @ w.astype(HALF)\nHALF = tf.float16"
    change = changed(tmp_path, body)
    assert change is not None
    assert change.then == "return x @ w.astype(tf.float32)"


@pytest.mark.parametrize("rule", ["FL404", "FL501", "FL602"])
def test_nothing_is_said_where_the_numbers_of_a_line_are_not_at_fault(
    tmp_path: Path, rule: str
) -> None:
    assert changed(tmp_path, "y = x * 2", rule) is None


def test_a_line_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    place = Place("a", "Mul", "m", "forward", SourceLine(str(tmp_path / "gone.py"), 3))
    assert changes([Finding("FL101", "cause", "forward", "", {}, (), place)]) == ()


def loop(folder: Path, script: str, rule: str, mark: str) -> tuple[str, SourceChange | None]:
    """A script, and what it reads after the change that a rule proposes at the line with a mark."""
    file = folder / "train.py"
    file.write_text(script, encoding="utf-8")
    linecache.checkcache(str(file))
    line = next(n for n, text in enumerate(script.splitlines(), 1) if mark in text)
    place = Place(None, "Log", "l", "forward", SourceLine(str(file), line))
    made = changes([Finding(rule, "cause", "forward", "", {}, (), place)])
    if not made:
        return script, None
    return with_change({str(file): script}, made[0])[str(file)], made[0]


LOOP = """
import keras
import tensorflow as tf

model = keras.Sequential([keras.layers.Dense(1)])
optimizer = keras.optimizers.{optimizer}
mse = keras.losses.MeanSquaredError()


@tf.function
def step(x, y):
    with tf.GradientTape() as tape:
        loss = mse(y, model(x))  # HERE
    gradients = tape.gradient(loss, model.trainable_variables)
    {clip}
    optimizer.apply(gradients, model.trainable_variables)
    return loss
"""
SCALED = "LossScaleOptimizer(keras.optimizers.SGD(0.1))"


def test_a_loss_that_was_never_scaled_is_scaled_on_the_tape(tmp_path: Path) -> None:
    before = LOOP.format(optimizer=SCALED, clip="pass")
    after, change = loop(tmp_path, before, "FL404", "HERE")
    assert change is not None
    expected = before.replace(
        "# HERE\n", "# HERE\n        scaled_loss = optimizer.scale_loss(loss)\n"
    ).replace("tape.gradient(loss", "tape.gradient(scaled_loss")
    assert after == expected
    assert loop(tmp_path, after, "FL404", "HERE")[1] is None


def test_a_loop_without_a_loss_scale_gets_one(tmp_path: Path) -> None:
    before = LOOP.format(optimizer="Adam(\n    1e-3,\n)", clip="pass")
    after, _ = loop(tmp_path, before, "FL201", "layers.Dense")
    wrapped = "keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(\n    1e-3,\n))"
    assert f"optimizer = {wrapped}\n" in after
    assert "        scaled_loss = optimizer.scale_loss(loss)\n" in after
    assert "tape.gradient(scaled_loss," in after


@pytest.mark.parametrize(
    ("clip", "then"),
    [
        (
            "gradients, _ = tf.clip_by_global_norm(gradients, 1.0)",
            "gradients, _ = tf.clip_by_global_norm(gradients, optimizer.scale_loss(1.0))",
        ),
        (
            "g = tf.clip_by_value(g, -1, 1)",
            "g = tf.clip_by_value(g, optimizer.scale_loss(-1), optimizer.scale_loss(1))",
        ),
    ],
)
def test_a_bound_on_scaled_gradients_is_scaled(tmp_path: Path, clip: str, then: str) -> None:
    before = LOOP.format(optimizer=SCALED, clip=clip)
    assert loop(tmp_path, before, "FL404", "clip_by")[0] == before.replace(clip, then)


def test_two_optimizers_in_a_step_are_left_to_their_author(tmp_path: Path) -> None:
    second = "other.apply(gradients, model.trainable_variables)"
    before = LOOP.format(optimizer=SCALED, clip=second)
    assert loop(tmp_path, before, "FL404", "HERE")[1] is None


def test_a_backward_call_gets_the_scaled_loss(tmp_path: Path) -> None:
    before = (
        "import keras, torch\n"
        "def step(x, y):\n"
        "    loss = mse(y, model(x))\n"
        "    loss.backward()\n"
        "    optimizer.apply([v.value.grad for v in weights], weights)\n"
        "    return loss\n"
    )
    after, _ = loop(tmp_path, before, "FL404", "loss = mse")
    assert after == before.replace("loss.backward", "optimizer.scale_loss(loss).backward")


GAN = """
import tensorflow as tf
from keras import layers, ops

judge = layers.Dense(1, activation="sigmoid")


def step(x):
    p = ops.clip(judge(x, training=True), 1e-7, 1 - 1e-7)
    return -ops.mean(ops.log(1 - p))  # HERE
"""


def test_what_is_cast_too_late_is_cast_where_it_comes_from(tmp_path: Path) -> None:
    once, _ = loop(tmp_path, GAN, "FL305", "HERE")
    late = '    p = ops.cast(p, "float32")\n'
    assert once == GAN.replace("    return", f"{late}    return")
    twice, _ = loop(tmp_path, once, "FL305", "HERE")
    source = 'ops.clip(ops.cast(judge(x, training=True), "float32"), 1e-7'
    assert twice == GAN.replace("ops.clip(judge(x, training=True), 1e-7", source)


@pytest.mark.parametrize("taken", ["inputs", "judge(inputs)"])
def test_values_that_come_in_a_sequence_are_cast_behind_it(tmp_path: Path, taken: str) -> None:
    before = (
        "from keras import layers, ops\njudge = layers.Dense(2)\n"
        f"def gap(inputs):\n    x, y = {taken}\n    return ops.exp(x - y)  # HERE\n"
    )
    once, _ = loop(tmp_path, before, "FL301", "HERE")
    casts = "".join(f'    {name} = ops.cast({name}, "float32")\n' for name in "xy")
    assert once == before.replace("    return", f"{casts}    return")
    assert loop(tmp_path, once, "FL301", "HERE") == (once, None)


def test_what_is_taken_apart_after_it_was_computed_is_cast_before(tmp_path: Path) -> None:
    statement = "def halves(z):\n    x, y = ops.split(ops.exp(z), 2)"
    change = changed(tmp_path, statement)
    assert change is not None
    assert 'z = ops.cast(z, "float32")' in change.then


def test_a_logarithm_of_what_cannot_be_cast_any_earlier_gets_an_epsilon(tmp_path: Path) -> None:
    before = "from keras import ops\ndef loss(y, p):\n    return ops.mean(y * ops.log(1 - p))\n"
    once, _ = loop(tmp_path, before, "FL305", "return")
    twice, _ = loop(tmp_path, once, "FL305", "return")
    assert twice == once.replace("log(1 - p)", "log(1 - p + 1e-4)")
    assert loop(tmp_path, twice, "FL305", "return")[1] is None


@pytest.mark.parametrize(
    ("statement", "then"),
    [
        ("y = ops.cast(y, p.dtype)", 'y = ops.cast(y, "float32")'),
        ('y = ops.cast(y, dtype="float16")', 'y = ops.cast(y, dtype="float32")'),
        ("y = tf.cast(y, tf.float16)", "y = tf.cast(y, tf.float32)"),
        ('y = y.astype("float16")', 'y = y.astype("float32")'),
    ],
)
def test_a_cast_to_a_half_format_is_one_to_float32(
    tmp_path: Path, statement: str, then: str
) -> None:
    change = changed(tmp_path, statement, "FL303")
    assert change is not None
    assert change.then == then


@pytest.mark.parametrize(
    ("statement", "then"),
    [
        ("x = x.to(torch.half)", "x = x.to(torch.float32)"),
        ("x = x.to(p.dtype)", "x = x.to(torch.float32)"),
        ("x = x.to(dtype)", "x = x.to(torch.float32)"),
        ("x = x.to(device=device, dtype=low)", "x = x.to(device=device, dtype=torch.float32)"),
        ("x = x.type(torch.bfloat16)", "x = x.type(torch.float32)"),
        ("x = torch.tensor(x, dtype=torch.half)", "x = torch.tensor(x, dtype=torch.float32)"),
        ("x = torch.nonzero(x.bfloat16())", "x = torch.nonzero(x.float())"),
        ("x = rows.half()[0]", "x = rows.float()[0]"),
        ("x = x.to(device)", "x = x.float()\nx = x.to(device)"),
        ("x = x.to(dtype=float)", "x = x.float()\nx = x.to(dtype=float)"),
    ],
)
def test_a_cast_of_pytorch_gets_a_dtype_of_pytorch(
    tmp_path: Path, statement: str, then: str
) -> None:
    after, made = loop(tmp_path, f"import torch\n{statement}\n", "FL303", "x = ")
    assert made is not None
    assert after == f"import torch\n{then}\n"


@pytest.mark.parametrize(
    ("indent", "end"), [("\t", "\n"), ("    ", "  # été\n"), ("  \t", "\n\n\n")]
)
def test_tabs_comments_and_other_letters_stay(tmp_path: Path, indent: str, end: str) -> None:
    before = f"from keras import ops\ndef loss(é):\n{indent}é = é * é{end}"
    after, _ = loop(tmp_path, before, "FL101", "é = é")
    cast = f'{indent}é = ops.cast(é, "float32")\n'
    assert after == before.replace(f"{indent}é = é", f"{cast}{indent}é = é")


@pytest.mark.parametrize("number", ["2 * math.pi * 8", "-math.sqrt(2)", "A / 3", "1e4"])
def test_a_number_of_the_file_is_not_cast(tmp_path: Path, number: str) -> None:
    head = f"import math\nimport torch\nA = 3.0\nK = {number}\n"
    before = f"{head}def loss(u):\n    return K * u\n"
    after, _ = loop(tmp_path, before, "FL101", "return")
    assert after == f"{head}def loss(u):\n    u = u.float()\n    return K * u\n"


def test_what_a_variable_is_kept_in_is_not_changed_where_it_is_written(tmp_path: Path) -> None:
    before = "import torch\ndef update(slow, fast):\n    slow.lerp_(fast.to(slow.dtype), 0.01)\n"
    assert loop(tmp_path, before, "FL304", "lerp_")[1] is None
    assert loop(tmp_path, before, "FL301", "lerp_")[1] is not None


def test_a_change_that_would_be_no_python_is_not_proposed(tmp_path: Path) -> None:
    before = "from keras import ops\nif a: pass\nelse: y = x * x\n"
    assert loop(tmp_path, before, "FL101", "else")[1] is None
