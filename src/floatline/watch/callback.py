"""`floatline.Watch`: the callback that shows, warns, keeps what failed and says why."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras

from floatline.backends.watch_interface import Company, Logs, Training
from floatline.errors import EXIT_FOUND, FloatlineError, InputError
from floatline.records import Diagnosis
from floatline.scaling import checks
from floatline.scaling.guard import scales_loss
from floatline.watch import summary, words
from floatline.watch.journal import Nowhere, journal
from floatline.watch.keeping import Bounds, check_directory, keep_failure
from floatline.watch.kernels import load_watch
from floatline.watch.past import Origin
from floatline.watch.records import Drift, Mode, Reading, Sample, Symptom
from floatline.watch.session import Cadence, Listeners, Session
from floatline.watch.settings import DIRECTORY, Source

MODES: tuple[Mode, ...] = ("stop", "continue")


class TrainingFailedError(FloatlineError):
    """A training by `train_on_batch` has failed, and the watch was asked to stop it."""

    exit_code = EXIT_FOUND


class Watch(keras.callbacks.Callback):  # type: ignore[misc]  # (Keras carries no types)
    """Keeps watch on a training: shows its numbers, warns early, keeps and diagnoses failures.

    To the logs of `fit` it adds `loss_scale` and `skipped_steps`, and once a step was sampled
    `flushed`, `update_ratio`, `lost_updates` and `headroom`; so the progress bar, `CSVLogger`,
    `TensorBoard` and every other logger have them. Weights are bit for bit what they would be
    without it.

    Args:
        directory: Where failures are kept; made when the first one is.
        log: A file that every reading, sample and warning is added to, `.jsonl` or `.csv`; or a
            folder for TensorBoard.
        every: Steps between two samples; 0 takes none. By default the first one is taken early, and
            then as many as 0.4 % of the time allows: `floatline.watch.pace`.
        read_every: Steps between two looks at loss and loss scale.
        on_failure: `"stop"` ends the training, `"continue"` lets it go on.
        diagnose: Whether a failure is diagnosed as soon as it is kept.
        most_failures: How many failures are kept; a training keeps its first ones, and the oldest
            of others make room.
        most_bytes: How many bytes they may take together.
        batch_bytes: Bytes of recent batches that are held in memory to find the failing step.

    Raises:
        InputError: An argument is none of the allowed ones.

    Example:

    >>> import numpy as np
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> x = np.ones((64, 4), "float32")
    >>> watch = Watch(every=4)
    >>> history = model.fit(x, x[:, :1], epochs=3, batch_size=8, verbose=0, callbacks=[watch])
    >>> sorted(set(history.history) - {"loss"})
    ['headroom', 'lost_updates', 'update_ratio']
    >>> watch.failures
    ()
    """

    def __init__(
        self,
        directory: str | Path = DIRECTORY,
        *,
        log: str | Path | None = None,
        every: int | None = None,
        read_every: int = 25,
        on_failure: Mode = "stop",
        diagnose: bool = True,
        most_failures: int = 5,
        most_bytes: int = 4 * 2**30,
        batch_bytes: int = 512 * 2**20,
    ) -> None:
        super().__init__()
        if on_failure not in MODES:
            raise InputError(
                f"Watch received on_failure={on_failure!r}.", f"Use one of {', '.join(MODES)}."
            )
        if every:
            checks.check_count("every", every, "Watch")
        checks.check_count("read_every", read_every, "Watch")
        checks.check_count("most_failures", most_failures, "Watch")
        self.directory = check_directory(directory)
        self.on_failure = on_failure
        self.diagnose = diagnose
        self.failures: tuple[Path, ...] = ()
        self.diagnoses: tuple[Diagnosis, ...] = ()
        self.drifts: tuple[Drift, ...] = ()
        self.source = Source()
        self.tell: Callable[[str], None] = _warn
        self._cadence = Cadence(read_every, every, batch_bytes)
        self._bounds = Bounds(most_failures, most_bytes)
        self._journal = journal(log)
        self._given_up = False
        self._session: Session | None = None
        self._tap: Any = None
        self._armed = False
        self._undiagnosed: list[Path] = []
        self._last: Symptom | None = None

    @property
    def failed(self) -> bool:
        """Whether a training has failed under this watch."""
        return self._last is not None

    # What Keras calls. -------------------------------------------------------------------------

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Begins to watch."""
        del logs
        self._leave(self._watched)  # Of a training that was broken off.
        self._given_up = False
        self._enter(self._watched)

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Counts the epoch."""
        del logs
        self._enter(self._watched)
        if self._session is not None:
            params = self.params or {}
            final = epoch + 1 == params.get("epochs")
            self._session.begin_epoch(epoch, params.get("steps"), final=final)

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Stands in front of the train function, should another one have taken its place."""
        del batch, logs
        if self._watched.train_function is not self._tap or self._tap is None:
            self._enter(self._watched)
        self._armed = True

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Adds to the logs; diagnoses what has failed."""
        del epoch
        session = self._session
        if session is not None:
            session.rest(_own(self._tap))
            shown = session.read_scale()
            # The monitor of Floatline's own optimizer has counted the epoch already.
            counted = ("loss_scale", "skipped_steps") if scales_loss(self._watched) else ()
            if logs is not None:
                logs.update({n: v for n, v in shown.items() if n not in counted or n not in logs})
        self._settle(self._watched)

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Ends the watch."""
        del logs
        self._settle(self._watched)
        self._leave(self._watched)
        self._journal.close()

    # Loops that call `train_on_batch`. ---------------------------------------------------------

    @contextlib.contextmanager
    def watching(self, model: keras.Model) -> Iterator[Watch]:
        """While active, watches every `train_on_batch` of a model.

        Args:
            model: A compiled model.

        Raises:
            TrainingFailedError: From `train_on_batch`, when the training has failed and
                `on_failure` is `"stop"`.
        """
        original = model.train_on_batch
        object.__setattr__(
            model, "train_on_batch", lambda *a, **k: self.step_of(model, lambda: original(*a, **k))
        )
        try:
            yield self
        finally:
            object.__delattr__(model, "train_on_batch")
            self._leave(model)
            self._journal.close()

    def step_of(self, model: keras.Model, call: Callable[[], Any]) -> Any:
        """Runs one call of `train_on_batch` under watch."""
        make = model.make_train_function

        def make_and_enter(force: bool = False) -> Any:
            made = make(force)
            self._enter(model)
            if self._session is not None:
                self._session.begin_epoch(0)  # Each call resets the means.
            return made

        self._armed = True
        before = self._last
        object.__setattr__(model, "make_train_function", make_and_enter)
        try:
            returned = call()
        finally:
            object.__delattr__(model, "make_train_function")
        if self._session is not None:
            self._session.rest(_own(self._tap))
        self._settle(model)
        failed = self._last
        if failed is not None and failed is not before and self._stops:
            raise TrainingFailedError(self._announcement(failed), "")
        return returned

    # How it watches. ---------------------------------------------------------------------------

    @property
    def _watched(self) -> Any:
        """The model, without the synchronization that `self.model` costs on JAX."""
        return getattr(self._model, "module", self._model)

    def _enter(self, model: Any) -> None:
        """Stands in front of the train function as soon as the model has its variables."""
        function = model.train_function
        if function is None or function is self._tap or self._given_up:
            return
        try:
            self._stand_in(model, function)
        except Exception as error:  # noqa: BLE001 (a watch never breaks a training)
            self._given_up = True
            self._breaks("begin", error)

    def _stand_in(self, model: Any, function: Any) -> None:
        if self._session is None:
            if not _built(model):
                return
            self._session = self._made_session(model, _compiled_for(_own(function)))
        tapped = load_watch().tapped(model, _own(function), self._advance)
        tapped.tapped = _own(function)
        self._tap = model.train_function = tapped

    def _leave(self, model: Any) -> None:
        if self._tap is not None and model.train_function is self._tap:
            model.train_function = self._tap.tapped
        self._tap = self._session = None

    def _advance(self, training: Training) -> Logs:
        armed, self._armed = self._armed, False
        session = self._session
        if session is None or not armed:  # Left behind by a training that was broken off.
            return training.step()
        logs = session.advance(training)
        # What `train_on_batch` returns is the user's own affair; only `fit` has these parameters.
        if "epochs" not in (self.params or {}) or not isinstance(logs, dict):
            return logs
        # With other names in the logs of a step, Keras shows its losses of one replica.
        return logs if session.company.hindrance else {**logs, **session.shown}

    def _made_session(self, model: Any, compiled: dict[str, Any]) -> Session:
        listeners = Listeners(
            self._read,
            self._sampled,
            self._drifts,
            lambda found, origin: self._fails(model, found, origin),
            self._breaks,
        )
        return Session(model, load_watch(), self._cadence, listeners, compiled)

    def _breaks(self, what: str, error: Exception) -> None:
        kind = "" if isinstance(error, FloatlineError) else f"{type(error).__name__}: "
        text = f"{kind}{error}".splitlines()[0]
        self._say(f"The watch could not {what}, and does not try again: {text}")

    @property
    def _company(self) -> Company:
        return Company() if self._session is None else self._session.company

    @property
    def _stops(self) -> bool:
        """Whether a failure ends the training: not while others wait for this process."""
        return self.on_failure == "stop" and not self._company.others

    def _say(self, message: str) -> None:
        if self._company.first:
            self.tell(message)

    # What it does with what it sees. -----------------------------------------------------------

    def _read(self, reading: Reading) -> None:
        numbers = {"step": reading.step, "epoch": reading.epoch, "loss": reading.loss}
        culprit = reading.scaling.culprit if reading.scaling else None
        told = {"culprit": culprit, "bad_weight": reading.bad_weight}
        self._write({"record": "reading", **numbers, **summary.of_reading(reading), **told})

    def _sampled(self, sample: Sample) -> None:
        numbers = {"step": sample.step, **summary.of_sample(sample), "boost": sample.boost}
        self._write({"record": "sample", **numbers, "layers": summary.layers(sample)})

    def _drifts(self, found: Drift) -> None:
        self.drifts = (*self.drifts, found)
        message = words.drift(found)
        self._write({**summary.record("warning", found), "message": message})
        self._say(f"At step {found.step}: {message}")

    def _fails(self, model: Any, found: Symptom, origin: Origin | None) -> None:
        assert self._session is not None
        self._last = found
        if self._stops:
            model.stop_training = True
        self._write(summary.record("failure", found))
        path = self._kept(model, found, origin)
        if path is not None:
            self.failures = (*self.failures, path)
            self._undiagnosed.append(path)
        self._say(self._announcement(found))

    def _kept(self, model: Any, found: Symptom, origin: Origin | None) -> Path | None:
        session = self._session
        if origin is None or session is None or len(self.failures) >= self._bounds.most:
            return None
        if not session.company.first:
            return None
        try:
            return keep_failure(
                self.directory,
                model,
                found,
                origin,
                session.readings,
                source=self.source,
                bounds=self._bounds,
            )
        except Exception as error:  # noqa: BLE001 (whatever a disk or a class of the user's raises)
            self._say(f"The failure could not be kept: {error}")
            return None

    def _announcement(self, found: Symptom) -> str:
        return words.failure(found, self.failures, self._company, self.on_failure)

    def _settle(self, model: Any) -> None:
        """Diagnoses what was kept, now that the model is free."""
        waiting, self._undiagnosed = self._undiagnosed, []
        # A diagnosis takes steps, which nobody else would take with it.
        if not self.diagnose or self._company.hindrance:
            return
        from floatline.watch.diagnosing import diagnose_failure

        for path in waiting:
            try:
                diagnosis = diagnose_failure(path, model)
            except Exception as error:  # noqa: BLE001 (a watch never breaks a training)
                self.tell(f"The failure could not be diagnosed: {error}")
                continue
            self.diagnoses = (*self.diagnoses, diagnosis)
            self.tell(words.verdict(diagnosis, path))

    def _write(self, record: Mapping[str, Any]) -> None:
        if not self._company.first:
            return
        try:
            self._journal.write(record)
        except (OSError, InputError) as error:
            self._journal = Nowhere()
            self._breaks("write its log", error)


def _own(function: Any) -> Any:
    """Keras' train function, below what a watch has put in front of it."""
    return getattr(function, "tapped", function)


def _compiled_for(function: Any) -> dict[str, Any]:
    """What was compiled to watch this train function; Keras makes a new one when the model changes.

    Without it every call of `fit` would compile anew.
    """
    compiled: dict[str, Any] = vars(function).setdefault("compiled_to_watch", {})
    return compiled


def _built(model: Any) -> bool:
    """Whether all variables of a training are there; makes those of the optimizer, if it can."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None or not model.built:
        return False
    if not optimizer.built:  # Keras' own train step would do it, too late to keep its state.
        optimizer.build(model.trainable_variables)
    return True


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=2)
