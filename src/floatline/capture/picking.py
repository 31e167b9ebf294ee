"""Which statements pick a batch in plain Python, before TensorFlow computes anything.

A graph would run them once, while it is built, and use what they picked in every step. Nothing
that is differentiated is lost without them: a `tf.GradientTape` records what comes after it began.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from floatline.capture.names import FUNCTIONS, Function, bound, read

_ARRAYS = frozenset({"numpy", "math", "random", "pandas", "scipy", "sklearn"})
_NUMBERS = frozenset({"next", "float", "int", "min", "max", "round", "numpy", "item", "tolist"})


@dataclass(frozen=True, slots=True)
class Pickers:
    """What picks batches in a file.

    Attributes:
        arrays: Names of imported packages that compute in NumPy's arrays or Python's numbers.
        draws: Names of random generators and of functions that draw from them.
    """

    arrays: frozenset[str]
    draws: frozenset[str]

    def picking(self, body: Iterable[ast.stmt], counters: Iterable[str] = ()) -> list[bool]:
        """For each statement of a body whether it picks a batch, or goes on with what was picked.

        Args:
            body: The statements, in order.
            counters: Names of numbers that a loop around them counts with.
        """
        found, picked = [], set[str]()
        for statement in body:
            found.append(self.pick(statement, counters, picked))
            picked = picked | bound([statement]) if found[-1] else picked - bound([statement])
        return found

    def pick(
        self, statement: ast.stmt, counters: Iterable[str] = (), picked: Iterable[str] = ()
    ) -> bool:
        r"""Whether a statement picks a batch.

        Args:
            statement: The statement.
            counters: Names of numbers that a loop around it counts with.
            picked: Names of what was picked before, whose own methods are NumPy's.

        Example:

        >>> tree = ast.parse("import numpy as np\nx = np.zeros(3)\ny = data[i]\nz = f(x)")
        >>> [pickers_of(tree).pick(statement) for statement in tree.body[1:]]
        [True, True, False]
        """
        nodes = list(ast.walk(statement))
        chains = [_chain(node.func) for node in nodes if isinstance(node, ast.Call)]
        known = self.arrays | self.draws | _NUMBERS | set(picked)
        indexed = [node.slice for node in nodes if isinstance(node, ast.Subscript)]
        return bool(
            any(chain & known for chain in chains)
            or read(indexed)
            or not read([statement]).isdisjoint(counters)
        )


def pickers_of(tree: ast.Module) -> Pickers:
    """What picks batches in a file, its own functions included."""
    arrays: set[str] = set()
    draws: set[str] = set()
    for node in ast.walk(tree):
        for module, name in _imported(node):
            root = module.partition(".")[0]
            if root in _ARRAYS:
                arrays.add(name)
            if root == "random" or "random" in module.split("."):
                draws.add(name)
    while more := set(_more(tree, arrays, draws)) - draws:
        draws |= more
    return Pickers(frozenset(arrays), frozenset(draws))


def counters(loops: Sequence[ast.For | ast.While]) -> set[str]:
    r"""Names that loops count with, in Python's numbers.

    Example:

    >>> outer, inner = ast.parse("for i, x in enumerate(d): pass\nfor k in range(3): pass").body
    >>> sorted(counters([outer, inner]))
    ['i', 'k']
    """
    found: set[str] = set()
    for loop in loops:
        if not (isinstance(loop, ast.For) and isinstance(loop.iter, ast.Call)):
            continue
        called = _chain(loop.iter.func)
        if called & {"range", "trange"}:
            found |= bound([loop.target])
        elif "enumerate" in called and isinstance(loop.target, ast.Tuple):
            found |= bound(loop.target.elts[:1])
    return found


def _imported(node: ast.AST) -> Iterator[tuple[str, str]]:
    """The dotted module, and the name that a file knows it or a part of it by."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield alias.name, alias.asname or alias.name.partition(".")[0]
    elif isinstance(node, ast.ImportFrom) and node.module is not None and not node.level:
        for alias in node.names:
            yield f"{node.module}.{alias.name}", alias.asname or alias.name


def _more(tree: ast.Module, arrays: set[str], draws: set[str]) -> Iterator[str]:
    """Names of generators, and of functions that draw, as far as is known by now."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            if _draws(node.value, arrays, draws):
                yield from (_last(target) for target in node.targets if _last(target))
        elif isinstance(node, FUNCTIONS) and _calls_draw(node, arrays, draws):
            yield node.name


def _calls_draw(function: Function, arrays: set[str], draws: set[str]) -> bool:
    calls = (node for node in ast.walk(function) if isinstance(node, ast.Call))
    return not function.name.startswith("__") and any(_draws(call, arrays, draws) for call in calls)


def _draws(call: ast.Call, arrays: set[str], draws: set[str]) -> bool:
    chain = _chain(call.func)
    return bool(chain & draws) or ("random" in chain and bool(chain & arrays))


def _chain(expression: ast.expr) -> frozenset[str]:
    """The names of a dotted expression, through calls: `self`, `rng` and `integers`."""
    names = set()
    while isinstance(expression, ast.Attribute | ast.Call | ast.Subscript):
        if isinstance(expression, ast.Attribute):
            names.add(expression.attr)
        expression = expression.func if isinstance(expression, ast.Call) else expression.value
    return frozenset(names | ({expression.id} if isinstance(expression, ast.Name) else set()))


def _last(target: ast.expr) -> str:
    if isinstance(target, ast.Attribute):
        return target.attr
    return target.id if isinstance(target, ast.Name) else ""
