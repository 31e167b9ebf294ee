"""Runs a user's script unmodified: with a precision to its end, or up to its first training."""

from __future__ import annotations

import contextlib
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from floatline.capture.execution import compiled, execute, main_module
from floatline.capture.imports import after_keras
from floatline.capture.script_errors import from_script, script_error
from floatline.errors import EXIT_FOUND, FloatlineError
from floatline.precision.changes import Changes
from floatline.precision.inspection import Inspection
from floatline.precision.plan import Plan
from floatline.watch.settings import Source, WatchSettings

if TYPE_CHECKING:
    from floatline.precision.enabled import Enabled
    from floatline.precision.takeover import InspectionTakeover
    from floatline.watch.attached import Attached

Listener = Callable[[str, Changes], None]
"""Told the name of a model and what was changed in it."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a script ended.

    Attributes:
        status: The exit status that `python script` would have had.
        message: What Python would have written to standard error at the end.
        notes: What the user should know of the precision.
    """

    status: int
    message: str = ""
    notes: tuple[str, ...] = ()


def run_script(
    script: str,
    arguments: Sequence[str],
    precision: str | Plan | None,
    listener: Listener,
    watch: WatchSettings | None = None,
    tell: Callable[[str], None] = warnings.warn,
) -> Ended:
    """Runs a script as `python script arguments...` would, with a precision turned on.

    Args:
        script: Path of the script.
        arguments: What follows the script's name in its `sys.argv`.
        precision: A dtype policy, a plan, or None to change nothing.
        listener: Told of every model that was changed.
        watch: How its trainings are watched; None does not watch them.
        tell: Told in words of failures and warnings.

    Raises:
        ScriptError: The script is missing or is no Python.
        InputError: The plan does not fit the script's model.
        TrainingFailedError: A training by `train_on_batch` has failed and was stopped.
        KeyboardInterrupt: The script ended so.
    """
    path = Path(script)
    code = compiled(path)
    begun: list[Enabled] = []
    attached: list[Attached] = []
    source = Source(str(path.absolute()), tuple(arguments))

    def begin() -> None:
        if precision is not None:
            from floatline.precision.enabled import enabled

            begun.append(enabled(precision, lambda model, changes: listener(model.name, changes)))
        if watch is not None:
            from floatline.watch.attached import Attached

            attached.append(Attached(watch, source, tell))
            watched.enter_context(attached[0].installed())

    with contextlib.ExitStack() as stack:
        main = stack.enter_context(main_module(path, arguments))
        watched = stack.enter_context(contextlib.ExitStack())
        error = execute(code, main, after_keras(begin))
        notes = _notes(begun, precision)
        for one in begun:
            stack.callback(one.undo)
    if begun and begun[0].failure is not None:
        raise begun[0].failure
    ended = _ended(path, error, notes)
    if ended.status == 0 and any(one.failed for one in attached):
        return replace(ended, status=EXIT_FOUND)
    return ended


def inspect_script(
    script: str, arguments: Sequence[str], *, precision: str | Plan | None, batch_size: int
) -> tuple[Inspection, ...]:
    """Runs a script up to its first training and inspects the model that it would train.

    Args:
        script: Path of the script.
        arguments: What follows the script's name in its `sys.argv`.
        precision: A dtype policy, a plan, or None to change nothing.
        batch_size: Examples per batch that activations are counted for.

    Returns:
        One inspection; when the script ends without training, one of each model that it made.

    Raises:
        ScriptError: The script is missing, is no Python, failed, exited, or made no Keras model.
    """
    path = Path(script)
    code = compiled(path)
    begun: list[InspectionTakeover] = []

    def begin() -> None:
        from floatline.capture.leaving import saving_nothing
        from floatline.precision.takeover import InspectionTakeover

        takeover = InspectionTakeover(batch_size)
        begun.append(takeover)
        stack.enter_context(takeover.installed(precision))
        stack.enter_context(saving_nothing(lambda: takeover.done))

    with contextlib.ExitStack() as stack:
        main = stack.enter_context(main_module(path, arguments))
        error = execute(code, main, after_keras(begin))
        found = begun[0].conclude(error) if begun else ()
        if not found:
            raise script_error(path, error, _name_of(precision)) from error
        return found


def _name_of(precision: str | Plan | None) -> str | None:
    return "the plan" if isinstance(precision, Plan) else precision


def _notes(begun: Sequence[Enabled], precision: str | Plan | None) -> tuple[str, ...]:
    if precision is None:
        return ()
    if not begun:
        return ("The script never imported Keras, so its precision was not changed.",)
    return begun[0].notes()


def _ended(path: Path, error: BaseException | None, notes: tuple[str, ...]) -> Ended:
    if error is None:
        return Ended(0, "", notes)
    if isinstance(error, KeyboardInterrupt | FloatlineError):
        raise error
    if isinstance(error, SystemExit):
        if error.code is None or isinstance(error.code, int):
            return Ended(error.code or 0, "", notes)
        return Ended(1, f"{error.code}\n", notes)
    trace = from_script(error.__traceback__, str(path.absolute()))
    return Ended(1, "".join(traceback.format_exception(type(error), error, trace)), notes)
