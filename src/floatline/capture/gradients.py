"""Which calls of a program on JAX return gradients, and which functions make a step of them."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from floatline.capture.flow import needed, read_of, touch
from floatline.capture.names import (
    FUNCTIONS,
    Function,
    arguments_of,
    bound,
    free,
    imported,
    own,
    stored,
)

_LIBRARIES = frozenset({"jax", "flax", "equinox", "haiku", "optax"})
_MAKERS = frozenset({"grad", "value_and_grad", "filter_grad", "filter_value_and_grad"})
_AROUND = frozenset({"jit", "pmap", "vmap", "filter_jit", "partial", "checkpoint", "remat"})
_IN_PLACE = frozenset({"update", "apply_gradients", "step"})
_REPORTS = frozenset(
    "print append extend log info debug write set_postfix set_description add_scalar".split()
)


@dataclass(frozen=True, slots=True)
class Gradients:
    """Knows what differentiates in a file.

    Attributes:
        names: Names of what returns gradients when it is called, and updates nothing.
    """

    names: frozenset[str] = frozenset({"vjp"})

    def calls(self, statement: ast.stmt) -> list[ast.Call]:
        """The calls in a statement that differentiate, in loops of its own, too."""
        if isinstance(statement, (*FUNCTIONS, ast.ClassDef)):
            return []
        calls = [node for node in own(statement) if isinstance(node, ast.Call)]
        return [c for c in calls if makes_gradients(c.func) or called_name(c) in self.names]

    def extent(self, body: Sequence[ast.stmt]) -> tuple[int, int] | None:
        """From where to where a body makes one step; None where it makes none.

        It begins with the first gradient and ends with the last statement that binds, from a
        gradient, what the step itself reads.
        """
        firsts = [index for index, statement in enumerate(body) if self.calls(statement)]
        if not firsts:
            return None
        end, wanted = -1, free(self.calls(body[firsts[0]]))
        for statement in reversed(body[: firsts[0]]):  # A copy in half precision, perhaps.
            wanted |= read_of(statement) if touch(stored([statement]), wanted) else set()
        while (last := _last_update(body, firsts, end, wanted)) != end:
            end, wanted = last, needed(body[firsts[0] : last + 1])
        return None if end < 0 else (firsts[0], end + 1)

    def steps(self, function: Function) -> bool:
        """Whether a function computes, from a gradient and what that is of, what it returns."""
        known = arguments_of(function) | bound(function.body)
        moved: set[str] = set()
        tainted: set[str] = set()
        for statement in function.body:
            if isinstance(statement, (*FUNCTIONS, ast.For, ast.While)):
                continue
            reads, calls = read_of(statement), self.calls(statement)
            mixes = touch(reads, tainted) and touch(reads - tainted, moved)
            if mixes and isinstance(statement, ast.Assign | ast.Return | ast.AugAssign):
                return not keeps(function.body)
            moved |= free(call.args[0] for call in calls if call.args) & known
            if calls or touch(reads, tainted):
                tainted |= stored([statement])
        return False

    def _of_gradients_alone(self, function: Function) -> bool:
        """Whether a function returns gradients, and makes no step, in no loop of its own either."""
        loops = [node for node in ast.walk(function) if isinstance(node, ast.For | ast.While)]
        bodies = [function.body, *(loop.body for loop in loops)]
        return (
            any(map(self.calls, function.body))
            and not self.steps(function)
            and not any(map(self.extent, bodies))
        )

    def learned(self, tree: ast.Module) -> Gradients:
        """The same with the names of what returns gradients in a file."""
        names = set(self.names)
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and makes_gradients(node.value):
                names |= {_name(target) for target in node.targets} - {""}
            elif isinstance(node, FUNCTIONS) and (
                _decorated(node, _MAKERS) or self._of_gradients_alone(node)
            ):
                names.add(node.name)
        return Gradients(frozenset(names))


def gradients_of(tree: ast.Module) -> Gradients | None:
    r"""What differentiates in a file; None where it uses neither JAX nor a library of its.

    Example:

    >>> text = "import jax\ng = jax.jit(jax.grad(f))\ndef both(w, x):\n  return g(w), g(x)"
    >>> sorted(gradients_of(ast.parse(text)).names)
    ['both', 'g', 'vjp']
    """
    if _LIBRARIES.isdisjoint(imported(tree)):
        return None
    gradients = Gradients()
    while (more := gradients.learned(tree)) != gradients:
        gradients = more
    return gradients


def _last_update(
    body: Sequence[ast.stmt], firsts: Sequence[int], end: int, wanted: Iterable[str]
) -> int:
    """The last statement that binds, from a gradient, what is wanted; it may be `end` itself.

    A moving average of the weights, right behind them, counts as one.
    """
    wanted, tainted = set(wanted), set[str]()
    for index in range(firsts[0], len(body)):
        statement = body[index]
        reads, binds = read_of(statement), stored([statement])
        if index in firsts or touch(reads, tainted):
            tainted |= binds
            follows = 0 <= end == index - 1 and touch(binds, reads)
            moves = touch(binds, wanted) or follows or _updates_objects(statement)
            end = max(end, index) if moves and not looks_on(statement) else end
    return end


def looks_on(statement: ast.stmt) -> bool:
    """Whether a statement may do no more than report: print, keep a loss, add it up."""
    if isinstance(statement, ast.If):
        return all(map(looks_on, [*statement.body, *statement.orelse]))
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Call) and called_name(statement.value) in _REPORTS
    calls = {called_name(n) for n in ast.walk(statement) if isinstance(n, ast.Call)}
    return isinstance(statement, ast.Assign | ast.AugAssign) and bool(calls & {"float", "item"})


def _updates_objects(statement: ast.stmt) -> bool:
    """Whether a statement has no other effect than to change objects in place, as NNX does."""
    if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)):
        return False
    return called_name(statement.value) in _IN_PLACE


def keeps(step: Iterable[ast.stmt]) -> bool:
    """Whether a step keeps what it has moved in an object, as a method does."""
    return any("." in path for path in stored(step))


def makes_gradients(value: ast.AST | None) -> bool:
    """Whether an expression makes a function that differentiates: `jax.jit(jax.grad(f))`."""
    if not isinstance(value, ast.Call):
        return False
    name = called_name(value)
    return name in _MAKERS or (name in _AROUND and any(map(makes_gradients, value.args)))


def is_compiled(function: Function) -> bool:
    """Whether a function is compiled where it is defined."""
    return _decorated(function, _AROUND)


def called_name(call: ast.Call) -> str:
    """The last name of the function or method that is called."""
    return _name(call.func)


def _decorated(function: Function, words: frozenset[str]) -> bool:
    return any(words & set(_words(decorator)) for decorator in function.decorator_list)


def _words(node: ast.AST) -> Iterator[str]:
    nodes = ast.walk(node)
    return (name for n in nodes if (name := getattr(n, "id", getattr(n, "attr", None))) is not None)


def _name(function: ast.expr) -> str:
    return str(getattr(function, "attr", getattr(function, "id", "")))
