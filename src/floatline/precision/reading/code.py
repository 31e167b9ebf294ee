"""Reads the code of a layer for numbers that meet its values: what is fixed, and what it does.

Nothing is run. A value's dtype is followed through assignments, calls and the user's own helpers;
where that cannot be told, the use of a number is not certain.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import FunctionType, MethodType
from typing import Any

import keras

from floatline.findings.configured.setup import NumberUse, Role
from floatline.precision.reading.calls import call
from floatline.precision.reading.kinds import UNKNOWN, Value, join, of_object, written
from floatline.precision.reading.operators import folded, role_of
from floatline.records import SourceLine
from floatline.sources import is_users

MOST_CALLS = 4
"""Depth to which the user's own helpers are followed."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the code of a layer shows.

    Attributes:
        numbers: Numbers that meet its values.
        integers: Lines at which values in half precision are made integers.
    """

    numbers: tuple[NumberUse, ...] = ()
    integers: tuple[SourceLine, ...] = ()


def read(
    function: Callable[..., Any], layer: Any, arguments: Mapping[str, Value] | None = None
) -> Reading:
    """Reads a function of the user's.

    Args:
        function: A method of the layer, or a function that it calls.
        layer: The layer.
        arguments: What is known of its parameters; of others nothing is.

    Returns:
        Nothing where its source is not the user's or not known.
    """
    reader = Reader(layer)
    reader.follow(function, (), arguments or {})
    return Reading(tuple(reader.numbers), tuple(reader.integers))


@dataclass
class Reader:
    """Follows values through functions; notes each number once.

    Attributes:
        layer: The layer whose code it is.
        numbers: What was noted of numbers, a set in its order.
        integers: Lines at which values become integers.
        depth: How many functions are open.
    """

    layer: Any
    numbers: dict[NumberUse, None] = field(default_factory=dict)
    integers: dict[SourceLine, None] = field(default_factory=dict)
    depth: int = 0

    def follow(
        self, function: Any, given: Sequence[Value], named: Mapping[str, Value]
    ) -> Value | None:
        """What a function of the user's returns; None where it cannot be read."""
        plain = inspect.unwrap(function)
        owner = getattr(plain, "__self__", None)
        plain = plain.__func__ if isinstance(plain, MethodType) else plain
        if not isinstance(plain, FunctionType) or self.depth >= MOST_CALLS:
            return None
        definition = _definition(plain)
        if definition is None:
            return None
        scope = Scope(self, plain)
        parameters = [argument.arg for argument in definition.args.args]
        first = [of_object(owner, layer=self.layer)] if owner is not None else []
        scope.names |= dict.fromkeys(_all_names(definition.args), UNKNOWN)
        scope.names |= zip(parameters, [*first, *given], strict=False)
        scope.names |= {name: value for name, value in named.items() if name in scope.names}
        self.depth += 1
        try:
            return scope.returned(definition)
        finally:
            self.depth -= 1


class Scope:
    """The names of one function, and what is known of them.

    Args:
        reader: Who asks.
        function: The function.
    """

    def __init__(self, reader: Reader, function: FunctionType) -> None:
        self.reader = reader
        self.names: dict[str, Value] = {}
        self._outer = _outer(function)
        self._file = function.__code__.co_filename
        self._returns: list[Value] = []
        self._around: dict[ast.AST, ast.AST] = {}

    def returned(self, definition: ast.FunctionDef | ast.Lambda) -> Value:
        """What the function returns."""
        for node in ast.walk(definition):
            self._around |= dict.fromkeys(ast.iter_child_nodes(node), node)
        if isinstance(definition, ast.Lambda):
            return self.value(definition.body)
        self._run(definition.body)
        if len(self._returns) == 1:
            return self._returns[0]
        return join(self._returns)

    # Statements. ----------------------------------------------------------------------------

    def _run(self, statements: Sequence[ast.stmt]) -> None:
        for statement in statements:
            self._statement(statement)

    def _statement(self, statement: ast.stmt) -> None:
        match statement:
            case ast.Return(value=ast.expr() as value):
                self._returns.append(self.value(value))
            case ast.Expr(value=value):
                self.value(value)
            case ast.FunctionDef() | ast.ClassDef():
                self.names[statement.name] = UNKNOWN
            case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
                self._assignment(statement)
            case _:
                self._block(statement)

    def _assignment(self, statement: ast.Assign | ast.AnnAssign | ast.AugAssign) -> None:
        match statement:
            case ast.Assign(targets=targets, value=value):
                found = self.value(value)
                for target in targets:
                    self._bind(target, found)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                self._bind(target, self.value(value))
            case ast.AugAssign(target=target, op=op, value=value):
                before = self.value(_read(target))
                self._bind(target, self.operator(statement, before, op, self.value(value)))

    def _block(self, statement: ast.stmt) -> None:
        match statement:
            case ast.For(target=target, iter=source):
                self._bind(target, self.value(source).each)
                self._twice(statement)
            case ast.While(test=test):
                self.value(test)
                self._twice(statement)
            case ast.If(test=test, body=body, orelse=orelse):
                self.value(test)
                self._either(body, orelse)
            case ast.With(items=items, body=body):
                for item in items:
                    self.value(item.context_expr)
                self._run(body)
            case ast.Try(body=body, handlers=handlers, orelse=orelse, finalbody=final):
                handled = [line for handler in handlers for line in handler.body]
                self._run([*body, *handled, *orelse, *final])

    def _twice(self, loop: ast.For | ast.While) -> None:
        """What a loop leaves behind meets its beginning again."""
        self._either(loop.body, [])
        self._either([*loop.body, *loop.orelse], [])

    def _either(self, body: Sequence[ast.stmt], orelse: Sequence[ast.stmt]) -> None:
        before = dict(self.names)
        self._run(body)
        after, self.names = self.names, dict(before)
        self._run(orelse)
        for name in after.keys() | self.names.keys():
            one, other = after.get(name), self.names.get(name)
            if one != other:
                self.names[name] = join(value for value in (one, other) if value is not None)

    def _bind(self, target: ast.expr, value: Value) -> None:
        match target:
            case ast.Name(id=name):
                self.names[name] = value
            case ast.Tuple(elts=targets) | ast.List(elts=targets):
                parts = value.parts if value.parts and len(value.parts) == len(targets) else None
                for index, part in enumerate(targets):
                    self._bind(part, parts[index] if parts else value.each)
            case ast.Starred(value=inner):
                self._bind(inner, value.each)

    # Expressions. ---------------------------------------------------------------------------

    def value(self, node: ast.expr) -> Value:
        """What is known of an expression; notes the numbers in it."""
        match node:
            case ast.Constant(value=constant):
                return of_object(constant, written(constant))
            case ast.Name(id=name):
                return self._named(name)
            case ast.Attribute(value=owner):
                return self.attribute(node, self.value(owner))
            case ast.Call():
                return call(self, node)
            case ast.Subscript(value=owner, slice=index):
                return self._item(self.value(owner), index)
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                return Value("number", parts=tuple(self.value(part) for part in parts))
            case ast.BinOp() | ast.UnaryOp() | ast.Compare():
                return self._computed(node)
        return self._composed(node)

    def _computed(self, node: ast.BinOp | ast.UnaryOp | ast.Compare) -> Value:
        match node:
            case ast.BinOp(left=left, op=op, right=right):
                return self.operator(node, self.value(left), op, self.value(right))
            case ast.UnaryOp(op=op, operand=operand):
                inner = self.value(operand)
                if isinstance(op, ast.USub) and inner.number is not None:
                    return Value(inner.kind, -inner.number, f"-{inner.text}", inner.cast)
                return Value("integer") if isinstance(op, ast.Not) else Value(inner.each.kind)
            case ast.Compare(left=left, comparators=others):
                for part in (left, *others):
                    self.value(part)
        return Value("integer")

    def _composed(self, node: ast.expr) -> Value:
        match node:
            case ast.IfExp(test=test, body=body, orelse=orelse):
                self.value(test)
                return join((self.value(body), self.value(orelse)))
            case ast.ListComp(elt=element) | ast.GeneratorExp(elt=element):
                for generator in node.generators:
                    self._bind(generator.target, self.value(generator.iter).each)
                return Value(self.value(element).each.kind)
            case ast.NamedExpr(target=target, value=value):
                found = self.value(value)
                self._bind(target, found)
                return found
            case ast.Starred(value=value):
                return self.value(value).each
        return UNKNOWN

    def note(
        self, node: ast.AST, number: Value, role: Role, other: Value, *, rounded: bool = True
    ) -> None:
        """Notes what a fixed number meets; nothing where that is no half precision."""
        kind = other.each.kind
        if number.number is None or kind not in ("half", "unknown"):
            return
        use = NumberUse(
            name=number.text,
            value=number.number,
            role=role,
            source=self.line(node),
            certain=kind == "half",
            rounded=rounded or number.cast,
        )
        self.reader.numbers.setdefault(use)

    def line(self, node: ast.AST) -> SourceLine:
        """Where a piece of the code stands."""
        return SourceLine(self._file, int(getattr(node, "lineno", 0)))

    def operator(self, node: ast.AST, left: Value, op: ast.operator, right: Value) -> Value:
        """What an operator gives, written as one or as a function."""
        fixed = folded(left, op, right, ast.unparse(node))
        if fixed is not None:
            return fixed
        for number, other, role in role_of(left, op, right):
            # PyTorch multiplies and divides by a number of Python's in float32.
            exact = keras.backend.backend() == "torch" and role in ("factor", "divisor")
            rooted = role == "added" and self._in_guarded_root(node)
            self.note(node, number, "root" if rooted else role, other, rounded=not exact)
        met = join((left, right))
        if met.kind == "integer" and (
            isinstance(op, ast.Div) or "number" in (left.kind, right.kind)
        ):
            return Value("unknown" if not isinstance(op, ast.Div) else "full")
        return met

    def _in_guarded_root(self, node: ast.AST) -> bool:
        """Whether something else is added to the root that is taken of a sum."""
        root = self._around.get(node)
        named = isinstance(root, ast.Call) and ast.unparse(root.func).rpartition(".")[2] == "sqrt"
        outer = self._around.get(root) if root is not None and named else None
        return isinstance(outer, ast.BinOp) and isinstance(outer.op, ast.Add | ast.Sub)

    def _named(self, name: str) -> Value:
        if name in self.names:
            return self.names[name]
        if name in self._outer:
            return of_object(self._outer[name], name, self.reader.layer)
        return UNKNOWN

    def attribute(self, node: ast.Attribute, owner: Value) -> Value:
        """What is known of an attribute of something known."""
        name = node.attr
        if owner.thing is not None:
            thing = getattr(owner.thing, name, None)
            return of_object(thing, ast.unparse(node), self.reader.layer)
        if name == "dtype":
            return Value("number", dtype_of=owner.each.kind)
        return Value("number") if name in ("shape", "ndim", "rank") else Value(owner.each.kind)

    def _item(self, owner: Value, index: ast.expr) -> Value:
        if not isinstance(index, ast.Slice):
            self.value(index)
        if owner.parts and isinstance(index, ast.Constant) and isinstance(index.value, int):
            inside = -len(owner.parts) <= index.value < len(owner.parts)
            return owner.parts[index.value] if inside else UNKNOWN
        if owner.thing is not None:
            return UNKNOWN
        return owner.each


def _read(target: ast.expr) -> ast.expr:
    """An assignment's target as an expression that reads it."""
    return ast.parse(ast.unparse(target), mode="eval").body


def _definition(function: FunctionType) -> ast.FunctionDef | ast.Lambda | None:
    """The syntax of a function of the user's, with the lines that it has in its file."""
    if not is_users(function.__code__.co_filename):
        return None
    try:
        lines, start = inspect.getsourcelines(function)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, SyntaxError, TypeError):
        return None
    ast.increment_lineno(tree, max(start, 1) - 1)
    name = function.__name__
    wanted = ast.Lambda if name == "<lambda>" else ast.FunctionDef
    found = [node for node in ast.walk(tree) if isinstance(node, wanted)]
    own = [node for node in found if isinstance(node, ast.Lambda) or node.name == name]
    return own[0] if len(own) == 1 or (own and not isinstance(own[0], ast.Lambda)) else None


def _outer(function: FunctionType) -> Mapping[str, Any]:
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    closure = {}
    for name, cell in cells:
        try:
            closure[name] = cell.cell_contents
        except ValueError:  # It is not filled yet.
            continue
    return {**vars(builtins), **function.__globals__, **closure}


def _all_names(arguments: ast.arguments) -> list[str]:
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    more = [one for one in (arguments.vararg, arguments.kwarg) if one is not None]
    return [argument.arg for argument in (*named, *more)]
