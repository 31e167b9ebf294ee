"""The mark above a training step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import tensorflow as tf

from floatline.marks import MarkedStep, handle_steps, training_step


@training_step
def step(x: int, y: int = 1) -> int:
    """Adds."""
    return x + y


class Trainer:
    def __init__(self, base: int) -> None:
        self.base = base

    @training_step
    def step(self, x: int) -> int:
        return self.base + x


def recorded(calls: list[Any]) -> Any:
    def handler(
        mark: MarkedStep[Any, Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        calls.append((mark.key, args, dict(kwargs)))
        return "handled"

    return handler


def test_without_a_capture_it_is_the_function() -> None:
    assert step(2, y=3) == 5
    assert step.__name__ == "step"
    assert step.__doc__ == "Adds."


def test_a_capture_gets_the_call() -> None:
    calls: list[Any] = []
    with handle_steps(recorded(calls)):
        assert step(2, y=3) == "handled"  # type: ignore[comparison-overlap]
    assert calls == [(step.key, (2,), {"y": 3})]
    assert step(2) == 3


def test_the_handler_goes_even_after_an_error() -> None:
    with pytest.raises(ValueError, match="boom"), handle_steps(recorded([])):
        raise ValueError("boom")
    assert step(2) == 3


def test_methods_are_bound_and_told_apart_by_their_object() -> None:
    one, two = Trainer(1), Trainer(2)
    assert one.step(1) == 2
    calls: list[Any] = []
    with handle_steps(recorded(calls)):
        one.step(5)
        one.step(6)
        two.step(7)
    assert [args for _, args, _ in calls] == [(5,), (6,), (7,)]
    assert calls[0][0] == calls[1][0] != calls[2][0]


def test_compiled_functions_keep_their_attributes() -> None:
    compiled = tf.function(lambda x: x + 1)
    marked = training_step(compiled)
    assert int(marked(tf.constant(1))) == 2
    assert marked.python_function is compiled.python_function


def test_only_functions_can_be_marked() -> None:
    with pytest.raises(TypeError, match="marks a function, but received 3 of type int"):
        training_step(3)  # type: ignore[arg-type]
