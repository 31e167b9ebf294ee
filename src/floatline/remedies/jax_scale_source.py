"""A rewrite of a JAX loop of pure functions without a loss scale: it carries a `LossScaler`'s."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from floatline.records import Finding
from floatline.remedies.statement import Edit, Function, Statement, calls, functions

DIFFERENTIATES = ("jax.value_and_grad", "jax.grad")
"""Functions of JAX's that give gradients, as they are written."""

NEW_NAMES = ("scaler", "scaling", "unscaled", "before")
"""What the change calls the scaler, its state, the gradients and the old state."""

BESIDE_LOOPS = (ast.For, ast.While)


@dataclass(frozen=True, slots=True)
class Loop:
    """A pure step that takes gradients, and the one place that calls it in a loop.

    Attributes:
        step: The step.
        taken: The statement that takes the gradients.
        differentiated: The call in it that makes the function which does.
        returned: What the step returns, one by one.
        called: The statement that calls the step.
        call: The call in it.
        around: The outermost loop around it.
        continued: Places of what is returned and handed in again, with the parameters it becomes.
    """

    step: ast.FunctionDef
    taken: ast.Assign
    differentiated: ast.Call
    returned: ast.Tuple
    called: ast.Assign
    call: ast.Call
    around: ast.stmt
    continued: dict[int, str]


def carried_scaler(line: Statement, finding: Finding) -> list[Edit]:
    """The step is given the scaler's state, and gives the next one; a bad update is not made."""
    loops = [_loop(line.tree, step) for step in _steps(line)] if finding.rule == "FL201" else []
    found = [loop for loop in loops if loop is not None]
    if len(found) != 1 or _uses(line.tree, NEW_NAMES) or not _imports_jax(line.tree):
        return []
    loop = found[0]
    decorators = [line.at(decorator)[0] for decorator in loop.step.decorator_list]
    start = line.text.rfind("\n", 0, min([line.at(loop.step)[0], *decorators])) + 1
    return [
        *_import(line),
        (start, start, "scaler = floatline.LossScaler()\n\n\n"),
        *_signature(line, loop),
        *_gradients(line, loop),
        *_returned(line, loop),
        *_call(line, loop),
    ]


def _import(line: Statement) -> list[Edit]:
    imports = [node for node in line.tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    return [line.after(imports[-1], "import floatline")] if not _knows_floatline(line) else []


def _knows_floatline(line: Statement) -> bool:
    return any(
        isinstance(node, ast.Import) and any(alias.name == "floatline" for alias in node.names)
        for node in line.tree.body
    )


def _signature(line: Statement, loop: Loop) -> list[Edit]:
    last = loop.step.args.args[-1]
    end = line.at(last)[1]  # type: ignore[arg-type]  # (an argument has a position as a node has)
    return [(end, end, ", scaling")]


def _gradients(line: Statement, loop: Loop) -> list[Edit]:
    """The loss is scaled inside of what is differentiated; loss and gradients are unscaled."""
    function, taken = loop.differentiated.args[0], loop.taken
    scaled = f"lambda *values: scaler.scale({ast.unparse(function)}(*values), scaling)"
    *loss, gradients = _names_of(taken.targets[0])
    old = ", ".join(loop.continued.values())
    first = next(node for node in loop.step.body if not _is_docstring(node))
    unscaled = [
        *(f"{name} = {name} / scaling.scale.scale" for name in loss),
        f"unscaled = scaler.unscale(jax.tree.leaves({gradients}), scaling)",
        f"{gradients} = jax.tree.unflatten(jax.tree.structure({gradients}), unscaled.gradients)",
    ]
    return [
        line.before(first, f"before = ({old},)"),
        line.replacing(function, scaled),
        line.after(taken, *unscaled),
    ]


def _returned(line: Statement, loop: Loop) -> list[Edit]:
    """What goes on as state is the old one after a step that is not finite."""
    numbers = {place: number for number, place in enumerate(loop.continued)}
    kept = [
        f"scaler.select(unscaled, {ast.unparse(part)}, before[{numbers[place]}])"
        if place in numbers
        else ast.unparse(part)
        for place, part in enumerate(loop.returned.elts)
    ]
    return [line.replacing(loop.returned, ", ".join([*kept, "scaler.update(scaling, unscaled)"]))]


def _call(line: Statement, loop: Loop) -> list[Edit]:
    target = loop.called.targets[0]
    names = ", ".join([*map(ast.unparse, _parts(target)), "scaling"])
    return [
        line.before(loop.around, "scaling = scaler.initial_state()"),
        line.replacing(target, names),
        (line.at(loop.call)[1] - 1, line.at(loop.call)[1] - 1, ", scaling"),
    ]


def _steps(line: Statement) -> list[ast.FunctionDef]:
    """Functions at the top of the file that take a gradient, once each."""
    return [
        node
        for node in line.tree.body
        if isinstance(node, ast.FunctionDef)
        and len([c for c in calls(node) if ast.unparse(c.func) in DIFFERENTIATES]) == 1
    ]


def _loop(tree: ast.Module, step: ast.FunctionDef) -> Loop | None:
    """The loop that a step belongs to; None where its shape is not the plain one."""
    taken = next((n for n in step.body if isinstance(n, ast.Assign) and _takes(n)), None)
    returns = [node for node in ast.walk(step) if isinstance(node, ast.Return)]
    returned = returns[0].value if len(returns) == 1 and returns[0] is step.body[-1] else None
    used = [n for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id == step.name]
    if taken is None or not isinstance(returned, ast.Tuple) or len(used) != 1:
        return None
    found = _called(tree, used[0])
    if found is None or not _is_plain(step) or any(map(_is_starred, returned.elts)):
        return None
    called, call, around = found
    outputs = [ast.unparse(part) for part in _parts(called.targets[0])]
    given = {ast.unparse(argument): n for n, argument in enumerate(call.args)}
    parameters = [argument.arg for argument in step.args.args]
    if len(outputs) != len(returned.elts) or len(call.args) != len(parameters):
        return None
    continued = {n: parameters[given[name]] for n, name in enumerate(outputs) if name in given}
    if not continued:
        return None
    made = taken.value.func  # type: ignore[attr-defined]  # (a call, as `_takes` saw)
    return Loop(step, taken, made, returned, called, call, around, continued)


def _takes(node: ast.Assign) -> bool:
    """Whether a statement is `loss, gradients = jax.value_and_grad(f)(...)`, or that of `grad`."""
    outer = node.value
    inner = outer.func if isinstance(outer, ast.Call) else None
    if not isinstance(outer, ast.Call) or not isinstance(inner, ast.Call):
        return False
    how = ast.unparse(inner.func)
    names = _names_of(node.targets[0]) if len(node.targets) == 1 else []
    plain = len(inner.args) == 1 and not inner.keywords and not outer.keywords
    function = isinstance(inner.args[0], ast.Name) if inner.args else False
    wanted = {"jax.value_and_grad": 2, "jax.grad": 1}.get(how, 0)
    return plain and function and len(names) == wanted > 0


def _called(tree: ast.Module, name: ast.Name) -> tuple[ast.Assign, ast.Call, ast.stmt] | None:
    """The statement that calls a step, the call, and the outermost loop around it in its scope."""
    loops = [node for node in ast.walk(tree) if isinstance(node, BESIDE_LOOPS)]
    for node in ast.walk(tree):
        call = node.value if isinstance(node, ast.Assign) else None
        if not isinstance(node, ast.Assign) or not isinstance(call, ast.Call):
            continue
        if call.func is not name or call.keywords or any(map(_is_starred, call.args)):
            continue
        scope = [f for f in functions(tree) if node in ast.walk(f)]
        inner = max(scope, key=lambda f: f.lineno, default=tree)
        around = [loop for loop in loops if node in ast.walk(loop) and loop in ast.walk(inner)]
        if around and len(node.targets) == 1 and len(_parts(node.targets[0])) > 1:
            return node, call, min(around, key=lambda loop: loop.lineno)
    return None


def _is_plain(step: Function) -> bool:
    """Whether a parameter can be added at the end, and nothing is said of the others by number."""
    given = step.args
    others = given.posonlyargs or given.vararg or given.kwonlyargs or given.kwarg or given.defaults
    shards = any("shardings" in ast.unparse(decorator) for decorator in step.decorator_list)
    return bool(given.args) and not others and not shards


def _is_starred(node: ast.expr) -> bool:
    return isinstance(node, ast.Starred)


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _parts(target: ast.expr) -> list[ast.expr]:
    return list(target.elts) if isinstance(target, ast.Tuple) else [target]


def _names_of(target: ast.expr) -> list[str]:
    """The names that a statement assigns to; none where it assigns to anything else."""
    parts = _parts(target)
    return (
        [part.id for part in parts if isinstance(part, ast.Name)]
        if all(isinstance(part, ast.Name) for part in parts)
        else []
    )


def _imports_jax(tree: ast.Module) -> bool:
    """Whether `jax` stands for JAX at the top of the file."""
    imports = (node for node in tree.body if isinstance(node, ast.Import))
    return any(a.name.partition(".")[0] == "jax" and not a.asname for n in imports for a in n.names)


def _uses(tree: ast.Module, names: tuple[str, ...]) -> bool:
    named = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    named |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    return bool(named & set(names))
