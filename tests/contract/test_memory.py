"""A step whose trace does not fit into memory is traced for some rows, at the whole one's scale."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

import floatline
from floatline.backends import memory
from floatline.capture.capture import Budget, KeptMoment
from floatline.errors import OutOfMemoryError
from floatline.pipeline import load_backend
from floatline.records import Diagnosis, StepRecord, Trace
from floatline.tracing.parts import fitting, trace_part
from tests.contract.samples import policy
from tests.contract.shortage import allow, refuse_float32

ROWS = 48
REDUCTIONS = ["sum_over_batch_size", "sum"]


def data(rows: int = ROWS) -> tuple[np.ndarray, np.ndarray]:
    """Rows that repeat themselves twelve by twelve: each part is like the whole."""
    random = np.random.default_rng(0)
    x = random.normal(size=(12, 10)).astype("float32")
    y = random.normal(size=(12, 2)).astype("float32")
    return np.tile(x, (rows // 12, 1)), np.tile(y, (rows // 12, 1))


def network(reduction: str = REDUCTIONS[0], *, scale: float | None = None) -> keras.Model:
    with policy("mixed_float16"):
        inputs = keras.Input((10,))
        h = layers.Dense(32, activation="tanh", name="hidden")(inputs)
        model = keras.Model(inputs, layers.Dense(2, dtype="float32", name="out")(h))
    optimizer = keras.optimizers.SGD(2.0**-6)
    if scale is not None:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=scale)
    loss = keras.losses.MeanSquaredError(reduction=reduction)
    model.compile(optimizer, loss, auto_scale_loss=False)
    return model


def moment_of(step: Any, batch: Any) -> tuple[KeptMoment, StepRecord]:
    step.prepare(batch)
    step.run(batch)
    moment = KeptMoment(1, "last", step.snapshot(), batch)
    _, outcome = step.run(batch)
    step.restore(moment.state)
    return moment, StepRecord(1, outcome.loss, finite_gradients=all(outcome.finite))


def of_rows(trace: Trace, rows: int) -> list[float]:
    """Largest magnitudes of what the backward pass computes for each row."""
    return [
        site.statistics.max_abs
        for site in trace.sites
        if site.place.phase == "backward" and site.shape and site.shape[0] == rows
    ]


@pytest.mark.parametrize("scale", [None, 1024.0])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_a_part_has_the_gradients_of_the_whole(
    reduction: str, scale: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = network(reduction, scale=scale)
    step = load_backend().keras_step(model, lambda layer: None)
    moment, record = moment_of(step, data())
    whole = of_rows(step.trace(moment.state, moment.batch), ROWS)
    before = [np.asarray(variable) for variable in model.variables]
    tried = allow(monkeypatch, 12)
    with pytest.raises(OutOfMemoryError) as short:
        step.trace(moment.state, moment.batch)
    cut = fitting(step, moment, record, short.value)
    part = trace_part(step, moment, record, cut)
    assert (part.trace.rows, cut.rows) == ("rows 0 to 11 of 48", 12)
    assert tried == [48, 24, 12, 6, 12, 12]
    assert len(whole) > 5
    np.testing.assert_allclose(of_rows(part.trace, 12), whole, rtol=2e-4)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.variables, strict=True))


def test_the_mean_of_a_part_alone_has_larger_gradients() -> None:
    """What the seed is for: without it the law above does not hold."""
    step = load_backend().keras_step(network(), lambda layer: None)
    moment, _ = moment_of(step, data())
    part = step.picked(moment.batch, range(12))
    own, kept = (max(of_rows(step.seeded(s).trace(moment.state, part), 12)[-2:]) for s in (1, 0.25))
    assert own == pytest.approx(4 * kept, rel=1e-3)


def examined(monkeypatch: pytest.MonkeyPatch, rows: int | None) -> Diagnosis:
    """A batch in which one row overflows."""
    if rows is not None:
        allow(monkeypatch, rows)
    with policy("mixed_float16"):
        inputs = keras.Input((10,))
        h = layers.Dense(8, activation="relu", name="hidden")(inputs)
        h = layers.Lambda(lambda t: ops.square(t) / 400.0 / 400.0, name="squared")(h)
        model = keras.Model(inputs, layers.Dense(2, dtype="float32", name="out")(h))
    model.compile(keras.optimizers.SGD(2.0**-10), "mse")
    x, y = data(4 * ROWS)
    x[31::ROWS] = 1e3
    return floatline.diagnose(
        model, x, y, batch_size=ROWS, shuffle=False, epochs=8, budget=Budget(steps=30)
    )


def test_the_part_is_taken_that_shows_what_the_whole_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    free = examined(monkeypatch, None)
    short = examined(monkeypatch, 12)
    assert {trace.rows for trace in free.evidence.traces} == {None}
    assert {trace.rows for trace in short.evidence.traces} == {"rows 24 to 35 of 48"}
    assert all(trace.agrees for trace in short.evidence.traces)
    assert short.verdict == free.verdict == "precision"
    assert short.findings[0].rule == free.findings[0].rule
    assert short.findings[0].place is not None
    assert short.findings[0].place.layer == "squared"
    assert any("rows 24 to 35 of 48" in note for note in short.notes)


def test_a_diagnosis_without_room_for_float32_ends_undecided(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refuse_float32(monkeypatch, after=0)
    found = examined(monkeypatch, None)
    assert found.verdict in ("undecided", "precision")
    assert found.evidence.reference is None
    (note,) = (note for note in found.notes if "float32 did not fit into memory" in note)
    assert "RESOURCE_EXHAUSTED" in note or "OOM" in note or "out of memory" in note
    assert found.verdict != "undecided" or note in found.explanation
    assert found.evidence.traces


def test_float32_goes_as_far_as_memory_does(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_float32(monkeypatch, after=20)
    found = examined(monkeypatch, None)
    reference = found.evidence.reference
    assert reference is not None
    assert len(reference.steps) == 20
    assert (reference.perturbed, reference.rebuilt) == ((), ())
    assert reference.short is not None


@pytest.mark.parametrize("free", [0, None])
def test_the_host_is_asked_before_it_is_full(
    free: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = load_backend().keras_step(network(), lambda layer: None)
    moment, _ = moment_of(step, data())
    monkeypatch.setattr(memory, "free_host_bytes", lambda: free)
    monkeypatch.setattr(memory, "CHECKED_EVERY", 1)
    monkeypatch.setattr(memory.HostMemory, "__init__", reserving_a_byte)
    if free is None:
        assert step.trace(moment.state, moment.batch).sites
        return
    with pytest.raises(OutOfMemoryError, match="memory are needed, and 0 MiB are free"):
        step.trace(moment.state, moment.batch)


def reserving_a_byte(host: Any) -> None:
    host._reserve, host._unchecked = 1, 0
