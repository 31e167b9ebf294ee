"""A rewrite of the line that makes an optimizer whose epsilon its half-precision weights lose."""

from __future__ import annotations

import ast

from floatline.records import Finding
from floatline.remedies.numbers_source import SAFE_EPSILON
from floatline.remedies.statement import Edit, Statement, calls, name_of
from floatline.remedies.torch_optimizers import (
    method_of,
    optimizers_in_sight,
    optimizers_of_object,
    owner_name,
)

WITH_EPSILON = ("Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "Adadelta", "Adagrad")
"""Optimizers of PyTorch's that take `eps`; left alone it is far below what float16 holds."""


def optimizer_epsilon(line: Statement, finding: Finding) -> list[Edit]:
    """The optimizer that the line steps gets an epsilon that float16 holds."""
    if finding.rule != "FL206":
        return []
    stepped = {owner_name(call) for call in calls(line.node) if method_of(call) == "step"}
    scope = line.function or line.tree
    seen = optimizers_in_sight(line.tree, scope) | optimizers_of_object(line.tree, scope)
    made = [value for name in stepped if isinstance(value := _value(seen.get(name)), ast.Call)]
    if len(made) != 1 or name_of(made[0].func) not in WITH_EPSILON:
        return []
    given = next((k.value for k in made[0].keywords if k.arg == "eps"), None)
    if given is not None:
        return [line.replacing(given, SAFE_EPSILON)]
    end = line.at(made[0])[1] - 1
    text = line.text[:end].rstrip()
    comma = "" if text.endswith(("(", ",")) else ", "
    space = " " if text.endswith(",") else ""
    return [(len(text), end, f"{comma}{space}eps={SAFE_EPSILON}")]


def _value(statement: ast.stmt | None) -> ast.expr | None:
    return getattr(statement, "value", None)
