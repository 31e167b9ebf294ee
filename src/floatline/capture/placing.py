"""Puts new statements into a program, on the lines of those that they stand for."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import TypeVar

from floatline.capture.names import Scope

T = TypeVar("T", bound=ast.AST)

PREFIX = "_floatline_"
"""What every name that is added to a script begins with."""


def prepend(scope: Scope, statements: Sequence[ast.stmt]) -> None:
    """Puts statements where a scope begins, behind what must stand first."""
    at = 0
    for index, statement in enumerate(scope.body):
        documents = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        future = isinstance(statement, ast.ImportFrom) and statement.module == "__future__"
        if not (documents or future or isinstance(statement, ast.Global | ast.Nonlocal)):
            break
        at = index + 1
    scope.body[at:at] = statements


def parsed(text: str, place: ast.stmt) -> list[ast.stmt]:
    """The statements of a text, on the line of a statement."""
    # `break` and `return` are no Python on their own, but a syntax tree is not asked for that.
    return placed_all(ast.parse(text).body, place)


def expression(text: str) -> ast.expr:
    """The expression that a text is."""
    return ast.parse(text, mode="eval").body


def placed(node: T, place: ast.stmt) -> T:
    """The node with all its parts at the line of a statement, unless they have their own."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.expr | ast.stmt | ast.arg | ast.excepthandler):
            ast.copy_location(inner, place)
    return node


def placed_all(nodes: Sequence[T], place: ast.stmt) -> list[T]:
    """The nodes, each placed like one."""
    return [placed(node, place) for node in nodes]
