"""What is read of the code of a layer: numbers, what they meet, and what cannot be told."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from floatline.findings.configured.setup import NumberUse
from floatline.precision.reading.code import Reading, read
from floatline.precision.reading.kinds import Value

EPSILON = 1e-9
SCALE = np.float32(1e-9)
ROUNDED = keras.backend.backend() != "torch"
"""Whether the framework rounds a factor of Python's to the format."""


class Mine(layers.Layer):  # type: ignore[misc]  # (Keras carries no types)
    """Something for code to speak of."""

    def __init__(self) -> None:
        super().__init__(dtype="mixed_float16")
        self.eps = 1e-8
        self.table = np.zeros((2, 2), "float32")
        self.dense = layers.Dense(2, dtype="mixed_float16")
        self.head = layers.Dense(2, dtype="float32")
        self.kernel = self.add_weight(shape=(2,), name="kernel")
        self.kept = self.add_weight(shape=(2,), name="kept", autocast=False)

    def helper(self, t: Any) -> Any:
        return ops.sqrt(t + 1e-10)


def with_float32(t: Any) -> Any:
    return ops.cast(t, "float32") + 1e-10


def uses(function: Callable[..., Any], kind: Any = "half") -> list[tuple[str, str, bool]]:
    found = reading(function, kind).numbers
    return [(use.name, use.role, use.certain) for use in found]


def reading(function: Callable[..., Any], kind: Any = "half") -> Reading:
    return read(function, LAYER, {"self": Value("number", thing=LAYER), "t": Value(kind)})


LAYER = Mine()


def test_each_role() -> None:
    def call(self: Any, t: Any) -> Any:
        t = t + 1e-8
        t = t * -1e9
        t = t / 3e5
        t = ops.maximum(t, 1e-12)
        t = ops.minimum(1 - 1e-7, t)
        t = ops.clip(t, 1e-11, 1 - 1e-8)
        t = ops.where(t > 0.5, t, -1e10)
        return ops.divide(ops.multiply(t, 2e9), ops.add(t, EPSILON)) - self.eps

    assert uses(call) == [
        ("1e-08", "added", True),
        ("-1e+09", "factor", True),
        ("300000", "divisor", True),
        ("1e-12", "lower bound", True),
        ("1 - 1e-07", "upper bound", True),
        ("1e-11", "lower bound", True),
        ("1 - 1e-08", "upper bound", True),
        ("-1e+10", "selected", True),
        ("2e+09", "factor", True),
        ("EPSILON", "added", True),
        ("self.eps", "added", True),
    ]


def test_the_line_and_the_value_are_those_of_the_code() -> None:
    def call(t: Any) -> Any:
        return t + 2 * 10**-9

    (use,) = reading(call).numbers
    assert isinstance(use, NumberUse)
    assert use.value == 2e-9
    assert use.source is not None
    assert use.source.file == __file__
    assert use.source.line == call.__code__.co_firstlineno + 1


def test_what_is_in_float32_is_none_of_its_business() -> None:
    def call(self: Any, t: Any) -> Any:
        wide = ops.cast(t, "float32")
        mean = ops.mean(wide, axis=-1) + 1e-12
        made = ops.zeros((2,)) + 1e-12
        kept = self.kept * 1e-12
        tabled = ops.matmul(self.table, t) + 1e-12
        headed = self.head(t) + 1e-12
        seeded = keras.random.normal((2,)) + 1e-12
        random = t.astype("float32") / 1e9
        return (wide + t) * 1e-12, mean, made, kept, tabled, headed, random, seeded

    assert uses(call) == []


def test_what_is_cast_back_is() -> None:
    def call(self: Any, t: Any, mask: Any) -> Any:
        wide = ops.cast(t, "float32")
        back = ops.cast(wide, t.dtype) + 1e-8
        masked = ops.cast(mask, back.dtype) * -1e9
        own = ops.cast(wide, self.compute_dtype) + 2e-8
        made = ops.zeros_like(t) + 3e-9
        weighed = self.kernel + 4e-9
        return self.dense(t) + 5e-9 + back + masked + own + made + weighed

    assert uses(call) == [
        ("1e-08", "added", True),
        ("-1e+09", "factor", True),
        ("2e-08", "added", True),
        ("3e-09", "added", True),
        ("4e-09", "added", True),
        ("5e-09", "added", True),
    ]


def test_a_root_may_have_another_guard() -> None:
    def call(t: Any) -> Any:
        return t / (ops.sqrt(t + 1e-12) + 1e-3) + t / ops.sqrt(t + 1e-11)

    assert [use for use in uses(call) if use[0] != "0.001"] == [
        ("1e-12", "root", True),
        ("1e-11", "added", True),
    ]


def test_helpers_are_followed() -> None:
    def call(self: Any, t: Any) -> Any:
        return self.helper(t) + with_float32(t) + 1e-11

    assert uses(call) == [("1e-10", "added", True)]


def test_what_cannot_be_told_is_not_certain() -> None:
    def call(t: Any, unknown: Any) -> Any:
        return unknown + 1e-8

    assert uses(call) == [("1e-08", "added", False)]


def test_branches_and_loops_meet() -> None:
    def call(t: Any, training: Any = None) -> Any:
        if training:
            t = ops.cast(t, "float32")
        total = ops.zeros_like(t)
        for _ in range(3):
            total = total + 1e-8
            total = with_float32(total)
        return t + 1e-9

    assert uses(call) == [] or all(not certain for *_, certain in uses(call)[1:])
    assert ("1e-09", "added", True) not in uses(call)


def test_bools_and_integers_are_no_half_precision() -> None:
    def call(t: Any) -> Any:
        return ops.cast(t > 0, "int32") * 3 + ops.argmax(t) / 1e9

    assert uses(call) == []


def test_numbers_of_python_alone_meet_nothing() -> None:
    def call(t: Any) -> Any:
        small = 1e-12 * 2
        return t * (small / 1e-12)

    assert uses(call) == [("small / 1e-12", "factor", True)]


@pytest.mark.parametrize("text", ["t * -1e9", "ops.multiply(t, -1e9)"])
def test_pytorch_multiplies_in_float32(text: str, tmp_path: Any) -> None:
    file = tmp_path / "made.py"
    file.write_text(f"from keras import ops\n\n\ndef call(t):\n    return {text}\n")
    names: dict[str, Any] = {}
    exec(compile(file.read_text(), str(file), "exec"), names)
    (use,) = reading(names["call"]).numbers
    assert use.rounded is ROUNDED
    t = ops.cast(ops.convert_to_tensor([0.0]), "float16")
    nan = bool(ops.any(ops.isnan(names["call"](t))))
    assert nan is ROUNDED


def test_a_constant_that_is_cast_is_rounded_everywhere() -> None:
    def call(t: Any) -> Any:
        return t * ops.cast(-1e9, t.dtype)

    (use,) = reading(call).numbers
    assert use.rounded
    t = ops.cast(ops.convert_to_tensor([0.0]), "float16")
    with warnings.catch_warnings(action="ignore"):  # NumPy speaks of the overflow itself.
        assert bool(ops.any(ops.isnan(call(t))))


def test_a_scalar_of_numpys_is_what_the_framework_makes_of_it() -> None:
    def call(t: Any) -> Any:
        return t + SCALE

    t = ops.cast(ops.convert_to_tensor([0.0]), "float16")
    half = keras.backend.standardize_dtype(call(t).dtype) == "float16"
    assert (uses(call) == [("SCALE", "added", True)]) is half


def test_integers_are_told_where_they_are_made() -> None:
    def call(t: Any) -> Any:
        rows = ops.cast(t[:, 0], "int32")
        ops.cast(ops.cast(t, "float32"), "int32")
        return rows

    (line,) = reading(call).integers
    assert line.line == call.__code__.co_firstlineno + 1


def test_code_of_packages_is_not_read() -> None:
    assert read(layers.Dense(2).call, LAYER, {"inputs": Value("half")}) == Reading()
    assert read(len, LAYER) == Reading()
