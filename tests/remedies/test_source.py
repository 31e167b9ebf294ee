"""The user's lines as they could read: they parse, and change what they say they change."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from floatline.records import Finding, Place, SourceLine
from floatline.remedies.source import changes
from floatline.repairs import SourceChange

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


@pytest.mark.parametrize("rule", ["FL404", "FL501", "FL602"])
def test_nothing_is_said_where_the_numbers_of_a_line_are_not_at_fault(
    tmp_path: Path, rule: str
) -> None:
    assert changed(tmp_path, "y = x * 2", rule) is None


def test_a_line_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    place = Place("a", "Mul", "m", "forward", SourceLine(str(tmp_path / "gone.py"), 3))
    assert changes([Finding("FL101", "cause", "forward", "", {}, (), place)]) == ()
