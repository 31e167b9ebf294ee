"""What the environment must say before a framework is loaded."""

from __future__ import annotations

import os


def quieten_tensorflow() -> None:
    """Keeps TensorFlow's start-up messages off the terminal, unless the user wants them."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
