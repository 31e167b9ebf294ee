"""Runs an unmodified script up to a training that answers for it, and takes over there."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from floatline.backends.compiled import find_jax_steps, has_tracers
from floatline.backends.interface import Backend, StepKind
from floatline.backends.updates import TORCH_OPTIMIZERS, before_torch_updates
from floatline.capture.capture import Budget, Capture
from floatline.capture.edited import Texts, edited
from floatline.capture.execution import compiled, execute, main_module
from floatline.capture.imports import after_import, after_keras, import_keras_for_script
from floatline.capture.outlining import outlined
from floatline.capture.policy import under_policy
from floatline.capture.script_errors import script_error
from floatline.errors import InputError
from floatline.marks import MarkedStep, PureStep, StepHandler, handle_steps
from floatline.progress import Progress

if TYPE_CHECKING:
    from floatline.capture.takeover import Takeover

T = TypeVar("T")


def capture_script(
    script: str,
    arguments: Sequence[str],
    *,
    load_backend: Callable[[], Backend],
    precision: str | None,
    budget: Budget,
    progress: Progress,
    examine: Callable[[Capture], T],
    settles: Callable[[T], bool] = lambda _: True,
    make: Callable[..., Takeover[T]] | None = None,
    texts: Texts = MappingProxyType({}),
) -> T:
    """Runs a script as `python script arguments...` would, up to the training that is examined.

    That is the first, and each one after it until one settles the question: see `several.py`.

    Args:
        script: Path of the script.
        arguments: What follows the script's name in its `sys.argv`.
        load_backend: Gives the backend that Keras runs on; called at the first training.
        precision: Name of a dtype policy to set before the script does anything with Keras.
        budget: How long the script's training is watched.
        progress: Told of every step.
        examine: Looks at the capture at the training call, while the script is still alive.
        settles: Whether a result is the answer, whatever the script may train after it.
        make: Makes what takes over there; called like the class `Takeover`, which is the default.
        texts: Files that are read otherwise than they stand.

    Returns:
        What `examine` returned.

    Raises:
        ScriptError: The script is missing, is no Python, failed by itself, exited, or never
            trained. The script's own exception is its `__cause__`, with the traceback from the
            script's first line on.
        BackendError: The script's backend is not installed.
        InputError: `precision` is no dtype policy.
        TrainingError: The script's training call itself raised.
    """
    path = Path(script)
    code = compiled(path, texts.get(str(path.absolute())), outlined)
    begun: list[Takeover[T]] = []

    def noted(capture: Capture) -> Capture:
        from floatline.capture.asked import precision_note

        has_layers = begun[0].has_layers
        note = precision_note(capture.configuration, precision, has_layers=has_layers)
        return dataclasses.replace(capture, notes=(*capture.notes, *filter(None, [note])))

    def begin() -> None:
        # Only now: this imports Keras, which must be the script's own doing.
        from floatline.capture.leaving import saving_nothing
        from floatline.capture.takeover import Takeover

        takeover = (make or Takeover)(
            load_backend=load_backend,
            budget=budget,
            progress=progress,
            examine=lambda capture: examine(noted(capture)),
            settles=settles,
        )
        begun.append(takeover)
        stack.enter_context(takeover.installed())
        stack.enter_context(saving_nothing(lambda: takeover.done))
        stack.enter_context(_global_policy(precision, takeover))

    with contextlib.ExitStack() as stack:
        stack.enter_context(edited(texts, outlined))
        main = stack.enter_context(main_module(path, arguments))
        stack.enter_context(handle_steps(_step_handler(begun)))
        stack.enter_context(_torch_updates(begun))
        stack.enter_context(_jax_steps(begun))
        error = execute(code, main, after_keras(begin))
        results = begun[0].conclude(error) if begun else ()
        if not results:
            raise script_error(path, error, precision) from error
        return results[0]


def _step_handler(begun: Sequence[Takeover[Any]]) -> StepHandler:
    """Hands marked steps to the takeover, once there is one."""

    def handler(
        mark: MarkedStep[Any, Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        if isinstance(mark, PureStep) and has_tracers(args):
            return mark.function(*args, **kwargs)  # Part of a function that somebody compiles.
        if not begun:  # The script trains without Keras: its import here begins the takeover.
            import_keras_for_script(mark.framework)
        return begun[0].on_marked_step(mark, args, kwargs)

    return handler


@contextlib.contextmanager
def _torch_updates(begun: Sequence[Takeover[Any]]) -> Iterator[None]:
    """Hands updates by PyTorch's own optimizers to the takeover, which Keras' own reach anyway.

    Otherwise a script with a loop of its own would train to its end before it is told of marks.
    """

    def act() -> None:
        if not begun:
            import_keras_for_script("torch")
        begun[0].on_update()

    def notice(optimizers: ModuleType) -> None:
        stack.enter_context(before_torch_updates(optimizers, act))

    with contextlib.ExitStack() as stack, after_import(TORCH_OPTIMIZERS, notice):
        yield


@contextlib.contextmanager
def _jax_steps(begun: Sequence[Takeover[Any]]) -> Iterator[None]:
    """Hands calls of functions that JAX has compiled to the takeover.

    Libraries of JAX's train without Keras, so the first step that is called brings it.
    """

    def answer(
        function: Any,
        kind: Callable[[], StepKind],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> Any:
        if not begun:
            if not kind():
                return function(*args, **kwargs)
            import_keras_for_script("jax")
        return begun[0].on_compiled_call(function, kind, args, kwargs, framework="jax")

    def notice(_: ModuleType) -> None:
        stack.enter_context(find_jax_steps(answer))

    with contextlib.ExitStack() as stack, after_import("jax", notice):
        yield


@contextlib.contextmanager
def _global_policy(precision: str | None, takeover: Takeover[T]) -> Iterator[None]:
    """Sets the global policy for the script; a name that Keras does not know ends it."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(under_policy(precision))
        except (ValueError, TypeError):
            takeover.fail(
                InputError(
                    f"{precision!r} is not a dtype policy of Keras.",
                    "Use for example mixed_float16, mixed_bfloat16, float16, bfloat16 or float32.",
                )
            )
        yield
