"""The laws of loss scaling by name: as plain values, and the one that arguments ask for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from floatline.errors import InputError
from floatline.scaling.calibrated import CalibratedScale
from floatline.scaling.scales import DynamicScale, FixedScale, NoScale
from floatline.scaling.state import Scale

LAWS: Mapping[str, Any] = MappingProxyType(
    {law.__name__: law for law in (NoScale, FixedScale, DynamicScale, CalibratedScale)}
)


def scale_to_config(scale: Scale[Any]) -> dict[str, Any]:
    """The settings as plain values that JSON can hold.

    >>> scale_to_config(FixedScale(128.0))
    {'law': 'FixedScale', 'value': 128.0}
    """
    settings: dict[str, Any] = dataclasses.asdict(scale)  # type: ignore[call-overload]  # (every law is a dataclass)
    return {"law": type(scale).__name__, **settings}


def scale_from_config(config: Mapping[str, Any]) -> Scale[Any]:
    """The scale with these settings.

    Raises:
        InputError: The law is unknown, or it has no such settings.
    """
    settings = dict(config)
    name = settings.pop("law", None)
    if name not in LAWS:
        raise InputError(
            f"A loss scale received the law {name!r}.", f"The laws are {', '.join(LAWS)}."
        )
    known = [field.name for field in dataclasses.fields(LAWS[name])]
    unknown = [setting for setting in settings if setting not in known]
    if unknown:
        raise InputError(
            f"{name} received the settings {', '.join(unknown)}.",
            f"Its settings are {', '.join(known) or 'none'}.",
        )
    scale: Scale[Any] = LAWS[name](**settings)
    return scale


def chosen_law(
    scale: Scale[Any] | Mapping[str, Any] | None,
    initial_scale: float | None,
    dynamic_growth_steps: int | None,
) -> Scale[Any]:
    """The law that the arguments of a loss-scale optimizer ask for.

    Raises:
        InputError: They contradict each other, or `scale` is no law.
    """
    if isinstance(scale, Mapping):
        scale = scale_from_config(scale)
    if initial_scale is None and dynamic_growth_steps is None:
        return CalibratedScale() if scale is None else _checked(scale)
    if scale is not None:
        raise InputError(
            f"LossScaleOptimizer received initial_scale={initial_scale} and "
            f"dynamic_growth_steps={dynamic_growth_steps} beside scale={scale}.",
            "Pass either `scale` or Keras' own two arguments; DynamicScale has both as settings.",
        )
    defaults = DynamicScale()
    initial = defaults.initial if initial_scale is None else initial_scale
    interval = defaults.growth_interval if dynamic_growth_steps is None else dynamic_growth_steps
    # Who starts below 1 or above the usual ceiling has asked for it.
    floor, ceiling = min(defaults.floor, initial), max(defaults.ceiling, initial)
    return DynamicScale(initial, growth_interval=interval, floor=floor, ceiling=ceiling)


def _checked(scale: Scale[Any]) -> Scale[Any]:
    if not (hasattr(scale, "initial_state") and hasattr(scale, "next_state")):
        raise InputError(
            f"LossScaleOptimizer received scale={scale!r}.",
            f"Pass one of {', '.join(LAWS)}, as in `scale=floatline.FixedScale(1024.0)`.",
        )
    return scale
