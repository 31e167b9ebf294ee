"""What operators do with numbers: folding fixed ones, and the roles of those that meet values."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterator, Mapping

from floatline.findings.configured.setup import Role
from floatline.precision.reading.kinds import Value

_ARITHMETIC: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}


def folded(left: Value, op: ast.operator, right: Value, text: str) -> Value | None:
    """The number that two fixed numbers give, as Python computes it; None of anything else."""
    if left.kind != "number" or right.kind != "number" or left.parts or right.parts:
        return None
    compute = _ARITHMETIC.get(type(op))
    if left.number is None or right.number is None or compute is None:
        return Value("number")
    try:
        number = float(compute(left.number, right.number))
    except (ArithmeticError, TypeError, ValueError):
        return Value("number")
    return Value("number", number if math.isfinite(number) else None, text)


def role_of(left: Value, op: ast.operator, right: Value) -> Iterator[tuple[Value, Value, Role]]:
    """The number, what it meets, and what it does; nothing where there is no such number."""
    number, other = (right, left) if right.number is not None else (left, right)
    if number.number is None or other.number is not None:
        return
    match op:
        case ast.Add() | ast.Sub():
            yield number, other, "added"
        case ast.Mult():
            yield number, other, "factor"
        case ast.Div() if number is right:
            yield number, other, "divisor"
