"""The parts of a plan: rules and epsilons for layers, a loss scale, optimizer settings; records."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from floatline.errors import InputError
from floatline.precision.policies import guess, policy_named

CLIPPING = ("clipnorm", "clipvalue", "global_clipnorm")
"""Ways to clip gradients, of which an optimizer takes one."""

# What an optimizer reads anew each time its update is built, so it can change in place. Settings
# that add variables (momentum, EMA, accumulation) need a new optimizer.
OPTIMIZER_SETTINGS = ("epsilon", "weight_decay", "learning_rate", *CLIPPING)

LOSS_SCALES: Mapping[str, tuple[str, ...]] = {
    "none": (),
    "fixed": ("value",),
    "dynamic": (
        "initial",
        "growth_factor",
        "backoff_factor",
        "growth_interval",
        "hysteresis",
        "floor",
        "ceiling",
    ),
    "calibrated": ("initial", "memory_steps", "growth_interval", "floor", "ceiling"),
}
"""Kinds of loss scale and their settings, named as the scales in `floatline.scaling` name them."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Gives a dtype policy to the layers that match all of its conditions.

    Attributes:
        policy: Name of the dtype policy, `"float32"`.
        reason: Why, for whoever reads the plan.
        path: Glob over layer paths, `"encoder/*"`; `*` matches any characters, `/` as well. The
            model itself has the empty path, and answers to its name.
        regex: Regular expression that matches a whole path; instead of `path`.
        layer_class: Name of the layers' class, `"LayerNormalization"`.
        sublayers: Whether the rule reaches what is inside a matched layer, too.
        evidence: What the rule rests on (findings, trials), any JSON object.

    Raises:
        InputError: The policy is unknown, the reason is missing, `path` and `regex` are both
            given, or the regular expression cannot be read.
    """

    policy: str
    reason: str
    path: str | None = None
    regex: str | None = None
    layer_class: str | None = None
    sublayers: bool = True
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        policy_named(self.policy, f"the rule for {self.selector}")
        _check_reason(self.reason, f"The rule for {self.selector}")
        if self.path is not None and self.regex is not None:
            raise InputError(
                f"A rule has both path={self.path!r} and regex={self.regex!r}.",
                "Keep one; write two rules to match either.",
            )
        _check_regex(self.regex)
        object.__setattr__(self, "evidence", plain(self.evidence))

    @property
    def selector(self) -> str:
        """Which layers, in words that fit after "the rule for"."""
        words = [f"every {self.layer_class or 'layer'}"]
        if self.path is not None:
            words.append(f"at {self.path!r}")
        if self.regex is not None:
            words.append(f"whose path matches {self.regex!r}")
        if not self.sublayers:
            words.append("without its sublayers")
        return " ".join(words)

    @property
    def selects_all(self) -> bool:
        """Whether no layer can fail to match."""
        return self.layer_class is None and self.regex is None and self.path in (None, "*")


@dataclass(frozen=True, slots=True)
class LossScale:
    """The loss scale that a plan asks for.

    Attributes:
        kind: A key of `LOSS_SCALES`.
        reason: Why.
        settings: Numbers by name; those left out take the default of that kind.
        evidence: What it rests on, any JSON object.

    Raises:
        InputError: Kind or setting are unknown, or a number is not positive and finite.
    """

    kind: str
    reason: str
    settings: Mapping[str, float] = field(default_factory=dict)
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in LOSS_SCALES:
            raise InputError(
                f"{self.kind!r} is not a kind of loss scale.",
                f"{guess(self.kind, LOSS_SCALES)}Allowed: {', '.join(LOSS_SCALES)}.",
            )
        _check_reason(self.reason, "The loss scale")
        for name, value in self.settings.items():
            _check_known(name, LOSS_SCALES[self.kind], f"the {self.kind} loss scale")
            _check_positive(name, value, f"the {self.kind} loss scale")
        if self.kind == "fixed" and not self.settings:
            raise InputError("The fixed loss scale has no value.", 'Give it one: "value": 1024.')
        object.__setattr__(self, "settings", plain(self.settings))
        object.__setattr__(self, "evidence", plain(self.evidence))


@dataclass(frozen=True, slots=True)
class Setting:
    """A number that the optimizer is given.

    Attributes:
        name: One of `OPTIMIZER_SETTINGS`.
        value: Positive and finite.
        reason: Why.
        evidence: What it rests on, any JSON object.

    Raises:
        InputError: The name is unknown, or the value is not positive and finite.
    """

    name: str
    value: float
    reason: str
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_known(self.name, OPTIMIZER_SETTINGS, "the optimizer")
        _check_positive(self.name, self.value, "the optimizer")
        _check_reason(self.reason, f"The optimizer setting {self.name}")
        object.__setattr__(self, "evidence", plain(self.evidence))


@dataclass(frozen=True, slots=True)
class Epsilon:
    """Another epsilon for the layers at a path.

    Attributes:
        path: Glob over layer paths, as in `Rule`.
        value: Positive and finite.
        reason: Why.
        evidence: What it rests on, any JSON object.

    Raises:
        InputError: The value is not positive and finite, or the reason is missing.
    """

    path: str
    value: float
    reason: str
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_positive("epsilon", self.value, f"the layers at {self.path!r}")
        _check_reason(self.reason, f"The epsilon of {self.path!r}")
        object.__setattr__(self, "evidence", plain(self.evidence))


def plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a JSON object, as it comes back from its text.

    Raises:
        InputError: It holds something that JSON cannot write.

    Example:

    >>> plain({"trial": ("float32", 0.25)})
    {'trial': ['float32', 0.25]}
    """
    try:
        copy: dict[str, Any] = json.loads(json.dumps(dict(value), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"A plan cannot hold {value!r}: {error}.",
            "Use an object of text, finite numbers, true, false, null, lists and such objects.",
        ) from error
    return copy


def _check_reason(reason: object, what: str) -> None:
    if not isinstance(reason, str) or not reason.strip():
        raise InputError(
            f"{what} has the reason {reason!r}.",
            "Say in a sentence why it is there, for whoever reads the plan later.",
        )


def _check_regex(regex: str | None) -> None:
    try:
        re.compile(regex or "")
    except re.error as error:
        raise InputError(
            f"The regular expression {regex!r} cannot be read: {error}.",
            "Mend it, or use `path` with `*` for any characters.",
        ) from error


def _check_known(name: str, allowed: tuple[str, ...], what: str) -> None:
    if name not in allowed:
        listed = ", ".join(allowed) or "none"
        raise InputError(
            f"{name!r} is not a setting of {what} that a plan can give.",
            f"{guess(name, allowed)}Allowed: {listed}.",
        )


def _check_positive(name: str, value: object, what: str) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (number and math.isfinite(value) and value > 0):  # type: ignore[arg-type,operator]
        raise InputError(
            f"{name} of {what} is {value!r}.", "It must be a number that is positive and finite."
        )
