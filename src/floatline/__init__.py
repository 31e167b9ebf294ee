"""Floatline: mixed-precision training that stays afloat."""

import importlib
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from floatline.capture.capture import Budget as Budget
from floatline.marks import training_step as training_step
from floatline.records import Diagnosis as Diagnosis

if TYPE_CHECKING:
    __version__: str
    from floatline.pipeline import diagnose as diagnose
    from floatline.pipeline import trace as trace
    from floatline.precision.enabling import enable as enable
    from floatline.precision.inspecting import inspect as inspect
    from floatline.precision.plan import Plan as Plan
    from floatline.report.files import load as load
    from floatline.scaling.calibrated import CalibratedScale as CalibratedScale
    from floatline.scaling.monitor import ScaleMonitor as ScaleMonitor
    from floatline.scaling.optimizer import LossScaleOptimizer as LossScaleOptimizer
    from floatline.scaling.scaler import LossScaler as LossScaler
    from floatline.scaling.scales import DynamicScale as DynamicScale
    from floatline.scaling.scales import FixedScale as FixedScale
    from floatline.scaling.scales import NoScale as NoScale
    from floatline.watch.callback import Watch as Watch
    from floatline.watch.diagnosing import diagnose_failure as diagnose_failure

__all__ = [
    "Budget",
    "CalibratedScale",
    "Diagnosis",
    "DynamicScale",
    "FixedScale",
    "LossScaleOptimizer",
    "LossScaler",
    "NoScale",
    "Plan",
    "ScaleMonitor",
    "Watch",
    "diagnose",
    "diagnose_failure",
    "enable",
    "inspect",
    "load",
    "trace",
    "training_step",
]

_HOMES = MappingProxyType(
    {
        "CalibratedScale": "floatline.scaling.calibrated",
        "DynamicScale": "floatline.scaling.scales",
        "FixedScale": "floatline.scaling.scales",
        "LossScaleOptimizer": "floatline.scaling.optimizer",
        "LossScaler": "floatline.scaling.scaler",
        "NoScale": "floatline.scaling.scales",
        "Plan": "floatline.precision.plan",
        "ScaleMonitor": "floatline.scaling.monitor",
        "Watch": "floatline.watch.callback",
        "diagnose": "floatline.pipeline",
        "diagnose_failure": "floatline.watch.diagnosing",
        "enable": "floatline.precision.enabling",
        "inspect": "floatline.precision.inspecting",
        "load": "floatline.report.files",
        "trace": "floatline.pipeline",
    }
)


def __getattr__(name: str) -> Any:
    """What brings Keras and its framework along is loaded when it is first named."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name == "__version__":
        return importlib.import_module("floatline.installed").version()
    raise AttributeError(f"module 'floatline' has no attribute {name!r}")
