"""Rewrites around a loss scale that is a number of the code: of it, or of what bounds gradients."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator

from floatline.records import Finding
from floatline.remedies.scale_source import CLIPS, KEEPERS
from floatline.remedies.statement import Edit, Function, Statement, calls, name_of, targets
from floatline.remedies.torch_scale_source import CLIPS as TORCH_CLIPS

SAME = 0.01
"""Relative distance at which a number of the code is the measured scale; that of half precision
is rounded to 11 bits, or 8."""

PLACES = 2
"""Where a bare number stands: where the loss is multiplied, and where gradients are divided."""

BOUNDS = (
    "clip_norm",
    "clip_value_min",
    "clip_value_max",
    "x_min",
    "x_max",
    "max_norm",
    "clip_value",
)
"""Names of arguments by which gradients are limited."""

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


def scaled_bound(line: Statement, finding: Finding) -> list[Edit]:
    """A bound on gradients that still carry such a scale is multiplied by it.

    The scale goes by its name where it has one, and by its number where it stands in the lines.
    """
    scale = finding.evidence.get("loss_scale")
    kept = any(keeper in line.text for keeper in (*KEEPERS, "GradScaler"))
    if finding.rule != "FL404" or kept or not isinstance(scale, float):
        return []
    around = line.function or line.tree
    names = [n for n in _named(around) if n.isidentifier() and _is_scale(line, n, scale)]
    if not names and not any(_numbers(line.tree, scale)):
        return []
    factor = names[0] if names else f"{scale:.1f}"
    bounds = [bound for call in calls(line.node) for bound in _bounds(call)]
    return [line.replacing(bound, f"{_factor(bound)} * {factor}") for bound in bounds]


def _is_scale(line: Statement, name: str, scale: float) -> bool:
    """Whether a name stands for the scale itself, and not for what is multiplied by it."""
    number = _value_of(line, name, scale)
    nodes = (n for n in ast.walk(line.tree) if isinstance(n, ast.Assign | ast.AnnAssign))
    return number is not None and any(n.value is number for n in nodes)


def _bounds(call: ast.Call) -> list[ast.expr]:
    """What a call limits gradients to: one number behind them, or two where it limits values."""
    name = name_of(call.func)
    if name not in (*CLIPS, *TORCH_CLIPS):
        return []
    most = 3 if name in ("clip_by_value", "clip") else 2
    named = (k.value for k in call.keywords if k.arg in BOUNDS)
    return [*call.args[1:most], *named]


def _factor(bound: ast.expr) -> str:
    plain = isinstance(bound, ast.Name | ast.Constant | ast.Attribute | ast.UnaryOp | ast.Call)
    return ast.unparse(bound) if plain else f"({ast.unparse(bound)})"


def _named(node: ast.AST) -> list[str]:
    """Names and attributes that code reads, as they are written."""
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
