"""With its states on disk a diagnosis is what it is with them in memory, bit by bit."""

from __future__ import annotations

import dataclasses
import functools
import gc
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import floatline
from floatline.backends.shelf import Shelf
from floatline.capture.shelving import Shelving
from floatline.errors import StorageError
from floatline.pipeline import load_backend
from floatline.progress import silent
from floatline.records import Diagnosis
from floatline.repairs import Trial, TrialBudget
from tests.contract.samples import SAMPLES, policy

Put = Callable[..., Any]


@pytest.fixture
def shelves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """While active, every value of every state goes to this folder."""
    every = functools.partial(Shelf, least_bytes=0, folder=tmp_path)
    monkeypatch.setattr("floatline.capture.shelving.Shelf", every)
    monkeypatch.setattr("floatline.capture.shelving.SHARE", -1.0)
    return tmp_path


class Squared(keras.layers.Layer):  # type: ignore[misc]  # (Keras carries no types)
    def call(self, inputs: Any) -> Any:
        return keras.ops.square(inputs) / 400 / 400


def overflowing() -> Any:
    """Dropout, statistics, an optimizer with slots, and squares beyond 65504."""
    with policy("mixed_float16"):
        inputs = keras.Input((8,))
        h = keras.layers.BatchNormalization()(Squared(name="squared")(inputs))
        h = keras.layers.Dropout(0.25, seed=3)(keras.layers.Dense(8, "relu")(h))
        model = keras.Model(inputs, keras.layers.Dense(1, dtype="float32")(h))
        model.compile(keras.optimizers.Adam(1e-2), "mse")
    return model


def examined(monkeypatch: pytest.MonkeyPatch) -> tuple[Diagnosis, bytes, int]:
    puts = []
    put = Shelf.put

    def counted(shelf: Shelf, array: Any) -> Any:
        puts.append(array.nbytes)
        return put(shelf, array)

    monkeypatch.setattr(Shelf, "put", counted)
    model = overflowing()
    x = np.random.default_rng(0).uniform(200, 400, (640, 8)).astype("float32")
    keras.utils.set_random_seed(1)
    budget = TrialBudget(trials=3, seconds=300.0)
    diagnosis = floatline.diagnose(model, x, x[:, :1] / 400, batch_size=16, trials=budget)
    owners = [*model.variables, *model.optimizer.variables]
    monkeypatch.setattr(Shelf, "put", put)
    return diagnosis, b"".join(np.asarray(v).tobytes() for v in owners), len(puts)


def told(diagnosis: Diagnosis) -> str:
    """Everything in a diagnosis but the time that it took, and where the states lay."""
    repair = diagnosis.repair
    assert repair is not None
    timeless: tuple[Trial, ...] = tuple(dataclasses.replace(t, seconds=0.0) for t in repair.trials)
    history = dataclasses.replace(diagnosis.evidence.history, seconds=0.0)
    evidence = dataclasses.replace(diagnosis.evidence, history=history)
    same = dataclasses.replace(
        diagnosis,
        evidence=evidence,
        repair=dataclasses.replace(repair, trials=timeless),
        notes=(),
    )
    return re.sub(r"0x[0-9a-f]+", "", repr(same))


def test_the_diagnosis_and_the_repair_are_the_same_bit_by_bit(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    plain, weights, none = examined(monkeypatch)
    folder: Path = request.getfixturevalue("shelves")
    kept, same_weights, puts = examined(monkeypatch)
    assert (none, puts > 0) == (0, True)
    assert plain.repair is not None
    assert len(plain.repair.trials) == 3
    assert told(kept) == told(plain)
    assert same_weights == weights
    assert any("kept on disk" in note for note in kept.notes)
    assert not any("kept on disk" in note for note in plain.notes)
    del kept
    gc.collect()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", SAMPLES)
def test_a_step_that_ran_is_put_back_from_disk(name: str, tmp_path: Path) -> None:
    with policy("mixed_float16"):
        model, batch = SAMPLES[name]()
    step: Any = load_backend().keras_step(model, lambda layer: None)
    step.prepare(batch)
    step.run(batch)
    variables = [*model.variables, *model.optimizer.variables]
    before = [np.array(variable) for variable in variables]
    assert step.state_bytes() >= sum(value.nbytes for value in before)
    step.keep_states_on(Shelf(0, tmp_path))
    state = step.snapshot()
    assert len(list(tmp_path.glob("*/*"))) >= len(variables)
    step.run(batch)
    step.restore(state)
    for variable, value in zip(variables, before, strict=True):
        assert np.array(variable).tobytes() == value.tobytes()


@pytest.mark.parametrize(
    ("size", "device", "host", "on_disk"),
    [(99, None, 800, False), (101, None, 800, True), (99, 80, 8000, True), (0, None, 0, False)],
)
def test_a_state_beyond_its_share_of_the_memory_goes_to_disk(
    size: int, device: int | None, host: int, *, on_disk: bool
) -> None:
    said: list[str] = []

    def progress(stage: str, done: int = 0, total: int | None = None) -> None:
        del done, total
        said.append(stage)

    shelving = Shelving(progress, lambda: device, lambda: host)
    shelf = shelving.decide(size)
    assert (shelf is not None) is on_disk
    assert (shelving.note is not None) is on_disk
    assert said == ["keeping the state of the training on disk"] * on_disk
    assert shelving.decide(10**9) is shelving.decide(0)


def test_a_disk_without_room_ends_the_diagnosis_and_changes_nothing(
    shelves: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(shelf: Shelf, size: int) -> None:
        raise shelf._full(size, "its disk has 0 bytes free")

    monkeypatch.setattr(Shelf, "_check_room", full)
    model = overflowing()
    before = [np.array(variable) for variable in model.variables]
    with pytest.raises(StorageError, match="0 bytes free"):
        floatline.diagnose(model, np.ones((32, 8), "float32"), np.ones((32, 1), "float32"))
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(np.array(variable), value)
    gc.collect()
    assert list(shelves.iterdir()) == []


def test_by_itself_a_small_model_stays_in_memory() -> None:
    assert Shelving(silent, load_backend().free_bytes).decide(2**20) is None
