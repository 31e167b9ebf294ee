"""Every exception that Floatline raises on purpose: what was received, what to do, exit code."""

from __future__ import annotations

EXIT_CLEAR = 0
EXIT_FOUND = 1
EXIT_COULD_NOT_RUN = 2


class FloatlineError(Exception):
    """A diagnosis could not run.

    Args:
        message: What happened, with what was received.
        advice: What the user can do next.
    """

    exit_code = EXIT_COULD_NOT_RUN

    def __init__(self, message: str, advice: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.message}\n{self.advice}" if self.advice else self.message


class BackendError(FloatlineError):
    """The backend that Keras chose is missing, broken or not supported."""


class ScriptError(FloatlineError):
    """The user's script is missing, failed by itself, exited, or never trained."""


class TrainingError(FloatlineError):
    """The training step itself raised: bad labels, empty data, a model that was not compiled."""


class TraceError(FloatlineError):
    """The training step runs, but cannot be traced."""


class OutOfMemoryError(FloatlineError):
    """What a diagnosis computes beside the training does not fit into memory."""


class StorageError(FloatlineError):
    """A disk has no room for what must be kept while a diagnosis runs."""


class InputError(FloatlineError):
    """An argument of the Python interface or a file given to the command line is not usable."""
