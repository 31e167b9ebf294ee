"""The operations of a watch that belong to the framework under Keras."""

from __future__ import annotations

from floatline.backends import kernels
from floatline.backends.watch_interface import WatchKernels


def load_watch() -> WatchKernels:
    """The kernels of the backend that Keras has chosen.

    Raises:
        BackendError: Keras runs on another backend.
    """
    found: WatchKernels = kernels.load("watch", "A watch")
    return found
