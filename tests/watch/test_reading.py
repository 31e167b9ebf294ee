"""A reading is read one step late: of its own step all the same, once, and before anybody asks."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from floatline.scaling.optimizer import LossScaleOptimizer
from floatline.watch import callback, past
from floatline.watch.callback import Watch
from floatline.watch.kernels import load_watch
from floatline.watch.replaying import load
from tests.scaling.samples import only_jax
from tests.watch.samples import BATCH, data, everything, fit, model, same

STEPS = 10
"""Steps of an epoch."""


def records(log: Path, kind: str = "reading") -> dict[int, Any]:
    """The records of one kind by their steps, of which none comes twice."""
    every = [json.loads(line) for line in log.read_text().splitlines()]
    found = [record for record in every if record["record"] == kind]
    steps = [record["step"] for record in found]
    assert steps == sorted(set(steps))
    return dict(zip(steps, found, strict=True))


# Nothing is waited for too early. --------------------------------------------------------------


class Waits:
    """The operations of a framework; notes how many steps were dispatched when what was read.

    Args:
        watch: The watch that reads.
    """

    def __init__(self, watch: Watch) -> None:
        self.read: list[tuple[int, int]] = []
        self._watch = watch
        self._kernels = load_watch()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kernels, name)

    def fetched(self, values: Any) -> Callable[[], Any]:
        begun, arrived = self._dispatched, self._kernels.fetched(values)

        def noted() -> Any:
            self.read.append((begun, self._dispatched))
            return arrived()

        return noted

    @property
    def _dispatched(self) -> int:
        session = self._watch._session
        assert session is not None
        return session.steps


def waits(monkeypatch: pytest.MonkeyPatch, epochs: int, **arguments: Any) -> dict[int, int]:
    """For each step that was read, how many steps had been dispatched by then."""
    watch = Watch(**arguments)
    noted = Waits(watch)
    monkeypatch.setattr(callback, "load_watch", lambda: noted)
    fit(model("mixed_float16"), *data(STEPS), watch, epochs=epochs)
    found = dict(noted.read)
    assert len(noted.read) == 3 * len(found)  # Losses, loss scale and weights, each once.
    assert list(found) == sorted(found)
    return found


@pytest.mark.parametrize("read_every", [1, 4, 25])
def test_a_due_reading_waits_for_nothing_that_its_own_step_dispatched(
    read_every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But at the end of an epoch, where Keras waits for everything."""
    found = waits(monkeypatch, 3, every=0, read_every=read_every)
    due = {step for step in range(1, 3 * STEPS + 1) if step % read_every == 0} | {3 * STEPS}
    assert found == {step: step + (step % STEPS != 0) for step in due}


def test_a_state_that_is_too_large_to_be_held_twice_is_judged_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(past, "MOST_STEPS", 8)
    found = waits(monkeypatch, 3, every=0, read_every=4, batch_bytes=2**30)
    assert {step for step, dispatched in found.items() if step == dispatched} == {20, 30}
    monkeypatch.setattr(past.Past, "heavy", property(lambda self: self._marked is not None))
    found = waits(monkeypatch, 3, every=0, read_every=4)
    assert {step for step, dispatched in found.items() if step == dispatched} == {8, 16, 20, 24, 30}


def test_only_a_reading_that_a_sample_follows_is_not_late(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    log = tmp_path / "w.jsonl"
    found = waits(monkeypatch, 7, read_every=13, log=log)
    assert {step for step, dispatched in found.items() if step == dispatched} == {52, 70}
    assert list(records(log, "sample")) == [53]


@only_jax
def test_nothing_else_is_waited_for_either(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every look at an array of JAX is noted; Keras' own threads take the logs to the host."""
    from jax._src.array import ArrayImpl

    watch, seen = Watch(tmp_path, every=0, read_every=4), set[int]()

    def noting(original: Callable[..., Any]) -> Callable[..., Any]:
        def noted(value: Any, *arguments: Any, **keywords: Any) -> Any:
            session = watch._session
            ours = threading.current_thread() is threading.main_thread()
            if session is not None and ours and isinstance(value, ArrayImpl):
                seen.add(session.steps)
            return original(value, *arguments, **keywords)

        return noted

    monkeypatch.setattr(past, "MOST_STEPS", 8)  # Now and then the state is copied, too.
    for name in ("array", "asarray"):
        monkeypatch.setattr(np, name, noting(getattr(np, name)))
    monkeypatch.setattr(ArrayImpl, "_value", property(noting(ArrayImpl._value.fget)))
    fit(model("mixed_float16"), *data(3 * STEPS), watch, epochs=1)
    # At 0 the weights are looked at, at 30 the training ends.
    assert seen == {0, 5, 9, 13, 17, 21, 25, 29, 30}


# What is read is of its step. ------------------------------------------------------------------


class Truth(keras.callbacks.Callback):  # type: ignore[misc]  # (Keras carries no types)
    """The loss of each step and the loss scale after it, looked at at once."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[float] = []
        self.scales: list[float] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.losses.append((batch + 1) * logs["loss"] - sum(self.losses[-batch:] if batch else []))
        self.scales.append(self.model.optimizer.report().scale)


def growing() -> keras.Model:
    """A model whose loss scale is another one in every other step."""
    made = model("mixed_float16")
    inner = keras.optimizers.SGD(1e-3)
    optimizer = LossScaleOptimizer(inner, initial_scale=2.0**-8, dynamic_growth_steps=2)
    made.compile(optimizer, "mse", auto_scale_loss=False)
    return made


@pytest.mark.parametrize(("read_every", "every"), [(1, 0), (4, 7), (5, 0)])
def test_its_numbers_are_those_of_its_step(read_every: int, every: int, tmp_path: Path) -> None:
    x, y = data(STEPS)
    truth, log = Truth(), tmp_path / "w.jsonl"
    watch = Watch(tmp_path, log=log, read_every=read_every, every=every)
    # Looking at other data in between takes the values of the training away on JAX.
    growing().fit(
        *(x, y, BATCH, 3, 0),
        shuffle=False,
        callbacks=[watch, truth],
        validation_data=(x[:BATCH], y[:BATCH]),
    )
    found = records(log)
    assert {read_every * n for n in range(1, 3 * STEPS // read_every + 1)} <= set(found)
    before = 0
    for step, record in found.items():
        begin = max(before, STEPS * record["epoch"])
        assert record["loss"] == pytest.approx(np.mean(truth.losses[begin:step]), rel=1e-3)
        assert record["loss_scale"] == truth.scales[step - 1]
        assert (record["epoch"], record["skipped_steps"]) == ((step - 1) // STEPS, 0)
        before = step
    assert len(set(truth.scales)) > STEPS  # One step too late would have been another scale.


def test_train_on_batch_returns_when_all_is_read(tmp_path: Path) -> None:
    x, y = data(STEPS)
    trained, log = growing(), tmp_path / "w.jsonl"
    with Watch(tmp_path, log=log, read_every=3, every=0).watching(trained):
        for n in range(STEPS):
            rows = slice(n * BATCH, (n + 1) * BATCH)
            loss = trained.train_on_batch(x[rows], y[rows])
            if n % 3 == 2:
                last = records(log)[n + 1]
                assert last["loss"] == pytest.approx(float(loss[0]))
                assert last["loss_scale"] == trained.optimizer.report().scale
    assert list(records(log)) == [3, 6, 9]


@pytest.mark.parametrize("spoiled", [None, 7])
def test_a_training_that_ends_early_is_read_to_its_end(spoiled: int | None, tmp_path: Path) -> None:
    class Ends(keras.callbacks.Callback):  # type: ignore[misc]  # (Keras carries no types)
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.model.stop_training = batch == 7

    x, y = data(STEPS, spoiled=spoiled)

    def trained(*callbacks: Any) -> list[Any]:
        made = model()
        keras.utils.set_random_seed(9)
        made.fit(
            *(x, y, BATCH, 3, 0),
            shuffle=False,
            callbacks=[*callbacks, Ends()],
            validation_data=(x[:BATCH], y[:BATCH]),
        )
        return everything(made)

    log = tmp_path / "w.jsonl"
    watch = Watch(tmp_path, log=log, read_every=4, every=0, diagnose=False)
    watch.tell = lambda _: None
    assert same(trained(), trained(watch))
    assert list(records(log)) == [4, 8]
    kept = [load(path).record for path in watch.failures]
    assert [(record["step"], record["state_step"], record["exact"]) for record in kept] == (
        [] if spoiled is None else [(8, spoiled, True)]
    )


def test_who_breaks_off_at_the_end_of_an_epoch_is_too_late(tmp_path: Path) -> None:
    class Raises(keras.callbacks.Callback):  # type: ignore[misc]  # (Keras carries no types)
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            raise RuntimeError("the loss is NaN")

    watch = Watch(tmp_path, read_every=5, every=0, diagnose=False)
    watch.tell = lambda _: None
    with pytest.raises(RuntimeError, match="NaN"):
        fit(model(), *data(STEPS, spoiled=9), Raises(), watch)
    assert load(watch.failures[0]).record["state_step"] == 9


# What is fetched is of its moment. -------------------------------------------------------------


def test_what_is_fetched_does_not_change_with_what_is_written_later() -> None:
    variables = [
        keras.Variable(values, dtype=dtype, trainable=False)
        for values, dtype in ((1.5, "float32"), ([3, 4], "int32"), ([0.5], "bfloat16"))
    ]
    arrived = load_watch().fetched([*(variable._value for variable in variables), 2.5])
    for variable in variables:
        variable.assign(variable.value + 7)
    first, second, third, last = arrived()
    assert (first, last) == (1.5, 2.5)
    assert second.tolist() == [3, 4]
    assert third.astype("float32").tolist() == [0.5]


@only_jax
def test_what_is_fetched_outlives_the_step_that_overwrites_it() -> None:
    import jax

    value = ops.convert_to_tensor([1.0, 2.0])
    arrived = load_watch().fetched([value])
    jax.jit(lambda x: x + 1, donate_argnums=0)(value)
    assert value.is_deleted()
    assert arrived()[0].tolist() == [1.0, 2.0]


# What fails is found where it fails. -----------------------------------------------------------


@pytest.fixture
def short_past(monkeypatch: pytest.MonkeyPatch) -> None:
    """The state is copied at each reading."""
    monkeypatch.setattr(past, "MOST_STEPS", 1)


@pytest.mark.usefixtures("short_past")
@pytest.mark.parametrize(("spoiled", "seen"), [(4, 5), (5, 10), (9, 10), (10, 15), (19, 20)])
def test_a_state_that_was_copied_too_late_is_not_kept(
    spoiled: int, seen: int, tmp_path: Path
) -> None:
    """Among them: the step that is read, the one after it, and the last of an epoch."""
    x, y = data(2 * STEPS, spoiled=spoiled)
    healthy, trained = model(), model()
    fit(healthy, x[: spoiled * BATCH], y[: spoiled * BATCH], epochs=1)
    watch = Watch(tmp_path, read_every=5, every=0, diagnose=False, log=tmp_path / "w.jsonl")
    watch.tell = lambda _: None
    keras.utils.set_random_seed(9)
    trained.fit(
        *(x, y, BATCH, 3, 0),
        shuffle=False,
        callbacks=[watch],
        validation_data=(x[:BATCH], y[:BATCH]),
    )
    kept = load(watch.failures[0])
    assert (kept.record["step"], kept.record["state_step"]) == (seen, spoiled)
    assert kept.record["exact"]
    assert np.isnan(np.asarray(kept.batches[0][0])).sum() == 1
    assert same(kept.state["trainable"], [np.asarray(w) for w in healthy.trainable_variables])
    assert int(ops.convert_to_numpy(trained.optimizer.iterations)) <= seen + 1
    assert list(records(tmp_path / "w.jsonl")) == list(range(5, seen + 1, 5))


@pytest.mark.parametrize(
    ("batches", "spoiled", "seen", "kept"), [(0.5, 6, 7, 1), (12, 11, 12, 2), (12, 12, 24, 13)]
)
def test_memory_that_is_full_loses_no_failure(
    batches: float, spoiled: int, seen: int, kept: int, tmp_path: Path
) -> None:
    """When so many batches fill it; two states of the model are held if they fit instead."""
    x, y = data(30, spoiled=spoiled)
    room = int(batches * BATCH * (x[0].nbytes + y[0].nbytes))
    watch = Watch(tmp_path, every=0, diagnose=False, batch_bytes=room)
    watch.tell = lambda _: None
    fit(model(), x, y, watch)
    found = load(watch.failures[0])
    assert (found.record["step"], found.record["state_step"]) == (seen, spoiled)
    assert (found.record["exact"], len(found.batches)) == (True, kept)


@pytest.mark.parametrize(("bad", "exact"), [(25, False), (26, True), (30, True)])
def test_a_stall_that_is_over_by_now_is_kept_from_before_on(
    bad: int, exact: bool, tmp_path: Path
) -> None:
    x, y = data(40)
    x[: bad * BATCH] = np.inf
    trained = model("mixed_float16")
    before = [np.array(weight) for weight in trained.trainable_variables]
    watch = Watch(tmp_path, every=0, diagnose=False, on_failure="continue")
    watch.tell = lambda _: None
    fit(trained, x, y, watch, epochs=1)
    kept = load(watch.failures[0])
    assert (kept.record["kind"], kept.record["step"]) == ("stalled-scale", 25)
    assert (kept.record["exact"], kept.record["state_step"]) == (exact, 26 if exact else 0)
    assert same(kept.state["trainable"], before)
    assert len(kept.batches) == (25 if exact else 26)
    assert all(np.isinf(np.asarray(x)).all() for x, _ in kept.batches[:25])
