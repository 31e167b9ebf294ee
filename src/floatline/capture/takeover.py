"""Takes over inside a running script at its training calls, the first one first."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, NoReturn, TypeVar

import keras

from floatline.backends.interface import Backend, Batch, Notes, StepKind
from floatline.capture.capture import Budget, Capture
from floatline.capture.cells import lent_variables
from floatline.capture.failures import training_error
from floatline.capture.function import batch_of_call
from floatline.capture.later import computes_in_half, gives_way, names_half
from floatline.capture.model import capture_fit
from floatline.capture.script_errors import other_framework, unmarked_loop
from floatline.capture.several import Several
from floatline.capture.watch import BudgetSpent
from floatline.capture.watched import (
    Watched,
    Watching,
    function_under_watch,
    model_under_watch,
)
from floatline.errors import BackendError, FloatlineError
from floatline.marks import AsideCompiled, AsideStep, FoundStep, MarkedStep
from floatline.patches import wrapped
from floatline.progress import Progress
from floatline.user_lines import LayerSources, user_line

T = TypeVar("T")


class Unwind(BaseException):
    """Leaves the script once its training is examined; no handler of the script's stops it."""


class Takeover(Generic[T]):
    """Stands between a script and Keras until a training of the script was examined.

    While it waits, the first `fit` is captured in place; the first `train_on_batch` or marked step
    opens a recording that grows with each call, until the budget is spent or the script ends. So
    does a `fit` in float32 of a script that names half precision, in case a later one is in that.
    While it is busy (capturing or examining) and once it is done, it lets calls pass or unwinds.
    A `fit` that ended by itself and settles nothing runs again as it is, and the next is captured.

    Args:
        load_backend: Gives the backend that Keras runs on.
        budget: How long to watch.
        progress: Told of every step.
        examine: Looks at the capture while the script is still alive.
        settles: Whether a result is the answer, whatever the script may train after it.
    """

    def __init__(
        self,
        *,
        load_backend: Callable[[], Backend],
        budget: Budget,
        progress: Progress,
        examine: Callable[[Capture], T],
        settles: Callable[[T], bool] = lambda _: True,
    ) -> None:
        self._load_backend = load_backend
        self._budget = budget
        self._progress = progress
        self._examine = examine
        self._several = Several(settles)
        self._sources = LayerSources()
        self._busy = False
        self._results: list[T] = []
        self._error: BaseException | None = None
        self._watched: Watched | None = None
        self._step_error: BaseException | None = None
        self._notes: list[str] = []
        self._backend_notes: Notes = tuple
        self._left = contextlib.ExitStack()

    def installed(self) -> contextlib.ExitStack:
        """Wraps Keras' entries to training; the stack that is returned unwraps them."""
        with contextlib.ExitStack() as stack:
            optimizer = keras.optimizers.Optimizer
            stack.enter_context(wrapped(keras.Model, "fit", self._on_fit))
            stack.enter_context(wrapped(keras.Model, "train_on_batch", self._on_train_on_batch))
            stack.enter_context(wrapped(optimizer, "apply", self._on_apply))
            stack.enter_context(wrapped(optimizer, "apply_gradients", self._on_apply))
            stack.enter_context(wrapped(keras.Layer, "__new__", self._on_new_layer))
            with contextlib.suppress(BackendError):  # Reported when training really begins.
                finding = self._load_backend().find_steps(self.on_compiled_call)
                self._backend_notes = stack.enter_context(finding)
            return stack.pop_all()

    def conclude(self, error: BaseException | None) -> tuple[T, ...]:
        """The result, when the script has ended with `error` or by itself.

        Returns:
            What `examine` returned; nothing when the script never trained.

        Raises:
            TrainingError: The training call itself raised.
            KeyboardInterrupt: The user wants to stop.
        """
        with self._left:
            if self._error is None and not self._results and self._watched is not None:
                self._finish(self._watched, error)
        if self._error is None and isinstance(error, KeyboardInterrupt) and not self._results:
            self._error = error
        if self._error is not None:
            raise self._error
        return self._several.chosen(self._results)

    @property
    def waiting(self) -> bool:
        """Whether no training call has come yet."""
        return not (self._busy or self.done or self._watched is not None)

    @property
    def has_layers(self) -> bool:
        """Whether the script has made a layer of Keras'."""
        return self._sources.known

    @property
    def done(self) -> bool:
        """Whether the script is being left."""
        return bool(self._results) or self._error is not None

    # What the script calls. ----------------------------------------------------------------

    def _on_fit(self, original: Callable[..., Any], model: Any, *args: Any, **kwargs: Any) -> Any:
        self._prefer(model)
        if not self.waiting:
            return self._later_call(original, model, args, kwargs)
        if gives_way(model):
            return self._aside_fit(original, model, args, kwargs)
        taken: list[Capture] = []

        def take() -> Capture:
            taken.append(self._capture_fit(original, model, args, kwargs))
            return taken[0]

        with self._several.timed():
            self._in_place(take)
        data = args[0] if args else kwargs.get("x")
        if self._error is not None or not self._several.goes_on(taken[0], self._results, data):
            raise Unwind
        with self._being_busy():
            return original(model, *args, **kwargs)

    def _prefer(self, model: Any) -> None:
        """Leaves what gives way for a model in half precision."""
        if self._aside and not self._busy and computes_in_half(model):
            self._begin_again()

    def _aside_fit(
        self, original: Callable[..., Any], model: Any, args: tuple[Any, ...], kwargs: Any
    ) -> Any:
        """Runs a `fit` as it is, and watches its first steps in case that none is preferred."""
        self._record_model(model, "fit", gives_way=True)
        try:
            with self._being_busy():
                return self._watched_call(lambda: original(model, *args, **kwargs))
        finally:
            if self._watched is not None:
                self._watched.recording.leave()

    def _capture_fit(
        self,
        original: Callable[..., Any],
        model: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> Capture:
        try:
            bound = inspect.signature(original).bind(model, *args, **kwargs)
        except TypeError as error:
            raise training_error(error, "The call of `fit`") from error
        arguments = dict(list(bound.arguments.items())[1:])
        return capture_fit(
            self._load_backend(),
            model,
            arguments,
            self._budget,
            self._progress,
            fit=lambda **fit_arguments: original(model, **fit_arguments),
            source=user_line(),
            layer_source=self._sources,
        )

    def _on_train_on_batch(
        self, original: Callable[..., Any], model: Any, *args: Any, **kwargs: Any
    ) -> Any:
        self._prefer(model)
        if self.waiting:
            self._record_model(model, "train_on_batch", gives_way=gives_way(model))
        return self._later_call(original, model, args, kwargs)

    def _record_model(self, model: Any, entry: str, *, gives_way: bool) -> None:
        source = user_line()
        self._record(
            lambda watching: model_under_watch(
                watching, model, entry=entry, source=source, gives_way=gives_way
            )
        )

    def on_marked_step(
        self, mark: MarkedStep[Any, Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        """Runs one call of a step that the script has marked, or that was found in it."""
        if self.done:
            raise Unwind
        if isinstance(mark, FoundStep) and (self._busy or isinstance(mark.owner, keras.Model)):
            # Keras calls it, in `fit`, or its caller is known.
            return mark.function(*args, **kwargs)
        if mark.framework not in (None, self._load_backend().name):
            self.fail(other_framework(str(mark.framework), self._load_backend().name))
        if self._aside and not self._busy and not isinstance(mark, AsideStep):
            self._begin_again()
        if self.waiting:
            self._record_function(mark, args)
        watched = self._watched
        if self._busy or watched is None or watched.key != mark.key:
            self._note_other()
            return mark.function(*args, **kwargs)
        return self._watched_call(
            lambda: self._advance(watched, mark, batch_of_call(mark.function, args, kwargs))
        )

    @property
    def _aside(self) -> bool:
        """Whether what is recorded gives way to a training in half precision."""
        return self._watched is not None and self._watched.gives_way

    def _begin_again(self) -> None:
        """Leaves a recording, whose training stays as it is as long as the script runs."""
        assert self._watched is not None
        self._note_other()
        self._watched.recording.leave()
        self._left.callback(self._watched.recording.close)
        self._watched = None

    def _advance(self, watched: Watched, mark: MarkedStep[Any, Any], batch: Batch) -> Any:
        """Runs the step that is recorded, with the variables of this call of it."""
        with lent_variables(watched.function, mark.function):
            return watched.recording.advance(batch)

    def on_compiled_call(
        self,
        function: Callable[..., Any],
        kind: Callable[[], StepKind],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        framework: str | None = None,
    ) -> Any:
        """Answers a call of a compiled function: a step without a mark is found by what it does.

        Args:
            function: The function.
            kind: Builds it to find out whether it is a training step, and in what.
            args: Its arguments.
            kwargs: Those that are given by name.
            framework: The framework that has compiled it; None for the one that Keras runs on.
        """
        known = self._watches(function)
        if self._busy or not (known or self._takes(kind)):
            return function(*args, **kwargs)
        if framework not in (None, self._load_backend().name):
            self.fail(other_framework(str(framework), self._load_backend().name))
        aside = self._aside if known else self._found(kind) == "full" and names_half()
        mark = AsideCompiled(function) if aside else MarkedStep(function)
        return self.on_marked_step(mark, args, kwargs)

    def _takes(self, kind: Callable[[], StepKind]) -> bool:
        """Whether a compiled function is the step to watch from now on."""
        wanted = ("half", "full") if self.waiting else ("half",) if self._aside else ()
        return bool(wanted) and self._found(kind) in wanted

    def _found(self, kind: Callable[[], StepKind]) -> StepKind:
        with self._being_busy():  # Building the step applies its optimizer: no training yet.
            return kind()

    def _watches(self, function: Callable[..., Any]) -> bool:
        return self._watched is not None and self._watched.key == MarkedStep(function).key

    def _record_function(self, mark: MarkedStep[Any, Any], args: tuple[Any, ...]) -> None:
        source = user_line()
        self._record(lambda watching: function_under_watch(watching, mark, args, source=source))

    def on_update(self) -> None:
        """Lets an optimizer update weights, unless that is done in a loop that has no mark."""
        if self.done:
            raise Unwind
        if self.waiting:
            self.fail(unmarked_loop())

    def _on_apply(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.on_update()
        return original(*args, **kwargs)

    def _on_new_layer(
        self, original: Callable[..., Any], cls: type, *args: Any, **kwargs: Any
    ) -> Any:
        layer = original(cls, *args, **kwargs)
        self._sources.record(layer)
        return layer

    # How calls are answered. ---------------------------------------------------------------

    def _later_call(
        self, original: Callable[..., Any], model: Any, args: tuple[Any, ...], kwargs: Any
    ) -> Any:
        if self.done:
            raise Unwind
        watched = self._watched
        if self._busy or watched is None or watched.key is not model:
            self._note_other()
            return original(model, *args, **kwargs)
        return self._watched_call(lambda: original(model, *args, **kwargs))

    def _watched_call(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except BudgetSpent:
            assert self._watched is not None
            self._in_place(self._watched.capture)
            raise Unwind from None
        except FloatlineError as error:
            self.fail(error)
        except Exception as error:
            self._step_error = error
            raise

    def _note_other(self) -> None:
        text = "The script trains more than one model; only one of them was watched."
        if self._watched is not None and not self._busy and text not in self._notes:
            self._notes.append(text)

    def _record(self, make: Callable[[Watching], Watched]) -> None:
        try:
            backend = self._load_backend()
            watched = make(Watching(backend, self._budget, self._progress, self._sources))
            watched.recording.__enter__()
        except Exception as error:  # noqa: BLE001 - raised again outside the script
            self.fail(error)
        else:
            self._watched = watched

    def _in_place(self, take: Callable[[], Capture]) -> None:
        """Captures and examines; keeps the result or the error for after the script."""
        try:
            with self._being_busy():
                self._results.append(self._examine(self._with_notes(take())))
        except BaseException as error:  # noqa: BLE001 - Ctrl-C too: scripts catch it, it is for us
            self._error = error

    @contextlib.contextmanager
    def _being_busy(self) -> Iterator[None]:
        """While active, what Keras and callbacks call is a part of what is going on."""
        before, self._busy = self._busy, True
        try:
            yield
        finally:
            self._busy = before

    def fail(self, error: BaseException) -> NoReturn:
        """Ends the script; `conclude` raises the error."""
        self._error = error
        raise Unwind from None

    def _with_notes(self, capture: Capture) -> Capture:
        notes = (*self._several.notes, *self._backend_notes(), *self._notes)
        return dataclasses.replace(capture, notes=(*capture.notes, *notes))

    def _finish(self, watched: Watched, error: BaseException | None) -> None:
        if isinstance(error, KeyboardInterrupt):
            watched.recording.close()
            self._error = error
            return
        if error is not None and error is self._step_error:
            failure = training_error(error)
            if not watched.recording.takes(failure):
                watched.recording.close()
                self._error = failure
                return
        elif error is not None and not isinstance(error, SystemExit):
            what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            steps = watched.recording.steps
            self._notes.append(f"After {steps} steps the script ended with {what.rstrip('.')}.")
        self._in_place(watched.capture)
