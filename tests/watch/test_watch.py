"""A training under watch: the same weights, numbers in the logs, and silence while all is well."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from floatline.errors import InputError
from floatline.watch import session
from floatline.watch.callback import Watch
from tests.report.test_tensorboard import events
from tests.watch.samples import BATCH, data, everything, fit, model, same


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_training_is_bit_for_bit_what_it_is_without(policy: str, tmp_path: Path) -> None:
    x, y = data()
    x, y = x[:-5], y[:-5]  # The last batch is smaller.
    plain = model(policy)
    before = fit(plain, x, y).history
    watched = model(policy)
    after = fit(watched, x, y, Watch(tmp_path, every=7, read_every=3)).history
    assert same(everything(plain), everything(watched))
    assert {name: after[name] for name in before} == before


def test_train_on_batch_is_bit_for_bit_what_it_is_without(tmp_path: Path) -> None:
    def train(trained: keras.Model) -> list[Any]:
        x, y = data()
        keras.utils.set_random_seed(9)
        return [trained.train_on_batch(x[n : n + BATCH], y[n : n + BATCH]) for n in range(0, 96, 8)]

    plain, watched = model(), model()
    expected = train(plain)
    with Watch(tmp_path, every=3, read_every=2, log=tmp_path / "w.jsonl").watching(watched):
        found = train(watched)
    assert found == expected
    assert same(everything(plain), everything(watched))
    assert '"sample"' in (tmp_path / "w.jsonl").read_text()
    assert train(watched) == train(plain)


class OwnStep(keras.Model):  # type: ignore[misc]  # (Keras carries no types)
    """A model whose train step is its own, as far as one can be on every backend."""

    def train_step(self, *args: Any) -> Any:
        return super().train_step(*args)


def test_a_train_step_of_the_users_own_is_measured(tmp_path: Path) -> None:
    x, y = data()

    def made() -> keras.Model:
        keras.utils.set_random_seed(1)
        inputs = keras.Input((8,))
        own = OwnStep(inputs, keras.layers.Dense(1)(keras.layers.Dropout(0.5)(inputs)))
        own.compile("adam", "mse")
        return own

    plain, watched = made(), made()
    fit(plain, x, y)
    history = fit(watched, x, y, Watch(tmp_path, every=7)).history
    assert same(everything(plain), everything(watched))
    assert history["update_ratio"][-1] > 0


def test_its_numbers_are_in_the_logs_of_every_later_callback(tmp_path: Path) -> None:
    table = keras.callbacks.CSVLogger(str(tmp_path / "epochs.csv"))
    log = tmp_path / "watch.jsonl"
    history = fit(model("mixed_float16"), *data(), Watch(every=4, log=log), table).history
    names = {"loss_scale", "skipped_steps", "flushed", "update_ratio", "lost_updates", "headroom"}
    assert names <= set(history)
    assert names <= set((tmp_path / "epochs.csv").read_text().splitlines()[0].split(","))
    records = [json.loads(line) for line in log.read_text().splitlines()]
    assert {record["record"] for record in records} == {"reading", "sample"}
    last = [record for record in records if record["record"] == "sample"][-1]
    dtypes = {entry["layer"]: entry["dtype"] for entry in last["layers"]}
    assert set(dtypes.values()) == {"float16", "float32"}


def test_by_default_a_short_training_is_sampled_early() -> None:
    steps = data(60)
    assert "update_ratio" in fit(model(), *steps, Watch(), epochs=1).history
    assert "update_ratio" not in fit(model(), *steps, Watch(every=0), epochs=1).history


def test_tensorboard_has_the_same_numbers_as_the_log(tmp_path: Path) -> None:
    watches = [Watch(every=4, read_every=3, log=tmp_path / name) for name in ("board", "w.jsonl")]
    for watch in watches:
        keras.backend.clear_session()  # The layers of both models have the same names.
        fit(model("mixed_float16"), *data(), watch)
    scalars: dict[str, dict[int, float]] = {}
    for step, value in events(tmp_path / "board"):
        scalars.setdefault(value.tag, {})[step] = value.simple_value
    records = [json.loads(line) for line in (tmp_path / "w.jsonl").read_text().splitlines()]
    for kind, name in (("reading", "loss"), ("reading", "loss_scale"), ("sample", "update_ratio")):
        expected = {r["step"]: r[name] for r in records if r["record"] == kind and name in r}
        assert len(expected) >= 5
        assert scalars[f"floatline/{name}"] == pytest.approx(expected)
    sample = next(record for record in records if record["record"] == "sample")
    layer = sample["layers"][0]
    found = scalars[f"floatline/layers/{layer['layer']}/headroom"]
    assert found[sample["step"]] == pytest.approx(layer["headroom"])


def test_tensorboard_shows_a_failure_as_text(tmp_path: Path) -> None:
    watch = Watch(tmp_path, every=0, read_every=3, log=tmp_path / "board", diagnose=False)
    watch.tell = lambda _: None
    fit(model(), *data(spoiled=4), watch)
    texts = [v.tensor.string_val[0] for _, v in events(tmp_path / "board") if "failure" in v.tag]
    assert [text.startswith(b"The weights are not finite.") for text in texts] == [True]


def test_a_healthy_training_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    watch = Watch(every=5)
    trained = model()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        fit(trained, *data(), watch, epochs=8)
    assert list(tmp_path.iterdir()) == []
    assert (watch.failures, watch.drifts, watch.failed) == ((), (), False)
    assert not hasattr(trained.train_function, "tapped")


def test_an_error_of_the_watch_is_told_once_and_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("no measurement today")

    monkeypatch.setattr(session, "Sampler", broken)
    plain, watched = model(), model()
    fit(plain, *data())
    watch = Watch(tmp_path, every=3, read_every=4, log=tmp_path / "w.jsonl")
    told: list[str] = []
    watch.tell = told.append
    fit(watched, *data(), watch)
    assert len(told) == 1
    assert "no measurement today" in told[0]
    assert same(everything(plain), everything(watched))
    assert (tmp_path / "w.jsonl").read_text().count('"reading"') >= 7


def test_a_log_that_cannot_be_written_does_not_end_the_training(tmp_path: Path) -> None:
    watch = Watch(tmp_path, log=tmp_path / "missing" / "w.jsonl", read_every=4)
    told: list[str] = []
    watch.tell = told.append
    assert len(fit(model(), *data(), watch).history["loss"]) == 3
    assert len(told) == 1


def test_a_broken_off_training_is_watched_no_more(tmp_path: Path) -> None:
    class BreaksOff(keras.callbacks.Callback):  # type: ignore[misc]  # (Keras carries no types)
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if batch == 5:
                raise KeyboardInterrupt

    log = tmp_path / "w.jsonl"
    trained, watch = model(), Watch(tmp_path, read_every=2, log=log)
    with pytest.raises(KeyboardInterrupt):
        fit(trained, *data(), watch, BreaksOff())
    before = log.read_text()
    fit(trained, *data())
    assert log.read_text() == before
    fit(trained, *data(), watch)
    assert log.read_text() != before


@pytest.mark.parametrize(
    "arguments", [{"on_failure": "explode"}, {"read_every": 0}, {"every": -1}, {"log": "w.txt"}]
)
def test_bad_arguments_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Watch(**arguments)


def test_a_file_is_no_folder_for_failures(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(InputError, match="which is a file"):
        Watch(tmp_path / "taken")


def test_the_steps_of_a_generator_of_unknown_length_are_watched(tmp_path: Path) -> None:
    x, y = data()

    def batches() -> Any:
        while True:
            for n in range(0, len(x), BATCH):
                yield x[n : n + BATCH], y[n : n + BATCH]

    history = model().fit(
        batches(),
        steps_per_epoch=6,
        epochs=2,
        shuffle=False,
        verbose=0,
        callbacks=[Watch(tmp_path, every=4)],
    )
    assert np.isfinite(history.history["update_ratio"][-1])


def test_a_second_fit_compiles_nothing_anew(tmp_path: Path) -> None:
    trained = model()
    traced = 0
    step = trained.train_step

    def counted(*arguments: Any) -> Any:
        nonlocal traced
        traced += 1
        return step(*arguments)

    trained.train_step = counted
    fit(trained, *data(), Watch(tmp_path, every=3), epochs=1)
    first = traced
    fit(trained, *data(), Watch(tmp_path, every=3), epochs=1)
    # PyTorch compiles nothing: its step runs in each of 10 steps, and in 3 samples of them.
    assert traced - first == (13 if keras.backend.backend() == "torch" else 0)
