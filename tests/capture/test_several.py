"""A script that trains more than once is examined until a training shows a fault."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from floatline.capture.capture import PATIENT_SECONDS, Capture
from floatline.capture.several import Several
from tests.capture.scripts import Write, run, writer

TWICE = """
history = model.fit(x, y, epochs=2, batch_size=5, verbose=0)
print("first", len(history.history["loss"]), model.optimizer.iterations.numpy())
model.fit(x, y, epochs=3, batch_size=5, verbose=0)
print("second")
"""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    return writer(tmp_path)


def steps_until(count: int) -> Callable[[Capture], bool]:
    """Settles on a training of so many steps."""
    return lambda capture: len(capture.history.steps) == count


def test_a_first_training_that_settles_is_the_answer(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    capture = run(write(TWICE), settles=steps_until(8))
    assert len(capture.history.steps) == 8
    assert capture.notes == ()
    assert "first" not in capsys.readouterr().out


def test_one_that_does_not_runs_as_it_is_and_the_next_is_examined(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    capture = run(write(TWICE), settles=steps_until(12))
    assert len(capture.history.steps) == 12
    assert capture.notes == (
        "This is training 2 of the script; the one before it showed no fault.",
    )
    # Its epochs really ran, for the script, behind the watch that had put everything back.
    printed = capsys.readouterr().out
    assert "first 2 8" in printed
    assert "second" not in printed


def test_where_none_settles_the_last_answers_for_all(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    capture = run(write(TWICE), settles=lambda _: False)
    assert len(capture.history.steps) == 12
    assert "second" in capsys.readouterr().out  # There might have been a third.


def test_a_loop_of_trainings_is_examined_one_by_one(write: Write) -> None:
    loop = """
    for epochs in (1, 2, 3):
        model.fit(x, y, epochs=epochs, batch_size=5, verbose=0)
    """
    capture = run(write(loop), settles=steps_until(12))
    (note,) = capture.notes
    assert note == "This is training 3 of the script; 2 trainings before it showed no fault."


@pytest.mark.parametrize(
    "text",
    [
        "model.fit(x, y, batch_size=5, verbose=0); print('behind')",
        """
        def rows():
            while True:
                yield x, y
        data = rows()
        model.fit(data, steps_per_epoch=4, shuffle=False, verbose=0)
        print("behind")
        model.fit(data, steps_per_epoch=4, shuffle=False, verbose=0)
        """,
    ],
    ids=["one training", "data that cannot be read again"],
)
def test_a_script_is_left_behind_its_only_answer(
    write: Write, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    capture = run(write(text), settles=lambda _: False)
    assert len(capture.history.steps) == 4
    assert "behind" not in capsys.readouterr().out


def test_an_error_behind_a_training_without_fault_does_not_cost_its_result(write: Write) -> None:
    capture = run(write(TWICE.replace('print("first"', 'broken("first"')), settles=lambda _: False)
    assert len(capture.history.steps) == 8


def test_an_interrupt_behind_it_is_for_us(write: Write) -> None:
    text = TWICE.replace('print("first"', 'raise KeyboardInterrupt("first"')
    with pytest.raises(KeyboardInterrupt):
        run(write(text), settles=lambda _: False)


def test_many_trainings_are_not_waited_for(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([0.0, PATIENT_SECONDS + 1.0])

    class Slow(Several[Any]):
        def __init__(self, settles: Callable[[Any], bool]) -> None:
            super().__init__(settles, clock=lambda: next(seconds))

    monkeypatch.setattr("floatline.capture.takeover.Several", Slow)
    capture = run(write(TWICE), settles=lambda _: False)
    assert len(capture.history.steps) == 8
