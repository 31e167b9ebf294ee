"""Examines patients one after the other in this process and compares with what is true."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass

import keras

from floatline.pipeline import diagnose_script
from floatline.records import Diagnosis, Finding
from tests.patients.truth import Truth


@dataclass(frozen=True, slots=True)
class Examination:
    """A diagnosis beside the truth.

    Attributes:
        truth: What is true.
        diagnosis: What Floatline says.
        seconds: How long it took.
    """

    truth: Truth
    diagnosis: Diagnosis
    seconds: float

    @property
    def first(self) -> Finding | None:
        """The first finding that is a failure."""
        failures = (f for f in self.diagnosis.findings if f.severity == "failure")
        return next(failures, None)

    @property
    def line(self) -> int | None:
        """The line of the script that the first finding names."""
        place = self.first.place if self.first else None
        return place.source.line if place and place.source else None

    @property
    def layer(self) -> str:
        """The layer that the first finding names, or nothing."""
        place = self.first.place if self.first else None
        return (place.layer if place else None) or ""

    @property
    def errors(self) -> list[str]:
        """What is wrong with the diagnosis, by name: verdict, cause, phase, layer, line."""
        truth, first = self.truth, self.first
        wrong = [] if self.diagnosis.verdict == truth.verdict else ["verdict"]
        if not truth.causes:
            return wrong if first is None else [*wrong, "cause"]
        if first is None:
            return [*wrong, "cause"]
        if first.cause not in truth.causes:
            wrong.append("cause")
        if truth.phases and first.phase not in truth.phases:
            wrong.append("phase")
        if truth.layers and self.layer not in truth.layers:
            wrong.append("layer")
        if truth.lines and self.line not in truth.lines:
            wrong.append("line")
        return wrong


def examine(truth: Truth) -> Examination:
    """Diagnoses one patient; what its script left in Keras is cleared away before and after."""
    clear()
    started = time.monotonic()
    try:
        diagnosis = diagnose_script(str(truth.path))
        here = truth.on(keras.backend.backend())
        return Examination(here, diagnosis, time.monotonic() - started)
    finally:
        clear()


def clear() -> None:
    """Forgets what a script has left in Keras."""
    keras.backend.clear_session()
    keras.config.set_dtype_policy("float32")
    gc.collect()
