"""Several remedies as one plan."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from floatline.precision.plan import Plan
from floatline.precision.rule import Rule
from floatline.repairs import Remedy


def combined(remedies: Sequence[Remedy]) -> Plan:
    """The plan that holds all remedies: general rules first, each selection of layers once.

    The first of several loss scales holds, and the first number for each setting and epsilon.

    Example:

    >>> half = Remedy("a", "All in bfloat16.", "", Plan.of("mixed_bfloat16"))
    >>> head = Remedy("b", "The head in float32.", "", Plan().with_rule(
    ...     "float32", path="head", reason="It overflows."))
    >>> [rule.policy for rule in combined([head, half]).rules]
    ['mixed_bfloat16', 'float32']
    """
    plans = [remedy.plan for remedy in remedies]
    rules = _once(rule for plan in plans for rule in plan.rules)
    scales = [plan.loss_scale for plan in plans if plan.loss_scale is not None]
    settings = {s.name: s for plan in reversed(plans) for s in plan.optimizer}
    epsilons = {e.path: e for plan in reversed(plans) for e in plan.epsilons}
    general = [rule for rule in rules if rule.selects_all]
    special = [rule for rule in rules if not rule.selects_all]
    return Plan(
        rules=(*general[:1], *special),
        loss_scale=scales[0] if scales else None,
        optimizer=tuple(settings.values()),
        epsilons=tuple(epsilons.values()),
    )


def _once(rules: Iterable[Rule]) -> list[Rule]:
    kept: dict[tuple[str | None, ...], Rule] = {}
    for rule in rules:
        kept.setdefault((rule.path, rule.regex, rule.layer_class), rule)
    return list(kept.values())
