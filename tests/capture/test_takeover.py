"""Training calls of a running script, on a backend that computes nothing."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import pytest

from floatline.backends.interface import StepKind
from floatline.capture.capture import Budget, Capture
from floatline.capture.takeover import Takeover
from floatline.errors import TrainingError
from floatline.progress import silent
from tests.capture.fakes import FakeBackend
from tests.capture.scripts import Write, failing, run, writer


@pytest.fixture
def write(tmp_path: Path) -> Write:
    return writer(tmp_path)


def test_fit_is_captured(write: Write) -> None:
    capture = run(write("history = model.fit(x, y, 8, epochs=2)\nraise SystemExit('not reached')"))
    assert len(capture.history.steps) == 6
    assert capture.configuration.entry == "fit"
    assert capture.configuration.epochs == 2
    assert Path(capture.configuration.source.file).name == "train.py"


def test_layers_know_their_line(write: Write) -> None:
    script = write("model.fit(x, y)")
    (layer,) = run(script).configuration.layers
    assert layer.path == "head"
    assert layer.source.file == str(script)
    assert "keras.layers.Dense" in script.read_text().splitlines()[layer.source.line - 1]


def test_an_overridden_fit_is_captured_where_it_calls_keras(write: Write) -> None:
    script = write(
        """
        class Model(keras.Model):
            def fit(self, x, y, **options):
                return super().fit(x * 2, y, **options)

        inputs = keras.Input((4,))
        model = Model(inputs, keras.layers.Dense(1)(inputs))
        model.compile("sgd", "mse")
        model.fit(x, y, batch_size=5)
        """
    )
    capture = run(script)
    assert len(capture.history.steps) == 4
    assert float(capture.batches[0][0][0, 0]) == 2.0


def test_no_handler_of_the_scripts_stops_the_end(write: Write) -> None:
    script = write(
        """
        for attempt in range(3):
            try:
                model.fit(x, y)
            except:
                pass
        """
    )
    assert len(run(script).history.steps) == 1


def test_a_model_is_not_saved_by_a_script_that_is_being_left(write: Write, tmp_path: Path) -> None:
    """Not over what a finished training has left; what is saved before is the script's business."""
    before, after = tmp_path / "before.weights.h5", tmp_path / "after.keras"
    after.write_text("learnt in a week")
    script = write(
        f"""
        model.save_weights({str(before)!r})
        try:
            model.fit(x, y)
        finally:
            model.save({str(after)!r})
        """
    )
    assert len(run(script).history.steps) == 1
    assert after.read_text() == "learnt in a week"
    assert before.stat().st_size > 0


def test_train_on_batch_is_watched_until_the_script_ends(write: Write) -> None:
    capture = run(write("for i in range(7):\n    model.train_on_batch(x, y)"))
    assert len(capture.history.steps) == 7
    assert capture.configuration.entry == "train_on_batch"
    assert capture.history.stopped == "end of training"


def test_train_on_batch_is_watched_until_the_budget_is_spent(write: Write) -> None:
    script = write("while True:\n    model.train_on_batch(x, y)")
    capture = run(script, budget=Budget(steps=4))
    assert len(capture.history.steps) == 4
    assert capture.history.stopped == "budget"


def test_only_the_first_model_is_watched(write: Write) -> None:
    script = write(
        """
        other = keras.models.clone_model(model)
        other.compile("sgd", "mse")
        for i in range(3):
            model.train_on_batch(x, y)
            other.train_on_batch(x, y)
        """
    )
    capture = run(script)
    assert len(capture.history.steps) == 3
    assert "more than one model" in capture.notes[0]


def test_a_script_that_stops_by_itself_after_training(write: Write) -> None:
    script = write("model.train_on_batch(x, y)\nraise ValueError('loss is NaN')")
    capture = run(script)
    assert len(capture.history.steps) == 1
    assert capture.notes == ("After 1 steps the script ended with ValueError: loss is NaN.",)


def test_a_marked_step_is_watched(write: Write) -> None:
    script = write(
        """
        from floatline.marks import training_step

        @training_step
        def step(x, y):
            raise AssertionError("the backend runs it")

        for i in range(5):
            logs = step(x, y=y)
        """
    )
    capture = run(script)
    assert len(capture.history.steps) == 5
    assert capture.configuration.entry == "step function"
    assert len(capture.batches[0]) == 2


@pytest.mark.parametrize(("first", "watched"), [("aside", "student"), ("found", "teacher")])
def test_a_step_gives_way_to_one_that_names_half_precision(
    write: Write, first: str, watched: str
) -> None:
    script = write(
        f"""
        from floatline.marks import aside_step, found_step

        @{first}_step
        def teacher(value):
            return value

        @found_step
        def student(value):
            return value

        for value in range(3):
            teacher(value)
        for value in range(4):
            student(value)
            teacher(value)
        """
    )
    capture = run(script)
    assert len(capture.history.steps) == {"student": 4, "teacher": 7}[watched]
    assert "more than one model" in capture.notes[0]


def test_what_has_given_way_stays_trained_until_the_end(write: Write) -> None:
    script = write(
        """
        from floatline.marks import aside_step, found_step

        @aside_step
        def teacher(value):
            model.layers[-1].bias.assign_add([1.0])

        @found_step
        def student(value):
            assert float(model.layers[-1].bias[0]) == 3.0

        for value in range(3):
            teacher(value)
        for value in range(4):
            student(value)
        """
    )

    def examine(capture: Capture) -> tuple[int, object]:
        return len(capture.history.steps), sys.modules["__main__"].__dict__["model"]

    steps, model = run(script, examine=examine)
    assert steps == 4
    assert float(model.layers[-1].bias[0]) == 0.0


def test_a_step_that_gives_way_is_watched_where_nothing_else_trains(write: Write) -> None:
    script = write(
        """
        from floatline.marks import aside_step

        @aside_step
        def teacher(value):
            return value

        for value in range(3):
            teacher(value)
        """
    )
    capture = run(script)
    assert (len(capture.history.steps), capture.notes) == (3, ())


STEPS: dict[str, StepKind] = {"evaluate": "", "teacher": "full", "student": "half"}


@pytest.mark.parametrize(
    ("called", "watched"),
    [
        (["evaluate", "teacher", "student", "teacher", "student"], 2),
        (["student", "teacher", "student"], 2),
        (["teacher", "evaluate", "teacher", "teacher"], 3),
    ],
    ids=["the student", "the student, who came first", "what there is"],
)
def test_a_compiled_step_in_full_precision_gives_way(
    monkeypatch: pytest.MonkeyPatch, called: list[str], watched: int
) -> None:
    monkeypatch.setattr("floatline.capture.takeover.names_half", lambda: True)
    functions = {name: (lambda value: value) for name in STEPS}  # One each: none is another's.
    kinds = {name: partial(STEPS.__getitem__, name) for name in STEPS}
    backend = FakeBackend([])
    takeover = Takeover(
        load_backend=lambda: backend, budget=Budget(), progress=silent, examine=lambda found: found
    )
    for name in called:
        takeover.on_compiled_call(functions[name], kinds[name], (1.0,), {})
    (capture,) = takeover.conclude(None)
    assert len(capture.history.steps) == watched


def test_a_marked_method_is_described_by_its_object(write: Write) -> None:
    script = write(
        """
        import tensorflow as tf
        from floatline.marks import training_step

        class Trainer:
            def __init__(self):
                self.model, self.optimizer = model, keras.optimizers.Adam()

            @training_step
            @tf.function
            def step(self, x):
                return x

        trainer = Trainer()
        for i in range(3):
            trainer.step(x)
        """
    )
    capture = run(script)
    assert len(capture.history.steps) == 3
    assert capture.configuration.optimizer == "Adam"
    assert [layer.path for layer in capture.configuration.layers] == ["head"]


def test_a_marked_step_inside_a_compiled_function_is_refused(write: Write) -> None:
    script = write(
        """
        import tensorflow as tf
        from floatline.marks import training_step

        @training_step
        def step(x):
            return x

        @tf.function
        def epoch(x):
            return step(x)

        epoch(tf.ones(3))
        """
    )
    assert "inside another compiled function" in failing(script).message


def test_a_loop_without_a_mark_is_pointed_at(write: Write) -> None:
    script = write(
        """
        def step():
            model.optimizer.apply_gradients(
                [(keras.ops.ones_like(v), v) for v in model.trainable_variables]
            )

        step()
        """
    )
    error = failing(script)
    assert f"a loop of its own at {script}:10" in error.message
    assert "@floatline.training_step" in error.advice


def test_the_result_is_what_examine_returns_and_the_script_is_alive(write: Write) -> None:
    def examine(capture: Capture) -> list[str]:
        return [sys.argv[1], sys.modules["__main__"].__dict__["model"].layers[0].name]

    assert run(write("model.fit(x, y)"), ["--fast"], examine=examine) == ["--fast", "head"]


def test_an_error_while_examining_is_not_the_scripts(write: Write) -> None:
    def examine(capture: Capture) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(write("try:\n    model.fit(x, y)\nexcept Exception:\n    pass"), examine=examine)


def test_an_interrupt_is_for_us_even_if_the_script_would_catch_it(write: Write) -> None:
    script = write("try:\n    model.fit(x, y)\nexcept KeyboardInterrupt:\n    print('saving')")
    with pytest.raises(KeyboardInterrupt):
        run(script, outcomes=[KeyboardInterrupt()])


@pytest.mark.parametrize("call", ["model.fit(x, y)", "model.train_on_batch(x, y)"])
def test_an_error_of_the_training_call(write: Write, call: str) -> None:
    error = failing(write(call), outcomes=[ValueError("shapes differ")])
    assert isinstance(error, TrainingError)
    assert "raised ValueError: shapes differ" in error.message


@pytest.mark.parametrize("call", ["model.fit(x, y)", "model.train_on_batch(x, y)"])
def test_a_model_that_was_never_compiled(write: Write, call: str) -> None:
    script = write(f"model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])\n{call}")
    assert "never compiled" in failing(script).message
