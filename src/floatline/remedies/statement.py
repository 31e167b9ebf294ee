"""A statement of the user's in its file, and edits of that file as one change."""

from __future__ import annotations

import ast
import itertools
import linecache
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from floatline.repairs import SourceChange
from floatline.sources import lines_of

Edit = tuple[int, int, str]
"""Replaces the text between two positions of a file."""

Function = ast.FunctionDef | ast.AsyncFunctionDef
Scope = Function | ast.Module
"""Where a loop may stand: a function, or what a file does outside of its functions."""


@dataclass(frozen=True)
class Statement:
    """A simple statement in the text of its whole file.

    Attributes:
        file: Path as Python knows it.
        text: What the file holds.
        tree: The same, parsed.
        node: The statement.
    """

    file: str
    text: str
    tree: ast.Module
    node: ast.stmt

    @cached_property
    def imported(self) -> frozenset[str]:
        """Names that imports bind, anywhere in the file."""
        nodes = (n for n in ast.walk(self.tree) if isinstance(n, ast.Import | ast.ImportFrom))
        return frozenset(a.asname or a.name.partition(".")[0] for n in nodes for a in n.names)

    @cached_property
    def function(self) -> Function | None:
        """The innermost function around the statement."""
        around = [f for f in functions(self.tree) if self.node in ast.walk(f)]
        return max(around, key=lambda f: f.lineno, default=None)

    def earlier(self, name: str) -> Iterator[ast.stmt]:
        """Assignments of a name before the statement, in the same function, the last one first."""
        scope = self.function or self.tree
        found = [n for n in ast.walk(scope) if isinstance(n, ast.stmt) and name in _assigned(n)]
        before = [node for node in found if node.lineno < self.node.lineno]
        yield from sorted(before, key=lambda node: -node.lineno)

    def binds(self, name: str) -> bool:
        """Whether a name belongs to where the statement stands: another may not be assigned there.

        Python takes a name that a function assigns anywhere for its own from its first line on.
        """
        if self.function is None:
            return True
        nodes = list(ast.walk(self.function))
        given = {node.arg for node in nodes if isinstance(node, ast.arg)}
        stored = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        return name in given | stored

    def at(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        """Where a node begins and ends in the text."""
        end = (node.end_lineno or node.lineno, node.end_col_offset or 0)
        return self._position(node.lineno, node.col_offset), self._position(*end)

    def replacing(self, node: ast.expr, text: str) -> Edit:
        """An edit that puts a text in the place of an expression."""
        return (*self.at(node), text)

    def before(self, node: ast.stmt, text: str) -> Edit:
        """An edit that puts a line before a statement."""
        begin = self._starts[node.lineno - 1]
        return begin, begin, f"{self._indent(node)}{text}\n"

    def at_row(self, row: int, text: str) -> Edit:
        """An edit that puts a text at the beginning of a line, counted from 0."""
        return self._starts[row], self._starts[row], text

    def after(self, node: ast.stmt, *lines: str) -> Edit:
        """An edit that puts lines behind a statement."""
        end = self.text.find("\n", self.at(node)[1])
        end = len(self.text) if end < 0 else end
        return end, end, "".join(f"\n{self._indent(node)}{text}" for text in lines)

    def without(self, node: ast.stmt) -> Edit:
        """An edit that takes the lines of a statement away."""
        begin, end = self._starts[node.lineno - 1], self._starts[node.end_lineno or node.lineno]
        return begin, end, ""

    def change(
        self, edits: Sequence[Edit], reason: str, *, whole: bool = False
    ) -> SourceChange | None:
        """The lines that edits touch, as they stand and as they could read.

        None without an edit, and where the file would be no Python any more.
        """
        if not edits:
            return None
        begin, end = self.at(self.node)
        begin = self.text.rfind("\n", 0, min(begin, *(e[0] for e in edits))) + 1
        end = max(end, *(edit[1] for edit in edits))
        then = self.text
        for left, right, text in sorted(edits, reverse=True):
            then = then[:left] + text + then[right:]
        if parsed(then) is None:
            return None
        rest = len(self.text) - end
        now, then = self.text[begin:end], then[begin : len(then) - rest]
        line = self.text.count("\n", 0, begin) + 1
        now, then = textwrap.dedent(now), textwrap.dedent(then)
        return SourceChange(self.file, line, now, then, reason, whole)

    @cached_property
    def _lines(self) -> list[str]:
        return lines_of(self.text)

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *itertools.accumulate(map(len, self._lines))]

    def _indent(self, node: ast.stmt) -> str:
        line = self._lines[node.lineno - 1]
        return line[: len(line) - len(line.lstrip())]

    def _position(self, number: int, offset: int) -> int:
        """A position in characters; the syntax tree counts bytes of UTF-8."""
        line = self._lines[number - 1]
        return self._starts[number - 1] + len(line.encode()[:offset].decode())


def read(file: str, number: int) -> Statement | None:
    """The innermost simple statement that covers a line of a file."""
    text = "".join(linecache.getlines(file))  # What runs, which may be a change that is tried.
    tree = parsed(text)
    if tree is None:
        return None
    simple = (
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.stmt)
        and not hasattr(node, "body")
        and node.lineno <= number <= (node.end_lineno or node.lineno)
    )
    node = next(simple, None)
    return None if node is None else Statement(file, text, tree, node)


def parsed(text: str) -> ast.Module | None:
    """The syntax tree of a text; None where it is no Python."""
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError):
        return None


def functions(tree: ast.AST) -> list[Function]:
    """Every function in a tree, methods and nested ones included."""
    return [node for node in ast.walk(tree) if isinstance(node, Function)]


def scopes_of(tree: ast.Module) -> list[Scope]:
    """Every function of a file, and what stands outside of them, as one more."""
    return [*functions(tree), outside(tree)]


def outside(tree: ast.Module) -> ast.Module:
    """What a file does outside of its functions and classes."""
    nodes = [node for node in tree.body if not isinstance(node, Function | ast.ClassDef)]
    return ast.Module(nodes, [])


def owner_of(tree: ast.AST, function: Scope) -> ast.ClassDef | None:
    """The class that a function is a method of; None for any other function."""
    classes = (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    return next((node for node in classes if function in node.body), None)


def first_argument(function: Scope) -> str | None:
    """The name of a function's first argument, which a method calls its object by."""
    if isinstance(function, ast.Module):
        return None
    arguments = [*function.args.posonlyargs, *function.args.args]
    return arguments[0].arg if arguments else None


def calls(tree: ast.AST) -> list[ast.Call]:
    """Every call in a tree."""
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def name_of(node: ast.expr) -> str | None:
    """The last part of a name: `Dense` for `keras.layers.Dense`."""
    return getattr(node, "id", None) or getattr(node, "attr", None)


def root(node: ast.expr) -> str | None:
    """The name with which a chain of attributes begins."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def targets(node: ast.AST) -> list[ast.expr]:
    """What a statement assigns to, tuples taken apart."""
    given = node.targets if isinstance(node, ast.Assign) else []
    if isinstance(node, ast.AnnAssign | ast.AugAssign):
        given = [node.target]
    nested = [t.elts if isinstance(t, ast.Tuple | ast.List) else [t] for t in given]
    return list(itertools.chain.from_iterable(nested))


def _assigned(node: ast.stmt) -> set[str]:
    return {target.id for target in targets(node) if isinstance(target, ast.Name)}
