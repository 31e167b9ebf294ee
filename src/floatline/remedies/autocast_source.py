"""A rewrite of a line whose products PyTorch's autocast computes in half precision."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from floatline.records import Finding
from floatline.remedies.numbers_source import casts
from floatline.remedies.statement import Edit, Statement, calls, name_of, root

AUTOCAST = ("mm", "bmm", "addmm", "baddbmm", "matmul", "linear", "convolution", "einsum")
"""Operations that autocast hands half precision, whatever their inputs are."""

CAST = "_to_copy"
"""What autocast hands it by, which overflows where a factor does not fit."""

_FUNCTIONS = ("matmul", "mm", "bmm", "linear", "conv1d", "conv2d", "conv3d", "einsum")
"""Functions of PyTorch's, and methods of its tensors, that are such products."""

_SIMPLE = (ast.Name, ast.Attribute, ast.Call, ast.Subscript)
"""Expressions that take a method without parentheses."""


INDENT = "    "


def without_autocast(line: Statement, finding: Finding) -> list[Edit]:
    """The factors of a product are cast to float32, where autocast leaves them so."""
    if "torch" not in line.imported or "keras" in line.imported or finding.place is None:
        return []
    own_cast = finding.place.operation == CAST and not casts(line, finding)
    if not (own_cast or finding.place.operation in AUTOCAST) or not _stands_alone(line):
        return []
    factors = _innermost(list(dict.fromkeys(_factors(line))))
    if not factors:
        return []
    device = f"{_tensor(line, factors[0])}.device.type"
    begin, end = line.at(line.node)
    rows = range(line.text.count("\n", 0, begin), line.text.count("\n", 0, end) + 1)
    start, stop, text = line.before(line.node, f"with torch.autocast({device}, enabled=False):")
    return [
        (start, stop, f"{text}{INDENT}"),
        *(line.at_row(row, INDENT) for row in rows[1:]),
        *(line.replacing(factor, f"{_tensor(line, factor)}.float()") for factor in factors),
    ]


def _innermost(factors: list[ast.expr]) -> list[ast.expr]:
    """A product of what is float32 is float32: its own factors are cast, and not it again."""
    return [f for f in factors if not any(n in factors for n in ast.walk(f) if n is not f)]


def _stands_alone(line: Statement) -> bool:
    """Whether a statement begins its line, so that it can be indented."""
    begin = line.at(line.node)[0]
    before = line.text[line.text.rfind("\n", 0, begin) + 1 : begin]
    simple = isinstance(line.node, ast.Assign | ast.Return | ast.AugAssign)
    return simple and not before.strip() and '"""' not in line.text[slice(*line.at(line.node))]


def _factors(line: Statement) -> Iterator[ast.expr]:
    for node in ast.walk(line.node):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
            yield from (node.left, node.right)
    for call in calls(line.node):
        if name_of(call.func) in _FUNCTIONS:
            if isinstance(call.func, ast.Attribute) and root(call.func) not in line.imported:
                yield call.func.value
            yield from (arg for arg in call.args if not isinstance(arg, ast.Constant))
        elif isinstance(call.func, ast.Attribute) and root(call.func) == "self" and call.args:
            yield call.args[0]


def _tensor(line: Statement, factor: ast.expr) -> str:
    text = line.text[slice(*line.at(factor))]
    return text if isinstance(factor, _SIMPLE) else f"({text})"
