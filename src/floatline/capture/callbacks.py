"""Which of the user's callbacks run under watch, and which would leave something behind."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras

# They write files or send messages; a diagnosis leaves nothing behind.
_LEAVES_TRACES = (
    "ModelCheckpoint",
    "BackupAndRestore",
    "CSVLogger",
    "TensorBoard",
    "RemoteMonitor",
    "OrbaxCheckpoint",
)


def select(callbacks: Any) -> tuple[list[Any], tuple[str, ...]]:
    """The callbacks that run under watch, and a note on each that does not or is the user's own.

    Args:
        callbacks: What the user gave to `fit`: None, one callback, a nest, or a CallbackList.
    """
    running = [callback for callback in _flat(callbacks) if not _prints(callback)]
    left_out = [callback for callback in running if _leaves_traces(callback)]
    running = [callback for callback in running if not _leaves_traces(callback)]
    own = [callback for callback in running if not _is_keras_own(callback)]
    notes = [
        f"The callback {_name(callback)} was left out, because it writes outside the program."
        for callback in left_out
    ]
    if own:
        names = ", ".join(dict.fromkeys(_name(callback) for callback in own))
        notes.append(f"Your own callbacks ran during the diagnosis: {names}.")
    return running, tuple(notes)


def _flat(callbacks: Any) -> Iterable[Any]:
    if callbacks is None:
        return ()
    if isinstance(callbacks, keras.callbacks.CallbackList):
        return tuple(callbacks.callbacks)
    return tuple(keras.tree.flatten(callbacks))


def _prints(callback: Any) -> bool:
    return isinstance(callback, keras.callbacks.ProgbarLogger)


def _leaves_traces(callback: Any) -> bool:
    # Not every version of Keras has all of them.
    kinds = tuple(
        getattr(keras.callbacks, name) for name in _LEAVES_TRACES if hasattr(keras.callbacks, name)
    )
    return isinstance(callback, kinds)


def _is_keras_own(callback: Any) -> bool:
    return type(callback).__module__.partition(".")[0] == "keras"


def _name(callback: Any) -> str:
    return type(callback).__name__
