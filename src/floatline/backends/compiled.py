"""Finds compiled training steps in scripts that may never import Keras.

It stands beside the backends' packages, of which it loads only what brings no Keras along.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from floatline.backends.interface import CallHandler


def find_jax_steps(handler: CallHandler) -> AbstractContextManager[None]:
    """While active, calls of functions that JAX has compiled for the user go to `handler`.

    To be called when the script has imported JAX.
    """
    from floatline.backends.jax.discovery import find_steps

    return find_steps(handler)


def has_tracers(arguments: Any) -> bool:
    """Whether JAX is tracing what it calls with these arguments, instead of running it."""
    from floatline.backends.jax.discovery import traced

    return traced(arguments)
