"""Finds the statements that make one training step, where no mark tells them.

Most programs for PyTorch write them into a loop, and so do tutorials of `tf.GradientTape`. Nothing
runs here: what statements do is told from the functions and methods that they call.
"""

from __future__ import annotations

import ast
import builtins
import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from floatline.capture.names import FUNCTIONS, Function, Scope, bound, read
from floatline.capture.picking import Pickers, counters, pickers_of

_BACKWARD = frozenset({"backward", "GradientTape"})
_UPDATE = frozenset({"step", "minimize", "apply", "apply_gradients", "assign_sub"})
_TIDY = frozenset({"zero_grad", "update_parameters", "unscale_"})
HALF = frozenset({"autocast", "bfloat16", "float16", "half", "scale_loss", "unscale_"})
_DTYPES = frozenset({"bfloat16", "float16", "half"})
_BESIDE = frozenset({"train", "eval", "parameters", "append", "extend", "clear", "item"})
_LOOPS = (ast.For, ast.While, ast.AsyncFor)

Loop = ast.For | ast.While


@dataclass(frozen=True, slots=True)
class Words:
    """What calls mean in a file.

    Attributes:
        backward: Functions and methods that differentiate a loss.
        update: Those that may change weights. (So may not the `step` of a schedule, but a loop that
            calls only that one differentiates nothing.)
        remembering: Functions of the file that differentiate what was computed before they are
            called, and was kept in an object, as an episode's log-probabilities are.
        imported: Names that the file imports.
        pickers: What picks batches, where a tape records what is differentiated; None elsewhere.
    """

    backward: frozenset[str] = _BACKWARD
    update: frozenset[str] = _UPDATE
    remembering: frozenset[str] = frozenset()
    imported: frozenset[str] = frozenset()
    pickers: Pickers | None = None

    @property
    def all(self) -> frozenset[str]:
        """Every call that belongs to a step."""
        return self.backward | self.update | _TIDY


@dataclass(frozen=True, slots=True)
class Place:
    """Statements of a loop that are one training step.

    Attributes:
        scope: The function that the loop stands in, or the module.
        body: The body of the loop, in which the step's statements can be replaced.
        begin: Index of the first of them.
        end: Index behind the last of them.
        batch: Names that the loop binds and the step reads, in order.
    """

    scope: Scope
    body: list[ast.stmt]
    begin: int
    end: int
    batch: tuple[str, ...]

    @property
    def statements(self) -> list[ast.stmt]:
        """The statements."""
        return self.body[self.begin : self.end]


def places(tree: ast.Module) -> list[Place]:
    r"""The steps in the loops of a file; none lies within another.

    Example:

    >>> text = "for x in data:\n  y = f(x)\n  y.backward()\n  sgd.step()\n  print(y)"
    >>> [(place.begin, place.end, place.batch) for place in places(ast.parse(text))]
    [(0, 3, ('x',))]
    """
    words = words_of(tree)
    scopes = [tree, *(f for f in _functions(tree) if not _is_compiled(f))]
    found = [place for scope in scopes for place in _places(scope, scope.body, (), words)]
    within = {id(node) for place in found for s in place.statements for node in ast.walk(s)}
    apart = [_apart(f, words) for f in _step_functions(tree, words) if id(f) not in within]
    return [*found, *filter(None, apart)]


def step_functions(tree: ast.Module) -> list[Function]:
    """The functions that compute a loss, differentiate it and update, once per call.

    Where TensorFlow compiles any, that is the step, and it may call the others.
    """
    words = words_of(tree)
    return [f for f in _step_functions(tree, words) if _apart(f, words) is None]


def _step_functions(tree: ast.Module, words: Words) -> list[Function]:
    compiles = any(isinstance(n, ast.Attribute) and n.attr == "function" for n in ast.walk(tree))
    found = [function for function in _functions(tree) if _is_step(function, words)]
    return [f for f in found if not (compiles and "GradientTape" in _called(f.body))]


def _apart(function: Function, words: Words) -> Place | None:
    """The statements of a function that are its step, where others pick its batch or report.

    What a graph cannot hold stays outside of it, as in a loop.
    """
    body, pickers = function.body, words.pickers
    if pickers is None or function.decorator_list:
        return None
    begin, end = _extent(body, words)
    begin = _beginning(body, begin, end, _last(pickers.picking(body[:begin])))
    if not any(pickers.picking([*body[:begin], *body[end:]])):
        return None
    names = read(body[begin:end]) & (_given(function) | bound(body[:begin]))
    own = {first} if (first := next(iter(_arguments(function)), None)) == "self" else set()
    return Place(function, body, begin, end, tuple(sorted(names - own)))


def aside(tree: ast.Module, found: Sequence[Sequence[ast.stmt]]) -> list[bool]:
    """For the statements of each step, whether others name half precision and these do not.

    So does what a file trains beside what it is for: the teacher of a distillation, a baseline.
    """
    names = HALF | dtypes_in_half(tree)
    low = [half_named(statements, names) for statements in found]
    return [any(low) and not named for named in low]


def half_named(body: Iterable[ast.AST], names: frozenset[str] = HALF) -> bool:
    """Whether statements name half precision."""
    nodes = (node for statement in body for node in ast.walk(statement))
    return any(getattr(node, "attr", getattr(node, "id", None)) in names for node in nodes)


def dtypes_in_half(tree: ast.Module) -> frozenset[str]:
    """The names that a file gives to a 16-bit dtype, or to one of two dtypes.

    Example:

    >>> tree = ast.parse("a = torch.half; b = c if d else np.float16; x = y.half()")
    >>> sorted(dtypes_in_half(tree))
    ['a', 'b']
    """
    given = [node for node in ast.walk(tree) if isinstance(node, ast.Assign)]
    given = [n for n in given if isinstance(n.value, ast.Attribute | ast.Name | ast.IfExp)]
    return frozenset(
        target.id
        for node in given
        if half_named([node.value], _DTYPES)
        for target in node.targets
        if isinstance(target, ast.Name)
    )


def words_of(tree: ast.Module) -> Words:
    """What calls mean in a file, those of its own functions included."""
    nodes = [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]
    pickers = pickers_of(tree) if "GradientTape" in _called([tree]) else None
    words, known = Words(imported=frozenset(bound(nodes)), pickers=pickers), None
    while words != known:
        known = words
        for function in _functions(tree):
            words = _learned(function, words)
    return words


def _learned(function: Function, words: Words) -> Words:
    """What a call of a function means, where it is a part of a step and not one itself."""
    called = _called(function.body)
    differentiates, updates = bool(called & words.backward), bool(called & words.update)
    name = frozenset({function.name})
    if function.name.startswith("__") or name <= words.all:
        return words
    if not (differentiates or updates):
        return words
    remembers = differentiates and _remembers(function, words)
    given = remembers or (updates and differentiates and _differentiates_argument(function, words))
    return dataclasses.replace(
        words,
        backward=words.backward | (name if differentiates and (given or not updates) else set()),
        update=words.update | (name if updates and (given or not differentiates) else set()),
        remembering=words.remembering | (name if remembers else set()),
    )


def _is_step(function: Function, words: Words) -> bool:
    return _trains(function.body, words) and not (
        _differentiates_argument(function, words) or _remembers(function, words)
    )


def _places(
    scope: Scope, body: list[ast.stmt], around: tuple[Loop, ...], words: Words
) -> Iterator[Place]:
    for statement in body:
        if isinstance(statement, ast.For | ast.While):
            inside = (*around, statement)
            if _trains(statement.body, words):
                yield _place(scope, inside, words)
            else:
                yield from _places(scope, statement.body, inside, words)
        elif not isinstance(statement, (*FUNCTIONS, ast.ClassDef)):
            for suite in suites(statement):
                yield from _places(scope, suite, around, words)


def suites(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    """The suites of a statement that opens no scope."""
    for _, value in ast.iter_fields(statement):
        if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
            yield value
        elif isinstance(value, list):
            parts = (part for part in value if isinstance(part, ast.ExceptHandler | ast.match_case))
            yield from (part.body for part in parts)


def _place(scope: Scope, around: tuple[Loop, ...], words: Words) -> Place:
    body = around[-1].body
    first, end = _extent(body, words)
    late = _called(body) & words.remembering
    begin = 0 if late else _beginning(body, first, end, _earliest(around, first, words))
    given = [loop.target for loop in around if isinstance(loop, ast.For)]
    names = read(body[begin:end]) & (bound(given) | bound(body[:begin]))
    return Place(scope, body, begin, end, tuple(sorted(names)))


def _extent(body: Sequence[ast.stmt], words: Words) -> tuple[int, int]:
    """Index of the first statement that belongs to a step by itself, and behind the last one."""
    parts = [index for index, statement in enumerate(body) if _is_part(statement, words)]
    end = parts[-1] + 1
    while end < len(body) and _writes_in_place(body[end]):
        end += 1
    return parts[0], end


def _is_part(statement: ast.stmt, words: Words) -> bool:
    return bool(_called([statement]) & words.all) or _updates_by_hand([statement])


def _trains(body: Sequence[ast.stmt], words: Words) -> bool:
    """Whether a body makes one step, and not only a loop or a function inside of it does."""
    here, inner = _called_here(body), _called_in_loops(body)
    differentiates = here & words.backward or (
        inner & words.backward and not inner & words.update  # Gradients of parts of a batch.
    )
    updates = here & words.update or (
        inner & words.update and not inner & words.backward  # Weights, one after the other.
    )
    return bool(differentiates) and bool(updates or _updates_by_hand(body))


def _called(nodes: Iterable[ast.AST]) -> frozenset[str]:
    """Names of all functions and methods that are called."""
    calls = (n for node in nodes for n in ast.walk(node) if isinstance(n, ast.Call))
    return frozenset(_name(call.func) for call in calls)


def _called_here(body: Sequence[ast.stmt]) -> frozenset[str]:
    """Those that are not called in a loop or a function inside, unless an update calls that."""
    calls = [n for s in body for n in _outside_of_loops(s, ()) if isinstance(n, ast.Call)]
    updates = [call for call in calls if _name(call.func) in _UPDATE]
    closures = tuple(read(argument for call in updates for argument in call.args))
    nodes = (n for s in body for n in _outside_of_loops(s, closures))
    return frozenset(_name(node.func) for node in nodes if isinstance(node, ast.Call))


def _outside_of_loops(node: ast.AST, closures: Sequence[str]) -> Iterator[ast.AST]:
    if isinstance(node, (*_LOOPS, ast.ClassDef)):
        return
    if isinstance(node, FUNCTIONS) and node.name not in closures:
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _outside_of_loops(child, closures)


def _called_in_loops(body: Sequence[ast.stmt]) -> frozenset[str]:
    return _called(n for s in body for n in ast.walk(s) if isinstance(n, _LOOPS))


def _name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return "backward" if ast.unparse(function).endswith("autograd.grad") else function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _earliest(around: Sequence[Loop], first: int, words: Words) -> int:
    """Where a step may begin: behind what takes or picks its batch.

    The same batch must be there when the step runs again, and when a graph is built of it.
    """
    body = around[-1].body[:first]
    if words.pickers is None:
        picks = ["next" in _called([statement]) for statement in body]
    else:
        picks = words.pickers.picking(body, counters(around))
    return _last(picks)


def _last(picks: Sequence[bool]) -> int:
    """Index behind the last statement that picks."""
    return max((index + 1 for index, picked in enumerate(picks) if picked), default=0)


def _beginning(body: Sequence[ast.stmt], first: int, end: int, earliest: int) -> int:
    """Where a step begins: with the first statement that computes what it needs."""
    begin, needed = first, read(body[first:end])
    for index in range(first - 1, earliest - 1, -1):
        if _computes(body[index]) and bound([body[index]]) & needed:
            begin, needed = index, needed | read([body[index]])
    return begin


def _computes(statement: ast.stmt) -> bool:
    """Whether a statement may compute a part of the loss, as a report of the epoch does not."""
    return isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.With | ast.For)


def _writes_in_place(statement: ast.stmt) -> bool:
    """Whether a statement behind the update writes to tensors, as moving averages do."""
    return any(name.endswith("_") and not name.endswith("__") for name in _called([statement]))


def _updates_by_hand(body: Sequence[ast.stmt]) -> bool:
    """Whether weights are changed without an optimizer, below `torch.no_grad()`."""
    blocks = [n for s in body for n in ast.walk(s) if isinstance(n, ast.With)]
    return any(
        isinstance(node, ast.Attribute) and node.attr == "grad"
        for block in blocks
        if "no_grad" in _called(item.context_expr for item in block.items)
        for node in ast.walk(block)
    )


def _differentiates_argument(function: Function, words: Words) -> bool:
    """Whether a function differentiates what it is given: the step is then around it."""
    untouched = _given(function) - bound(function.body) - {"self"}
    calls = [n for n in ast.walk(function) if isinstance(n, ast.Call)]
    backward = [call for call in calls if _name(call.func) in words.backward]
    return _trains(function.body, words) and all(_subject(call) & untouched for call in backward)


def _remembers(function: Function, words: Words) -> bool:
    """Whether a function updates, and neither is given data nor calls what could compute a loss."""
    if not _trains(function.body, words):
        return False
    own = bound(function.body) | words.imported | set(dir(builtins))
    calls = [n for n in ast.walk(function) if isinstance(n, ast.Call)]
    asked = {name for call in calls for name in read([call.func])}
    beside = words.all | _BESIDE
    return _given(function) <= asked | {"self"} and all(
        _name(call.func) in beside or read([call.func]) <= own for call in calls
    )


def _given(function: Function) -> set[str]:
    return set(_arguments(function))


def _arguments(function: Function) -> list[str]:
    arguments = function.args
    return [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]


def _subject(call: ast.Call) -> set[str]:
    """The names in what is differentiated: `loss.backward()`, or `accelerator.backward(loss)`."""
    return read(call.args) or read([call.func])


def _is_compiled(function: Function) -> bool:
    decorators = (name for d in function.decorator_list for name in ast.unparse(d).split("."))
    return any(name.startswith(("function", "jit", "compile")) for name in decorators)


def _functions(tree: ast.Module) -> list[Function]:
    return [node for node in ast.walk(tree) if isinstance(node, FUNCTIONS)]
