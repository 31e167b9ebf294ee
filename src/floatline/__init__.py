"""Floatline: mixed-precision training that stays afloat."""

from typing import TYPE_CHECKING, Any

from floatline.capture.capture import Budget as Budget
from floatline.marks import training_step as training_step
from floatline.records import Diagnosis as Diagnosis

if TYPE_CHECKING:
    from floatline.pipeline import diagnose as diagnose

__all__ = ["Budget", "Diagnosis", "diagnose", "training_step"]


def __getattr__(name: str) -> Any:
    """`diagnose` brings Keras and its framework along, so it is loaded when it is first named."""
    if name == "diagnose":
        from floatline.pipeline import diagnose

        return diagnose
    raise AttributeError(f"module 'floatline' has no attribute {name!r}")
