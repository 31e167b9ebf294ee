"""A training that a script has begun and that is recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from floatline.capture.capture import Capture
from floatline.capture.recording import Recording
from floatline.records import Configuration


@dataclass(frozen=True, slots=True)
class Watched:
    """A training under watch.

    Attributes:
        recording: What is seen of it.
        key: What is equal for all calls of it: a model, or that of a mark.
        describe: Describes how it is set up.
        function: The step function, where it is one.
        gives_way: Whether a training in half precision is to be watched in its stead.
    """

    recording: Recording
    key: object
    describe: Callable[[], Configuration]
    function: Callable[..., Any] | None = None
    gives_way: bool = False

    def capture(self) -> Capture:
        """What was captured, once everything is put back."""
        self.recording.close()
        return self.recording.capture(self.describe())
