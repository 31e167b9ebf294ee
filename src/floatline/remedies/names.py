"""What a file shows of its names: which of them hold no array that a cast could be put to."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from floatline.remedies.statement import calls, root, targets

HALF_NAMES = ("float16", "bfloat16", "half")

_OF_ARRAYS = "T at dtype dtypes flat itemsize nbytes ndim real imag shape size device grad".split()
"""Attributes of arrays that are no functions; any other belongs to an object of another kind."""


def is_number(tree: ast.Module, name: str, seen: frozenset[str] = frozenset()) -> bool:
    """Whether a file gives a name nothing but a number, whose precision nothing can lower.

    Args:
        tree: The file.
        name: The name.
        seen: Names that are made of this one, and so cannot explain it.
    """
    given = list(_given(tree, name))
    known = bool(given) and name not in seen
    return known and all(_counts(tree, value, seen | {name}) for value in given)


def half_format(tree: ast.Module, name: str) -> ast.expr | None:
    """The half format that a file gives a name as a constant of its own, such as `jnp.float16`."""
    given = list(_given(tree, name))
    return given[0] if len(given) == 1 and is_half_format(given[0]) else None


def is_half_format(dtype: ast.expr) -> bool:
    """Whether an expression names a half format."""
    if isinstance(dtype, ast.Constant):
        return dtype.value in HALF_NAMES
    return isinstance(dtype, ast.Attribute) and dtype.attr in HALF_NAMES


def is_container(tree: ast.Module, name: str) -> bool:
    """Whether a name holds arrays rather than one: a dictionary, a tree, an object of a class.

    It is read by keys or attributes that arrays do not have, or handed to a function of trees.
    """
    called = {id(call.func) for call in calls(tree)}
    read = [n for n in ast.walk(tree) if isinstance(n, ast.Subscript | ast.Attribute)]
    mapped = (call.args for call in calls(tree) if ".tree" in ast.unparse(call.func))
    return any(
        _is_named(node.value, name)
        and (is_entry(node) or _is_own_attribute(node, called=id(node) in called))
        for node in read
    ) or any(_is_named(argument, name) for given in mapped for argument in given)


def bound_within(node: ast.expr) -> frozenset[str]:
    """Names that an expression binds for a part of itself: those of comprehensions and lambdas."""
    looped = (n.target for n in ast.walk(node) if isinstance(n, ast.comprehension))
    stored = {n.id for target in looped for n in ast.walk(target) if isinstance(n, ast.Name)}
    return frozenset(stored | {n.arg for n in ast.walk(node) if isinstance(n, ast.arg)})


def is_entry(node: ast.expr) -> bool:
    """Whether an expression is what a dictionary has under a name."""
    key = node.slice if isinstance(node, ast.Subscript) else None
    return isinstance(key, ast.Constant) and isinstance(key.value, str)


def _counts(tree: ast.Module, value: ast.expr, seen: frozenset[str]) -> bool:
    """Whether an expression is made of numbers: `2 * math.pi * 25`."""
    if isinstance(value, ast.Constant):
        return isinstance(value.value, int | float)
    if isinstance(value, ast.BinOp):
        return _counts(tree, value.left, seen) and _counts(tree, value.right, seen)
    if isinstance(value, ast.UnaryOp):
        return _counts(tree, value.operand, seen)
    if isinstance(value, ast.Call | ast.Attribute):
        called = value.func if isinstance(value, ast.Call) else value
        return root(called) == "math"
    return isinstance(value, ast.Name) and is_number(tree, value.id, seen)


def _is_own_attribute(node: ast.expr, *, called: bool) -> bool:
    return isinstance(node, ast.Attribute) and node.attr not in _OF_ARRAYS and not called


def _is_named(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _given(tree: ast.Module, name: str) -> Iterator[ast.expr]:
    """What a file gives a name outside of its functions."""
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            names = [ast.unparse(target) for target in targets(node)]
            parts = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
            if name in names:
                apart = len(parts) == len(names)
                yield parts[names.index(name)] if apart else node.value
