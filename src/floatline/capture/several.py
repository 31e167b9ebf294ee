"""Scripts that train several times: one that shows no fault does not answer for the next."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from floatline.capture.capture import PATIENT_SECONDS, Capture
from floatline.capture.later import trains_again

T = TypeVar("T")


class Several(Generic[T]):
    """Keeps what the trainings of a script have shown that settled nothing.

    Args:
        settles: Whether a result is the answer, whatever is trained after it.
        clock: Seconds that only grow.
    """

    def __init__(
        self, settles: Callable[[T], bool], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settles = settles
        self._clock = clock
        self._seen: list[T] = []
        self._seconds = 0.0

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        """While active, a training is captured and examined."""
        began = self._clock()
        try:
            yield
        finally:
            self._seconds += self._clock() - began

    def goes_on(self, capture: Capture, results: list[T], data: Any) -> bool:
        """Whether the script may go on behind a `fit`; then its result is taken out of `results`.

        Not where the watch ended the training, or its data cannot be read again; nor when all of
        this has taken long: a search over a hundred models is not run for a diagnosis.

        Args:
            capture: What was captured of the `fit`.
            results: What came of it, as the only element.
            data: What was given to the `fit` as `x`.
        """
        ended = capture.history.stopped == "end of training" and not isinstance(data, Iterator)
        if self._seconds > PATIENT_SECONDS or not ended or self._settles(results[0]):
            return False
        if not trains_again():
            return False
        self._seen.append(results.pop())
        return True

    def chosen(self, results: list[T]) -> tuple[T, ...]:
        """What the last training has shown, of which `notes` tell that those before are clear."""
        return tuple(results[:1] or self._seen[-1:])

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know of the trainings before."""
        if not self._seen:
            return ()
        before = (
            f"{len(self._seen)} trainings before it" if len(self._seen) > 1 else "the one before it"
        )
        return (f"This is training {len(self._seen) + 1} of the script; {before} showed no fault.",)
