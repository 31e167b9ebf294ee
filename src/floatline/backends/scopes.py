"""The scope in which a step is measured where the framework reads variables by itself."""

from __future__ import annotations

from typing import Any

import keras


class WritesDropped(keras.StatelessScope):  # type: ignore[misc]  # (Keras carries no types)
    """Forgets what is written to Keras variables; whatever was not written is read as it is.

    In Keras' own class a variable that was neither given nor written has no value, which the
    regularizers of layers do not expect.
    """

    def get_current_value(self, variable: Any) -> Any:
        """The value that was written here, else the variable's own."""
        written = super().get_current_value(variable)
        return variable._value if written is None else written  # noqa: SLF001 (`value` asks this scope)
