"""The operations of loss scaling that belong to the framework under Keras."""

from __future__ import annotations

from floatline.backends import kernels
from floatline.backends.scaling_interface import ScalingKernels


def load_kernels() -> ScalingKernels:
    """The kernels of the backend that Keras has chosen.

    Raises:
        BackendError: Keras runs on another backend.
    """
    found: ScalingKernels = kernels.load("scaling", "Loss scaling")
    return found
