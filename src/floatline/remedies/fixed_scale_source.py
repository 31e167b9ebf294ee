"""A rewrite of a loss scale that is a number of the code: the number that fits takes its place."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator

from floatline.records import Finding
from floatline.remedies.statement import Edit, Function, Statement, calls, targets

SAME = 0.01
"""Relative distance at which a number of the code is the measured scale; that of half precision
is rounded to 11 bits, or 8."""

PLACES = 2
"""Where a bare number stands: where the loss is multiplied, and where gradients are divided."""

LARGEST = 64
"""Base and exponent up to which powers are computed: a float surely holds them."""


def fitting_number(line: Statement, finding: Finding) -> list[Edit]:
    """The scale's number becomes the one that fits, where it is plain which number that is.

    It has a name that is assigned once, or is the default of an argument that nobody gives; or it
    stands in the line itself, and once more where the gradients are divided by it.
    """
    scale, fits = (finding.evidence.get(name) for name in ("loss_scale", "fitting_loss_scale"))
    if finding.rule != "FL402" or not isinstance(scale, float) or not isinstance(fits, float):
        return []
    named = [n for text in _named(line.node) if (n := _value_of(line, text, scale)) is not None]
    if len(named) > 1:
        return []
    places = named or list(_numbers(line.tree, scale))
    bare = len(places) == PLACES and any(place in ast.walk(line.node) for place in places)
    if not named and not bare:
        return []
    return [line.replacing(place, _written(place, fits)) for place in places]


def _named(node: ast.stmt) -> list[str]:
    """Names and attributes that a statement reads, as they are written."""
    read = (n for n in ast.walk(node) if isinstance(n, ast.Name | ast.Attribute))
    return list(dict.fromkeys(ast.unparse(n) for n in read if isinstance(n.ctx, ast.Load)))


def _value_of(line: Statement, name: str, scale: float) -> ast.expr | None:
    """The number behind a name, if it is the scale and is written in one place."""
    default = _default(line, name)
    nodes = (n for n in ast.walk(line.tree) if isinstance(n, ast.stmt))
    made = [n for n in nodes if name in map(ast.unparse, targets(n))]
    values = [value for n in made if (value := getattr(n, "value", None)) is not None]
    values += [] if default is None else [default]
    if len(values) != 1 or any(isinstance(n, ast.AugAssign) for n in made):
        return None
    found = list(_numbers(values[0], scale))
    return found[0] if len(found) == 1 else None


def _default(line: Statement, name: str) -> ast.expr | None:
    """The default of an argument of the function around, if no call in the file gives another."""
    function = line.function
    if function is None:
        return None
    arguments = function.args
    positional = [a.arg for a in (*arguments.posonlyargs, *arguments.args)]
    given = zip(reversed(positional), reversed(arguments.defaults), strict=False)
    named = zip((a.arg for a in arguments.kwonlyargs), arguments.kw_defaults, strict=True)
    value = {**dict(given), **dict(named)}.get(name)
    places = positional.index(name) if name in positional else len(positional)
    return None if any(_gives(call, function, name, places) for call in calls(line.tree)) else value


def _gives(call: ast.Call, function: Function, name: str, place: int) -> bool:
    """Whether a call may give a function another value for an argument."""
    if ast.unparse(call.func).rpartition(".")[2] != function.name:
        return False
    unsure = any(isinstance(a, ast.Starred) for a in call.args)
    return unsure or len(call.args) > place or any(k.arg in (name, None) for k in call.keywords)


def _numbers(node: ast.AST, scale: float) -> Iterator[ast.expr]:
    """The largest expressions of mere numbers that come to the scale."""
    value = _computed(node) if isinstance(node, ast.expr) else None
    if value is not None:
        if math.isclose(value, scale, rel_tol=SAME) and isinstance(node, ast.expr):
            yield node
        return
    for part in ast.iter_child_nodes(node):
        yield from _numbers(part, scale)


def _computed(node: ast.expr) -> float | None:
    """What numbers, powers and products of numbers come to."""
    if isinstance(node, ast.Constant):
        plain = isinstance(node.value, int | float) and not isinstance(node.value, bool)
        return float(node.value) if plain else None  # type: ignore[arg-type]  # (a number, as just seen)
    if not isinstance(node, ast.BinOp):
        return None
    left, right = _computed(node.left), _computed(node.right)
    if left is None or right is None:
        return None
    small = 0 < left <= LARGEST and 0 <= right <= LARGEST
    if isinstance(node.op, ast.Mult):
        return left * right
    if isinstance(node.op, ast.Pow) and small:
        return math.pow(left, right)
    return left * math.pow(2, right) if isinstance(node.op, ast.LShift) and small else None


def _written(place: ast.expr, fits: float) -> str:
    """The fitting number, a power of two, in the manner of the one that it replaces."""
    base = place.left if isinstance(place, ast.BinOp) and isinstance(place.op, ast.Pow) else None
    if isinstance(base, ast.Constant) and base.value == 2:
        return f"{ast.unparse(base)}**{int(math.log2(fits))}"
    whole = isinstance(place, ast.Constant) and isinstance(place.value, int)
    return str(int(fits)) if whole else f"{fits:.1f}"
