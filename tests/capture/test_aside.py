"""Of several trainings the one in half precision is watched; those in float32 run as they are."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from floatline.capture.capture import Budget
from floatline.capture.later import trainings
from floatline.errors import TrainingError
from tests.capture.fakes import GOOD, LOST
from tests.capture.scripts import Write, failing, run, writer

HALF = """
def in_half():
    with_half = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(1, name="half", dtype="mixed_float16")]
    )
    with_half.compile("sgd", "mse")
    return with_half
"""
TWO = f"""
{HALF}
history = model.fit(x, y, batch_size=2, epochs=2, verbose=0)
print(len(history.epoch), "epochs")
in_half().fit(x, y, batch_size=5, epochs=1)
"""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    return writer(tmp_path)


def test_a_fit_in_float32_gives_way_to_one_in_half_precision(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    capture = run(write(TWO), budget=Budget(steps=4), dtype="float32")
    assert [layer.path for layer in capture.configuration.layers] == ["half"]
    assert len(capture.history.steps) == 4
    assert "more than one model" in capture.notes[0]
    assert capsys.readouterr().out == "2 epochs\n"  # Twenty steps, of which four were watched.


@pytest.mark.parametrize("train", ["fit(x, y, epochs=3, verbose=0)", "train_on_batch(x, y)"])
def test_what_gives_way_is_watched_where_nothing_in_half_precision_comes(
    write: Write, train: str
) -> None:
    script = write(f"{HALF}\nfor fold in range(3):\n    model.{train}\nfold = 'done'")
    capture = run(script, budget=Budget(steps=2), dtype="float32")
    assert [layer.path for layer in capture.configuration.layers] == ["head"]
    assert (len(capture.history.steps), capture.history.stopped) == (2, "budget")


def test_train_on_batch_gives_way_too(write: Write) -> None:
    script = write(
        f"""{HALF}
for i in range(3):
    model.train_on_batch(x, y)
second = in_half()
for i in range(5):
    second.train_on_batch(x, y)
"""
    )
    capture = run(script, dtype="float32")
    assert len(capture.history.steps) == 5
    assert [layer.path for layer in capture.configuration.layers] == ["half"]


def test_a_training_is_examined_at_once_where_no_half_precision_is_named(
    write: Write,
) -> None:
    script = write("for i in range(2):\n    model.fit(x, y, epochs=2)\nraise AssertionError")
    assert run(script, dtype="float32").notes == ()


def test_a_single_training_is_examined_at_once(write: Write) -> None:
    script = write(f"{HALF}\nmodel.fit(x, y, epochs=1)\nraise AssertionError")
    assert run(script, dtype="float32").notes == ()


@pytest.mark.parametrize("dtype", ["float16", None])
def test_what_casts_by_itself_or_cannot_be_looked_into_does_not_give_way(
    write: Write, dtype: str | None
) -> None:
    capture = run(write(TWO), budget=Budget(steps=4), dtype=dtype)
    assert [layer.path for layer in capture.configuration.layers] == ["head"]
    assert capture.history.stopped == "budget"


def test_what_fails_in_float32_does_not_give_way(write: Write) -> None:
    capture = run(write(TWO), dtype="float32", outcomes=[GOOD] * 2 + [LOST] * 10)
    assert [layer.path for layer in capture.configuration.layers] == ["head"]
    assert capture.history.stopped == "symptom"


def test_an_error_of_a_training_that_gives_way(write: Write) -> None:
    error = failing(write(TWO), dtype="float32", outcomes=[ValueError("shapes differ")])
    assert isinstance(error, TrainingError)
    assert "raised ValueError: shapes differ" in error.message


def test_a_step_that_gives_way_may_take_longer_than_the_budget(write: Write) -> None:
    script = write(
        """
        from floatline.marks import aside_step, found_step

        @aside_step
        def teacher(value):
            return value

        @found_step
        def student(value):
            return value

        for value in range(9):
            teacher(value)
        for value in range(3):
            student(value)
        """
    )
    capture = run(script, budget=Budget(steps=4), dtype="float32")
    assert capture.batches == ((0,), (1,), (2,))


def test_a_marked_step_behind_a_fit_in_float32_is_watched(write: Write) -> None:
    script = write(
        """
        import floatline

        @floatline.training_step
        def step(value):
            return keras.ops.cast(value, "float16")

        def pretrain():
            model.fit(x, y, epochs=1, verbose=0)

        pretrain()
        model.fit(x, y, epochs=2, verbose=0)
        for value in range(3):
            step(value)
        """
    )
    capture = run(script, dtype="float32")
    assert capture.configuration.entry == "step function"
    assert len(capture.history.steps) == 3


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("m.fit(x, y, epochs=3)", 1),
        ("m.fit(x, y, epochs=3)\nn.fit(data, callbacks=[])", 2),
        ("for m in models:\n    m.fit(x, y, batch_size=3)", 2),
        ("for x in data:\n    m.train_on_batch(x)", 1),
        ("scaler.fit(x)\nm.fit(x, y, epochs=3)", 1),
        ("def train(m):\n    m.fit(x, epochs=1)\nif a:\n    train(a)\ntrain(b)", 2),
        ("class M(Model):\n    def train_step(self, d):\n        with GradientTape(): pass", 0),
        ("m.fit(x, epochs=1)\nwith tf.GradientTape() as tape:\n    pass", 2),
    ],
)
def test_how_often_a_file_trains(text: str, count: int) -> None:
    assert trainings(ast.parse(text)) == count


def test_files_that_are_imported_count(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "helpers_in_half.py").write_text(
        'def train(model, x, y):\n    model.fit(x, y, epochs=1, verbose=0)\nPOLICY = "float16"\n'
    )
    script = write("import helpers_in_half\nmodel.fit(x, y, epochs=1, verbose=0)\nprint('on')")
    run(script, dtype="float32")
    assert capsys.readouterr().out == "on\n"
