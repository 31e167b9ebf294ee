"""Has JAX trace anew what it has traced before.

JAX remembers what it has traced of a compiled function, by the function, the shapes and JAX's own
settings. What it remembers was traced unobserved: its literals are rounded, and no layer is named.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

_LARGEST = 2**31 - 1


@contextlib.contextmanager
def traced_anew() -> Iterator[None]:
    """While active, JAX finds nothing of what it remembers, and forgets nothing either.

    A setting on which traces depend gets a value that no trace was made under. It is the number of
    runs of a profiler that is off, so nothing else depends on it. JAX has no public way to this
    but to forget everything, the user's compiled functions as well; where its inside is not what
    is known here, it may remember.
    """
    from jax._src import config

    setting = getattr(config, "pgle_profiling_runs", None)
    if setting is None:
        yield
        return
    with setting(time.monotonic_ns() % _LARGEST):
        yield
