"""JAX's own search for NaN and infinity, which would stop a step before it is looked into."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import jax


@contextlib.contextmanager
def no_checks() -> Iterator[None]:
    """While active, JAX raises no error for what is not finite, whatever the user has asked for.

    `jax_debug_nans` runs a step that fails once more without its compiler, and would do so for
    every step that a loss scale skips.

    Example:

    >>> with jax.debug_nans(True), no_checks():
    ...     float(jax.numpy.log(-1.0))
    nan
    """
    with jax.debug_nans(False), jax.debug_infs(False):
        yield


def checks_note() -> tuple[str, ...]:
    """What a reader must know where the user has asked for JAX's search."""
    if not (jax.config.jax_debug_nans or jax.config.jax_debug_infs):
        return ()
    return ("jax_debug_nans and jax_debug_infs are off in the steps that are watched.",)
