"""One training under watch, step by step: what is read, measured, kept and judged, and when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from floatline.backends.watch_interface import Logs, Training, WatchKernels
from floatline.errors import TraceError
from floatline.watch import summary
from floatline.watch.losses import loss_of
from floatline.watch.occasions import Occasions
from floatline.watch.past import Origin, Past, locate
from floatline.watch.reading import Begun, Reader
from floatline.watch.records import Drift, Reading, Sample, Symptom
from floatline.watch.sampling import Half, Sampler
from floatline.watch.scaling import ScaleReader
from floatline.watch.symptoms import symptom
from floatline.watch.trends import Trends
from floatline.watch.weights import Weights

READ = "read the training"


@dataclass(frozen=True, slots=True)
class Cadence:
    """How often the watch looks, in steps.

    Attributes:
        read: Steps between two readings of loss and loss scale.
        sample: Steps between two measured steps; 0 measures none, None as many as cost little.
        most_bytes: Bytes of batches to keep in memory.
    """

    read: int = 25
    sample: int | None = None
    most_bytes: int = 512 * 2**20


@dataclass(frozen=True, slots=True)
class Listeners:
    """Who is told of what."""

    read: Callable[[Reading], None]
    sampled: Callable[[Sample], None]
    drifts: Callable[[Drift], None]
    fails: Callable[[Symptom, Origin | None], None]
    breaks: Callable[[str, Exception], None]


class Session:
    """Watches one training of a model.

    A reading that is due is begun after its step and finished after the next one, so that the
    device has work while the host waits. Where no other step follows at once, whoever knows it
    calls `rest`.

    An error in what the watch does by itself is told once, and ends that part of it; the training
    never notices.

    Args:
        model: The model, built and compiled.
        kernels: The framework.
        cadence: How often it looks.
        listeners: Who is told.
        compiled: What was compiled for this train function before, and will be used again.
    """

    def __init__(
        self,
        model: Any,
        kernels: WatchKernels,
        cadence: Cadence,
        listeners: Listeners,
        compiled: dict[str, Any],
    ) -> None:
        self.steps = 0
        self.epoch = 0
        self.shown: dict[str, float] = {}
        self.readings: list[Reading] = []
        self.company = kernels.company(model)
        self._model = model
        self._kernels = kernels
        self._cadence = cadence
        self._listeners = listeners
        self._past = Past(model, kernels, cadence.most_bytes)
        self._scaling = ScaleReader(model.optimizer)
        self._compiled = compiled
        self._weights: Weights = compiled.setdefault("weights", Weights(model, kernels))
        self._reader = Reader(kernels, self._scaling, self._weights)
        self._begun: Begun | None = None
        self._trends = Trends(self._scaling.least)
        self._epoch_end: int | None = None
        self._final = False
        self._broken: set[str] = set()
        self._failed = False
        self._looks_at_weights = True
        self._next_read = cadence.read
        self._occasions = Occasions(cadence.sample)

    def advance(self, training: Training) -> Logs:
        """Takes the next step, and looks at it when it is time to."""
        if self.steps == 0:
            self._ours("keep the state", lambda: self._begin(training))
        if self._occasions.due(self.steps):
            self.catch_up(training)
            if not self._failed:
                return self._sampled_step(training)
        return self._step(training)

    def _step(self, training: Training) -> Logs:
        logs = training.step()
        taken = len(training.taken) or int(self._model.steps_per_execution)
        self.steps += taken
        self._ours("keep batches", lambda: self._past.add(training.taken))
        self.catch_up(training)
        ends = self.steps == self._epoch_end
        if self.steps >= self._next_read or (ends and self._final) or self._past.crowded:
            self._next_read = self.steps + self._cadence.read
            self._begun = self._ours(READ, lambda: self._reading(training, logs))
            if self._begun is None:
                self._occasions.read(self.steps)
            elif ends or self._past.heavy or self._occasions.waits(self.steps):
                self.catch_up(training)
        return logs

    def rest(self, function: Any) -> None:
        """Catches up while no step is taken and the model holds its own values.

        Args:
            function: Its train function.
        """
        if self._begun is not None:
            self._ours(READ, lambda: self.catch_up(self._kernels.resting(self._model, function)))

    def catch_up(self, training: Training) -> None:
        """Finishes the reading that was begun, if there is one.

        Args:
            training: The training at this moment.
        """
        begun, self._begun = self._begun, None
        if begun is not None:
            self._ours(READ, lambda: self._look(begun, training))
            self._occasions.read(begun.step)

    def begin_epoch(self, epoch: int, steps: int | None = None, *, final: bool = False) -> None:
        """Says that the means in the logs begin anew.

        Args:
            epoch: From 0.
            steps: How many steps it has, where that is known.
            final: Whether it is the last one, whose end is read.
        """
        self.epoch = epoch
        self._reader.begin_epoch(epoch, self.steps)
        self._epoch_end = None if steps is None else self.steps + steps
        self._final = final

    def read_scale(self) -> dict[str, float]:
        """The numbers for the logs of an epoch; the model's own values are back in it by then."""
        self._ours("read the loss scale", self._read_scale)
        return self.shown

    def _read_scale(self) -> None:
        scaling = self._scaling.read(lambda variables: [v.value for v in variables], self.steps)
        self.shown |= summary.of_reading(Reading(self.steps, self.epoch, None, scaling))

    def _ours(self, what: str, act: Callable[[], Any]) -> Any:
        if what in self._broken:
            return None
        try:
            return act()
        except Exception as error:  # noqa: BLE001 (a watch never breaks a training)
            self._broken.add(what)
            self._listeners.breaks(what, error)
            return None

    def _begin(self, training: Training) -> None:
        self._scaling.read(training.values, 0)
        # Weights that are not finite from the beginning may be meant to be.
        self._looks_at_weights = self._weights.first_bad(training) is None
        if self._looks_at_weights:
            self._past.begin(training, 0)

    # Readings. ---------------------------------------------------------------------------------

    def _reading(self, training: Training, logs: Logs) -> Begun:
        begins = self._past.full
        if begins:
            self._past.mark(training, self.steps)
        weights = begins and self._looks_at_weights
        return self._reader.begin(training, logs, self.steps, weights=weights)

    def _look(self, begun: Begun, training: Training) -> None:
        reading = self._reader.finish(begun)
        self.readings.append(reading)
        self.shown |= summary.of_reading(reading)
        self._listeners.read(reading)
        found = symptom(self.readings)
        if found is None:
            self._failed = False
            self._past.confirm()
        elif self._failed:  # Told once, until it is over.
            self._past.forget()
        else:
            self._failed = True
            self._fail(self._seen_closer(found, training), training)

    def _seen_closer(self, found: Symptom, training: Training) -> Symptom:
        """What is suspicious may be so because of weights that nobody has looked at."""
        bad = self._weights.first_bad(training) if self._looks_at_weights else None
        return symptom([replace(self.readings[-1], bad_weight=bad)]) or found

    def _fail(self, found: Symptom, training: Training) -> None:
        origin = self._ours("find the failing step", lambda: self._origin(found, training))
        if origin is not None and origin.culprit is not None:
            found = replace(found, message=f"{found.message} {_blamed(origin)}")
        self._past.forget()
        self._listeners.fails(found, origin)

    def _origin(self, found: Symptom, training: Training) -> Origin | None:
        if found.kind == "stalled-scale" and self._stands_still(training):
            return self._past.present(training, self.steps)
        origin = self._past.origin()
        if origin is None or found.kind != "non-finite" or self.company.hindrance:
            return origin
        first_bad = self._weights.first_bad
        return locate(origin, self._model, training, self._kernels, first_bad, loss_of)

    def _stands_still(self, training: Training) -> bool:
        """Whether every step since the latest reading was skipped, too."""
        then, now = self.readings[-1], self._scaling.read(training.values, self.steps)
        if now is None or then.scaling is None:
            return False
        return now.consecutive - then.scaling.consecutive == self.steps - then.step

    # Samples. ----------------------------------------------------------------------------------

    def _sampled_step(self, training: Training) -> Logs:
        self._occasions.begin(self.steps)
        compiles = "sampler" not in self._compiled
        training.take()
        half = self._ours("measure a step", lambda: self._half(training))
        logs = self._step(training)
        self.catch_up(training)  # Before the sample, which waits for the device anyway.
        if half is not None:
            self._ours("measure a step", lambda: self._sampled(half, training))
        self._occasions.end(typical=half is not None and not compiles)
        return logs

    def _half(self, training: Training) -> Half | None:
        if self.company.hindrance:
            raise TraceError(
                f"No step can be taken a second time: {self.company.hindrance}.",
                "Loss, loss scale and weights are watched; Watch(every=0) asks for no more.",
            )
        if not training.taken:
            return None
        if "sampler" not in self._compiled:
            self._compiled["sampler"] = Sampler(self._model, self._kernels)
        sampler: Sampler = self._compiled["sampler"]
        return sampler.begin(training, self._scaling.scale(training.values))

    def _sampled(self, half: Half, training: Training) -> None:
        sample = self._compiled["sampler"].end(half, training, self.steps)
        self.shown |= summary.of_sample(sample)
        self._listeners.sampled(sample)
        for warning in self._trends.after(sample):
            self._listeners.drifts(warning)


def _blamed(origin: Origin) -> str:
    return f"Step {origin.step} (from 0) is the first after which {origin.culprit} is not finite."
