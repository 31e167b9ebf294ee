"""A training that a script has begun and that is recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from floatline.backends.interface import Backend
from floatline.capture import configuration
from floatline.capture.capture import Budget, Capture
from floatline.capture.function import unmarked
from floatline.capture.model import check_model
from floatline.capture.recording import Recording
from floatline.marks import AsideStep, MarkedStep
from floatline.progress import Progress
from floatline.records import Configuration, SourceLine
from floatline.user_lines import LayerSources


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


@dataclass(frozen=True, slots=True)
class Watching:
    """What every training of a script is watched with.

    Attributes:
        backend: The framework.
        budget: How long to watch.
        progress: Told of every step.
        sources: The user's lines that made layers.
    """

    backend: Backend
    budget: Budget
    progress: Progress
    sources: LayerSources


def model_under_watch(
    watching: Watching, model: Any, *, entry: str, source: SourceLine | None, gives_way: bool
) -> Watched:
    """A Keras model whose batches come through an entry of its own, not watched yet.

    Raises:
        FloatlineError: It is no model that can be trained.
    """
    check_model(model)
    recording = Recording(
        watching.backend,
        lambda: watching.backend.keras_step(model, watching.sources),
        budget=watching.budget,
        progress=watching.progress,
        model=model,
        gives_way=gives_way,
    )

    def describe() -> Configuration:
        return configuration.of_model(
            model, entry=entry, source=source, layer_source=watching.sources
        )

    return Watched(recording, model, describe, gives_way=gives_way)


def function_under_watch(
    watching: Watching,
    mark: MarkedStep[Any, Any],
    args: tuple[Any, ...],
    *,
    source: SourceLine | None,
) -> Watched:
    """A step that the script has marked, or that was found in it, not watched yet."""
    function, gives_way = unmarked(mark), isinstance(mark, AsideStep)
    held = getattr(mark.owner, "__dict__", {}).values()
    known = configuration.known_objects(mark.written, (*args, *held))
    recording = Recording(
        watching.backend,
        lambda: watching.backend.function_step(function, watching.sources),
        budget=watching.budget,
        progress=watching.progress,
        owners=known,
        gives_way=gives_way,
    )

    def describe() -> Configuration:
        return configuration.of_function(
            function, known, source=source, layer_source=watching.sources
        )

    return Watched(recording, mark.key, describe, function, gives_way)
