"""The stack under an operation is the same, whether what stands above was remembered or not."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from floatline.backends.torch.frames import Frames, Surroundings
from floatline.backends.torch.step import enter_step


def names(frames: Frames) -> list[str]:
    """The functions of a stack, innermost first."""
    return [code.co_name for code in frames.codes]


def inside(run: Callable[[], object]) -> object:
    """Runs a function as a step is run."""
    return enter_step(lambda batch: run(), None)


def test_only_what_stands_inside_of_the_step_is_taken() -> None:
    def operation() -> Frames:
        return Surroundings().frames()

    frames = inside(operation)
    assert isinstance(frames, Frames)
    assert names(frames) == ["operation", "<lambda>"]


@pytest.mark.parametrize("depth", [1, 3])
def test_a_second_operation_has_the_stack_that_it_would_have_had_first(depth: int) -> None:
    remembering, found = Surroundings(), []

    def layer(below: int) -> None:
        if below:
            remembering.around(layer, below - 1)
        for _ in range(2):
            found.append((remembering.frames(), Surroundings().frames()))

    inside(lambda: remembering.around(layer, depth))
    assert len(found) == 2 * (depth + 1)
    for remembered, anew in found:
        assert remembered.codes == anew.codes
        # Only the instruction of this function itself differs: two calls on one line.
        assert remembered.key[0] == anew.key[0]
        assert remembered.key[2:] == anew.key[2:]


def test_a_layer_called_from_two_lines_has_two_stacks() -> None:
    surroundings, found = Surroundings(), []

    def layer() -> None:
        found.append(surroundings.frames())

    def step() -> None:
        surroundings.around(layer)
        surroundings.around(layer)

    inside(step)
    first, second = found
    assert first.codes == second.codes
    assert first.key != second.key


def test_what_a_failed_call_stood_under_is_forgotten() -> None:
    surroundings = Surroundings()

    def fail() -> None:
        surroundings.frames()
        raise ValueError

    def step() -> Frames:
        try:
            surroundings.around(fail)
        except ValueError:
            return surroundings.frames()
        return sys.exit("nothing was raised")

    frames = inside(lambda: surroundings.around(step))
    assert isinstance(frames, Frames)
    assert names(frames) == ["step", "<lambda>", "<lambda>"]
