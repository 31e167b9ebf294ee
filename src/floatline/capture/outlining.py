"""Makes a marked function of the statements that are a training step, where a script has none.

The function shares every name with the code around it, so the script does what it did, line by
line; only now the step can be watched, and run again.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence

from floatline.capture.loops import Place, aside, places, step_functions, suites
from floatline.capture.names import Scope, bound, declared, own
from floatline.capture.placing import PREFIX, expression, parsed, placed, placed_all, prepend
from floatline.capture.pure_outlining import outline_pure

_MARK = "__import__('floatline.marks', fromlist=['found_step']).found_step"
_ASIDE = _MARK.replace("found_step", "aside_step")
_WORDS = {ast.Continue: "continue", ast.Break: "break", ast.Return: "return"}
_LEAVES = (ast.Yield, ast.YieldFrom, ast.Await, ast.AsyncFor, ast.AsyncWith)


def outlined(tree: ast.Module) -> ast.Module:
    """The same program, changed in place, with a marked function for each step that it has inline.

    Functions that are one step are marked as they stand. A file that marks its step stays as it is.
    """
    if _is_marked(tree):
        return tree
    inside: set[int] = set()
    found, functions = places(tree), step_functions(tree)
    gives_way = aside(tree, [*(place.statements for place in found), *(f.body for f in functions)])
    marks = [_ASIDE if way else _MARK for way in gives_way]
    for number, (place, mark) in enumerate(zip(found, marks, strict=False)):
        if _can_move(place):
            inside |= {id(node) for s in place.statements for node in ast.walk(s)}
            _outline(place, f"{PREFIX}step_{number}", mark)
    for function, mark in zip(functions, marks[len(found) :], strict=True):
        if id(function) not in inside and not function.decorator_list:
            function.decorator_list = [placed(expression(mark), function)]
    outline_pure(tree)
    return ast.fix_missing_locations(tree)


def _is_marked(tree: ast.Module) -> bool:
    """Whether a file says itself which function is its step."""
    nodes = list(ast.walk(tree))
    imports = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    names = [(getattr(i, "module", None), alias) for i in imports for alias in i.names]
    known = {a.asname or a.name for module, a in names if (module or a.name) == "floatline"}
    mark = any((module, a.name) == ("floatline", "training_step") for module, a in names)
    return mark or any(
        isinstance(node, ast.Attribute)
        and node.attr == "training_step"
        and isinstance(node.value, ast.Name)
        and node.value.id in known
        for node in nodes
    )


def _can_move(place: Place) -> bool:
    """Whether the statements mean the same in a function of their own."""
    nodes = [node for statement in place.statements for node in own(statement)]
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    declares = any(isinstance(node, ast.Global | ast.Nonlocal) for node in nodes)
    leaves = any(isinstance(node, _LEAVES) for node in nodes)
    return not (
        declares or leaves or "super" in names or isinstance(place.scope, ast.AsyncFunctionDef)
    )


def _outline(place: Place, name: str, mark: str) -> None:
    statements = place.statements
    ways: set[str] = set()
    moved = [_left(statement, ways) for statement in statements]
    shared = sorted(bound(statements) | set(place.batch))
    step = _step(name, mark, place, shared, moved)
    first = statements[0]
    call = f"{name}({', '.join(place.batch)})"
    after = parsed(_answer(call, ways) if ways else call, first)
    place.body[place.begin : place.end] = after
    prepend(place.scope, [*placed_all(_kept_local(place.scope, shared), first), step])


def _step(
    name: str, mark: str, place: Place, shared: Sequence[str], moved: Sequence[ast.stmt]
) -> ast.stmt:
    """The function of the step, with the line numbers of its statements."""
    parameters = ", ".join(f"{PREFIX}{given}" for given in place.batch)
    lines = [f"@{mark}", f"def {name}({parameters}):"]
    scope = place.scope
    apart = {*shared} if isinstance(scope, ast.Module) else declared(scope, ast.Global)
    for word, names in (
        ("global", [name for name in shared if name in apart]),
        ("nonlocal", [name for name in shared if name not in apart]),
    ):
        lines += [f"    {word} {', '.join(names)}"] if names else []
    lines += [f"    {given} = {PREFIX}{given}" for given in place.batch]
    lines += ["    pass"]
    (function,) = parsed("\n".join(lines), place.statements[0])
    assert isinstance(function, ast.FunctionDef)
    function.body[-1:] = moved
    return function


def _kept_local(scope: Scope, shared: Sequence[str]) -> list[ast.stmt]:
    """Assignments that never run: a name stays its function's when all that bind it have moved."""
    if isinstance(scope, ast.Module):
        return []
    local = sorted({*shared} - declared(scope, ast.Global) - declared(scope, ast.Nonlocal))
    return ast.parse(f"if False:\n    {' = '.join(local)} = None").body if local else []


def _left(node: ast.stmt, ways: set[str], *, inner: bool = False) -> ast.stmt:
    """The statement, with `continue`, `break` and `return` as answers of the step's function.

    Args:
        node: The statement, changed in place.
        ways: The words that were met are added to it.
        inner: Whether a loop of the step's own is around.
    """
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return node
    word = _WORDS.get(type(node))
    if word is not None and not (inner and word != "return"):
        ways.add(word)
        value = (node.value if isinstance(node, ast.Return) else None) or ast.Constant(None)
        answer = ast.Tuple([ast.Constant(word), value], ast.Load())
        return ast.copy_location(ast.Return(answer), node)
    loops = isinstance(node, ast.For | ast.While)
    for suite in suites(node):
        around = inner or (loops and suite is node.body)  # type: ignore[attr-defined]  # (a loop has one)
        suite[:] = [_left(statement, ways, inner=around) for statement in suite]
    return node


def _answer(call: str, ways: set[str]) -> str:
    """What the loop does when its step says that it is left."""
    way = f"{PREFIX}way"
    lines = [f"{way} = {call}", f"if {way} is not None:"]
    actions = {"continue": "continue", "break": "break", "return": f"return {way}[1]"}
    for word in sorted(ways):
        lines += [f"    if {way}[0] == {word!r}:", f"        {actions[word]}"]
    return "\n".join(lines)
