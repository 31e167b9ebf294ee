"""What to tell the user when a script ended and no training was seen."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import TracebackType

from floatline.capture.failures import clash_advice
from floatline.capture.pure_advice import pure_loop_error
from floatline.errors import BackendError, FloatlineError, ScriptError
from floatline.headlines import condensed, users_line
from floatline.user_lines import user_frame

HOW_TO_MARK = (
    "Put `@floatline.training_step` (after `import floatline`) above the function that runs one "
    "training step, above `@tf.function` too; if there is none, make one of what the loop does "
    "with a batch."
)

# Module names by which a missing framework shows, and the name under which it is installed.
_FRAMEWORKS = {"tensorflow": "tensorflow", "jax": "jax", "jaxlib": "jax", "torch": "torch"}
_USAGE_STATUS = 2  # What argparse, click and others exit with after printing the usage.


def script_error(
    path: Path, error: BaseException | None, precision: str | None = None
) -> FloatlineError:
    """The error for a script that ended with `error`, or by itself, before it trained.

    Args:
        path: The script.
        error: What it raised.
        precision: What it was asked to run in, which may be what it does not stand.

    Raises:
        KeyboardInterrupt: When that is how the script ended.
    """
    if isinstance(error, KeyboardInterrupt):
        raise error
    if error is None:
        return _never_trained(path)
    if isinstance(error, SystemExit):
        return _exited(path, error)
    error.__traceback__ = from_script(error.__traceback__, str(path.absolute()))
    return _backend_error(error) or _raised(path, error, precision)


def _never_trained(path: Path) -> ScriptError:
    loop = pure_loop_error(path) if "jax" in sys.modules else None
    if loop is not None:
        return loop
    if "keras" in sys.modules:
        return ScriptError(
            f"{path} ended without training: it called neither `fit` nor `train_on_batch` of a "
            "Keras model, nor a marked training step.",
            f"If it trains in a loop of its own: {HOW_TO_MARK}",
        )
    if "tf_keras" in sys.modules:
        return ScriptError(
            f"{path} trains with Keras 2 (tf_keras), which Floatline does not know.",
            "Move the script to Keras 3: `import keras`, and no TF_USE_LEGACY_KERAS.",
        )
    if any(framework in sys.modules for framework in _FRAMEWORKS):
        return ScriptError(
            f"{path} ended, and no training was seen: it neither imported Keras nor called a "
            "marked training step.",
            f"If it trains in a loop of its own: {HOW_TO_MARK}",
        )
    return ScriptError(
        f"{path} ended without importing Keras.", "Name the script that trains a Keras 3 model."
    )


def _exited(path: Path, error: SystemExit) -> ScriptError:
    status = 0 if error.code is None else error.code if isinstance(error.code, int) else 1
    said = f": {error.code}" if isinstance(error.code, str) else ""
    if status == _USAGE_STATUS:
        advice = (
            "If it asks for arguments, write them behind its name, as in "
            f"`floatline diagnose {path} --its-option value`."
        )
    else:
        advice = "Let the script run on until it trains; Floatline takes over there."
    return ScriptError(
        f"{path} exited by itself with status {status} before it trained{said}.", advice
    )


def _raised(path: Path, error: BaseException, precision: str | None) -> ScriptError:
    place = users_line(error)
    at = "" if place is None else f" at {place.file}:{place.line}"
    said = condensed(error)
    text = f"{type(error).__name__}: {said}" if str(error) else type(error).__name__
    if precision is None:
        return ScriptError(
            f"{path} failed by itself before it trained{at}: {text}",
            f"Make `python {path}` run as far as its training, then diagnose again.",
        )
    return ScriptError(
        f"{path} failed under {precision} before it trained{at}: {text}",
        clash_advice(said)
        or f"See whether `python {path}` runs without --precision; if it does, this line does "
        f"not work in {precision}.",
    )


def _backend_error(error: BaseException) -> BackendError | None:
    backend = os.environ.get("KERAS_BACKEND")
    if isinstance(error, ModuleNotFoundError) and error.name in _FRAMEWORKS:
        name = _FRAMEWORKS[error.name]
        why = f" (KERAS_BACKEND={backend})" if backend == name else ""
        return BackendError(
            f"The script needs the backend {name!r}{why}, which is not installed.",
            f"Run `pip install 'floatline[{name}]'`, or choose another backend with KERAS_BACKEND.",
        )
    if isinstance(error, ValueError) and str(error).startswith("Unable to import backend"):
        return BackendError(
            f"Keras knows no backend {backend!r}.",
            "Set KERAS_BACKEND to tensorflow, jax or torch.",
        )
    return None


def from_script(trace: TracebackType | None, file: str) -> TracebackType | None:
    """The traceback from the script's own first frame on; the whole one if it has none."""
    start = trace
    while start is not None and start.tb_frame.f_code.co_filename != file:
        start = start.tb_next
    return start or trace


def other_framework(framework: str, backend: str) -> ScriptError:
    """The error for a script that trains with another framework than Keras was loaded on."""
    return ScriptError(
        f"The script trains with {framework}, but Keras was loaded on {backend}, by the script or "
        "by a library of its.",
        f"Set KERAS_BACKEND={framework} in the environment; a script that needs no Keras is not "
        "changed by that.",
    )


def unmarked_loop() -> ScriptError:
    """The error for the update that is running in a loop whose step was not found."""
    frame = user_frame()
    where = "" if frame is None else f" at {frame.f_code.co_filename}:{frame.f_lineno}"
    return ScriptError(
        f"The script updates the weights in a loop of its own{where}, which Floatline cannot find "
        "the beginning of.",
        HOW_TO_MARK,
    )
