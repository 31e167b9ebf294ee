"""Floatline: mixed-precision training that stays afloat."""

from typing import TYPE_CHECKING, Any

from floatline.capture.capture import Budget as Budget
from floatline.marks import training_step as training_step
from floatline.records import Diagnosis as Diagnosis

if TYPE_CHECKING:
    from floatline.pipeline import diagnose as diagnose
    from floatline.pipeline import trace as trace

__all__ = ["Budget", "Diagnosis", "diagnose", "trace", "training_step"]

_LAZY = ("diagnose", "trace")


def __getattr__(name: str) -> Any:
    """These bring Keras and its framework along, so they are loaded when first named."""
    if name in _LAZY:
        from floatline import pipeline

        return getattr(pipeline, name)
    raise AttributeError(f"module 'floatline' has no attribute {name!r}")
