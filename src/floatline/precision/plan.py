"""A precision plan: which layer computes in which dtype, under which loss scale, and why."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from floatline import files
from floatline.errors import InputError
from floatline.precision import plan_json
from floatline.precision.policies import POLICIES
from floatline.precision.rule import CLIPPING, Epsilon, LossScale, Rule, Setting

if TYPE_CHECKING:
    from floatline.precision.changes import Application


@dataclass(frozen=True, slots=True)
class Plan:
    """Ordered rules and epsilons for layers, a loss scale, optimizer settings, each with a reason.

    For each layer the last rule that matches it holds; a layer that no rule matches stays as it
    is. Plans are plain records: nothing changes before `apply`.

    Attributes:
        rules: First the general ones, then the exceptions.
        loss_scale: The loss scale for the layers that compute in float16; None leaves the choice
            to Floatline: a dynamic one where layers compute in float16, and nowhere else.
        optimizer: What the optimizer is given.
        epsilons: What layers that have an epsilon are given; of those that match, the last holds.

    Raises:
        InputError: Two parts contradict each other.

    Example:

    >>> plan = Plan.of("mixed_float16").with_rule(
    ...     "float32", path="head", reason="Its softmax decides between close classes."
    ... )
    >>> Plan.from_json(plan.to_json()) == plan
    True
    """

    rules: tuple[Rule, ...] = ()
    loss_scale: LossScale | None = None
    optimizer: tuple[Setting, ...] = ()
    epsilons: tuple[Epsilon, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "rules", tuple(self.rules))
        object.__setattr__(self, "optimizer", tuple(self.optimizer))
        object.__setattr__(self, "epsilons", tuple(self.epsilons))
        _check_selectors(self.rules)
        _check_settings(self.optimizer)
        _check_once((f"The epsilon of {e.path!r}", e.value) for e in self.epsilons)
        _check_scale_is_used(self)

    @classmethod
    def of(cls, policy: str, reason: str = "Asked for by name.") -> Plan:
        """The plan that gives every layer the same dtype policy.

        Args:
            policy: `"mixed_float16"`, `"mixed_bfloat16"`, `"float32"`, ...
            reason: Why.

        Raises:
            InputError: There is no such policy.
        """
        return cls((Rule(policy, reason),))

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Reads a plan from its JSON text.

        Args:
            text: What `to_json` wrote, possibly edited.

        Raises:
            InputError: It is no JSON, a newer schema, or no valid plan; the message says where.
        """
        return cls(**plan_json.read(text))

    @classmethod
    def load(cls, file: str | Path) -> Plan:
        """Reads a plan from a file.

        Args:
            file: Path of a JSON file.

        Raises:
            InputError: The file cannot be read, or holds no valid plan.
        """
        advice = "Name a JSON file as `Plan.to_json` writes it."
        return files.read(file, "plan", advice, cls.from_json)

    def to_json(self) -> str:
        """The plan as JSON text: keys in a fixed order, a rule per few lines, a final newline."""
        return plan_json.write(self.rules, self.loss_scale, self.optimizer, self.epsilons)

    def diff(self, other: Plan) -> str:
        """What `other` changes: a unified diff of the two texts, empty when they are equal."""
        before, after = self.to_json().splitlines(), other.to_json().splitlines()
        lines = difflib.unified_diff(before, after, "this", "other", lineterm="")
        return "".join(f"{line}\n" for line in lines)

    def with_rule(self, policy: str, *, reason: str, **conditions: Any) -> Plan:
        """This plan with one more rule, which wins over the earlier ones.

        Args:
            policy: Name of the dtype policy.
            reason: Why.
            **conditions: `path`, `regex`, `layer_class`, `sublayers`, `evidence`, as in `Rule`.
        """
        rule = Rule(policy, reason, **conditions)
        return dataclasses.replace(self, rules=(*self.rules, rule))

    def with_loss_scale(self, kind: str, *, reason: str, **settings: float) -> Plan:
        """This plan with a loss scale.

        Args:
            kind: `"none"`, `"fixed"`, `"dynamic"` or `"calibrated"`.
            reason: Why.
            **settings: Numbers by name, as in `LossScale`.
        """
        return dataclasses.replace(self, loss_scale=LossScale(kind, reason, settings))

    def with_optimizer(self, name: str, value: float, *, reason: str) -> Plan:
        """This plan with one more number for the optimizer.

        Args:
            name: `"epsilon"`, `"clipnorm"`, ...
            value: Positive and finite.
            reason: Why.
        """
        return dataclasses.replace(self, optimizer=(*self.optimizer, Setting(name, value, reason)))

    def with_epsilon(self, path: str, value: float, *, reason: str) -> Plan:
        """This plan with another epsilon for the layers at a path.

        Args:
            path: Glob over layer paths, `"encoder/*norm"`.
            value: Positive and finite.
            reason: Why.
        """
        return dataclasses.replace(self, epsilons=(*self.epsilons, Epsilon(path, value, reason)))

    @property
    def base(self) -> Rule | None:
        """The last rule that selects every layer, or None."""
        return next((rule for rule in reversed(self.rules) if rule.selects_all), None)

    def apply(self, model: Any) -> Application:
        """Changes a model in place; see `floatline.precision.application.apply`."""
        from floatline.precision.application import apply

        return apply(self, model)


def _check_selectors(rules: tuple[Rule, ...]) -> None:
    seen: dict[tuple[Any, ...], int] = {}
    for number, rule in enumerate(rules, start=1):
        key = (rule.path, rule.regex, rule.layer_class, rule.sublayers)
        if key in seen:
            earlier = rules[seen[key] - 1]
            raise InputError(
                f"Rules {seen[key]} and {number} are both for {rule.selector}: "
                f"{earlier.policy!r} and {rule.policy!r}.",
                "Keep one of them.",
            )
        seen[key] = number
        if rule.selects_all and rule.sublayers and number > 1:
            raise InputError(
                f"Rule {number} is for every layer, so the rules before it have no effect.",
                "Put it first: the last rule that matches a layer holds.",
            )


def _check_settings(settings: tuple[Setting, ...]) -> None:
    _check_once((f"The optimizer setting {s.name}", s.value) for s in settings)
    clipping = [setting.name for setting in settings if setting.name in CLIPPING]
    if len(clipping) > 1:
        raise InputError(
            f"The plan clips gradients in several ways: {', '.join(clipping)}.",
            "Keep one of them; Keras takes no more.",
        )


def _check_once(given: Iterable[tuple[str, float]]) -> None:
    """Raises where a thing, in words, is given a value and then another."""
    values: dict[str, float] = {}
    for what, value in given:
        if what in values:
            raise InputError(
                f"{what} is given twice: {values[what]!r} and {value!r}.", "Keep one of them."
            )
        values[what] = value


def _check_scale_is_used(plan: Plan) -> None:
    """A scale is for float16; where every rule is known to give another dtype it contradicts."""
    half = any(POLICIES[rule.policy].compute_dtype == "float16" for rule in plan.rules)
    if plan.loss_scale is None or plan.loss_scale.kind == "none" or plan.base is None or half:
        return
    raise InputError(
        f"The plan asks for a {plan.loss_scale.kind} loss scale, but none of its rules lets a "
        "layer compute in float16.",
        "Remove the loss scale, or let some layers compute in float16 (mixed_float16).",
    )
