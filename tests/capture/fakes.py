"""Stand-ins for a backend: steps whose outcomes are told beforehand."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from floatline.backends.interface import (
    Batch,
    CallHandler,
    LayerSource,
    Notes,
    Outcome,
    Replay,
    State,
    Step,
)
from floatline.backends.shelf import Shelf
from floatline.errors import TraceError
from floatline.traces import Place, Site, Statistics, Trace

GOOD = Outcome(loss=1.0, finite=(True, True), variables=("a", "b"), loss_scale=32768.0)
SKIPPED = Outcome(
    loss=1.0, finite=(True, False), variables=("a", "b"), loss_scale=32768.0, applied=False
)
SPOILT = Outcome(loss=1.0, finite=(True, False), variables=("a", "b"))
LOST = Outcome(loss=float("nan"), finite=(True, True), variables=("a", "b"))


def ended(result: Any) -> None:
    """Raises what a step raised, as an examination does when no number explains it."""
    error = getattr(result, "error", None)
    if error is not None:
        raise error


class FakeStep:
    """A step whose state is the number of steps run; good once the told outcomes are used up."""

    def __init__(
        self, outcomes: Iterable[Outcome | BaseException] = (), dtype: str | None = None
    ) -> None:
        self._outcomes = iter(outcomes)
        self._dtype = dtype
        self.state = 0
        self.ran: list[Batch] = []

    def prepare(self, batch: Batch) -> None:
        del batch

    def run(self, batch: Batch) -> tuple[Any, Outcome]:
        outcome = next(self._outcomes, GOOD)
        if isinstance(outcome, BaseException):
            raise outcome
        self.state += 1
        self.ran.append(batch)
        return {"loss": outcome.loss}, outcome

    def remembered(self, batch: Batch) -> Batch:
        return batch

    def keep_states_on(self, shelf: Shelf) -> None:
        raise NotImplementedError

    def state_bytes(self) -> int:
        return 0

    def snapshot(self) -> State:
        return self.state

    def restore(self, state: State) -> None:
        self.state = state

    def trace(self, state: State, batch: Batch) -> Trace:
        if self._dtype is None:
            raise TraceError("This step cannot be traced.", "Trace another.")
        place = Place(None, "Dense", "matmul", "forward")
        sites = (Site(0, place, "value", self._dtype, (), (), Statistics(1)),)
        return Trace(step=0, moment="first", sites=sites)

    def rows(self, batch: Batch) -> int | None:
        raise NotImplementedError

    def picked(self, batch: Batch, rows: Sequence[int]) -> Batch:
        raise NotImplementedError

    def seeded(self, seed: float) -> Step:
        raise NotImplementedError

    def float32(self, state: State, *, rounded: bool = False, rebuilt: bool = False) -> Replay:
        raise NotImplementedError


class FakeBackend:
    """A backend without a framework: its steps change nothing."""

    name = "fake"

    def __init__(
        self, outcomes: Iterable[Outcome | BaseException] = (), dtype: str | None = None
    ) -> None:
        self.step = FakeStep(outcomes, dtype)
        self.functions: list[Callable[..., Any]] = []

    def framework(self) -> str:
        return "fake 1.0"

    def device(self) -> str:
        return "nowhere"

    def free_bytes(self) -> int | None:
        return None

    def keras_step(self, model: Any, layer_source: LayerSource) -> FakeStep:
        return self.step

    def function_step(self, function: Callable[..., Any], layer_source: LayerSource) -> FakeStep:
        self.functions.append(function)
        return self.step

    @contextlib.contextmanager
    def intercept(self, model: Any, advance: Callable[[Batch], Any]) -> Iterator[None]:
        before = model.train_function
        model.train_function = lambda batches: advance(next(batches))
        try:
            yield
        finally:
            model.train_function = before

    @contextlib.contextmanager
    def find_steps(self, handler: CallHandler) -> Iterator[Notes]:
        yield tuple

    @contextlib.contextmanager
    def preserve_random_state(self) -> Iterator[None]:
        yield
